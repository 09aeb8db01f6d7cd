"""Builds the bundles of many products, each in a process of its own, and writes one page that sums them up.

    defaults: {budget: 5m}        # settings of `edgead build`, for all
    products:
      bottle: {data: parts/bottle}
      cap: {data: parts/cap, method: ast_mfr}

What is finished stays: the same command builds what is missing or was asked for otherwise. A product that fails, or
whose process dies, costs no other.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import ray

from edgead.config import BuildConfig
from edgead.config.loader import given, resolve, validated
from edgead.config.reading import read_yaml
from edgead.errors import DataError, EdgeadError, UsageError
from edgead.files import write_file
from edgead.progress import ConsoleReporter, Reporter
from edgead.wording import printable
from edgead_tools.distributed.cluster import cluster
from edgead_tools.evaluation.report.page import Section, page, table

PAGE = "products.html"
TRIES = 2  # of a build whose process dies


@dataclass(frozen=True, slots=True)
class ProductRow:
    """What came of one product."""

    product: str
    settings: str  # digest of what was asked for
    bundle: str = ""  # digest; empty where there is none
    seconds: float = 0.0
    image_auroc: float | None = None  # where the data set has labeled images
    error: str = ""


def read_products(path: Path, out: Path) -> dict[str, BuildConfig]:
    """The settings of each product, its bundle in the folder `out`; raises UsageError that names the product."""
    content = read_yaml(path)
    if set(content) - {"defaults", "products"} or not isinstance(content.get("products"), dict):
        raise UsageError(f"{path} holds `products:`, names with their settings, and may hold `defaults:`")
    found = {}
    for name, own in content["products"].items():
        settings = {**(content.get("defaults") or {}), **(own or {})}
        if Path(str(name)).name != str(name) or not settings.get("data"):
            raise UsageError(f"{path}: the product '{name}' needs a plain name and `data:`")
        settings = {**settings, "out": str(out / f"{name}.edgead"), "threads": settings.get("threads", 1)}
        unknown = set(settings) - set(BuildConfig.__struct_fields__)
        if unknown:
            raise UsageError(f"{path}: the product '{name}' has unknown settings: {', '.join(sorted(unknown))}")
        found[str(name)] = resolve(BuildConfig, [given(BuildConfig, settings)]).config
    return found


def build_many(
    products: Mapping[str, BuildConfig], out: Path, reporter: Reporter, *, workers: int = 0, address: str = ""
) -> list[ProductRow]:
    """Build what is missing, `workers` at a time, and write the page into `out`; one row for each product, in order.

    Failures are rows with an error; nothing is raised for them.
    """
    wanted = {name: digest_of(config) for name, config in products.items()}
    rows = {name: row for name in products if (row := _finished(out, name, wanted[name])) is not None}
    missing = [name for name in products if name not in rows]
    reporter.say(f"{len(products)} products, {len(missing)} to be built")
    if missing:
        with cluster(address, workers) as count, reporter.stage("building") as on_progress:
            one_build = ray.remote(num_cpus=1, max_calls=1, max_retries=TRIES)(_build_one)
            waiting, running = list(missing), dict[Any, str]()
            while waiting or running:
                while waiting and len(running) < count:
                    name = waiting.pop(0)
                    running[one_build.remote(name, products[name], wanted[name])] = name
                (ready, *_), _ = ray.wait(list(running), num_returns=1)
                name = running.pop(ready)
                rows[name] = row = _row_of(ready, name, wanted[name])
                write_file(out / f"{name}.json", json.dumps(asdict(row), indent=1).encode() + b"\n")
                reporter.say(f"{name}: {row.error or f'{row.seconds:.0f} s'}")
                on_progress(len(rows), len(products))
    ordered = [rows[name] for name in products]
    write_file(out / PAGE, summary(ordered).encode())
    return ordered


def run_products(path: Path, out: Path, *, workers: int, ray: str) -> Path:
    """`build_many` for a person who waits: the page. Raises DataError that names the products without a bundle."""
    rows = build_many(read_products(path, out), out, ConsoleReporter(), workers=workers, address=ray)
    failed = [row.product for row in rows if row.error]
    if failed:
        raise DataError(f"no bundle for {', '.join(failed)}: see {out / PAGE}; the same command builds them again")
    return out / PAGE


def digest_of(config: BuildConfig) -> str:
    """What identifies the settings of a build."""
    plain = json.dumps(msgspec.to_builtins(config), sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def summary(rows: list[ProductRow]) -> str:
    """The page: a line for each product, with a link to its own page."""
    failed = [row for row in rows if row.error]
    head = ["product", "bundle", "image AUROC", "seconds", ""]
    lines = [
        [row.product, row.bundle[:12], "–" if row.image_auroc is None else f"{row.image_auroc:.3f}",
         f"{row.seconds:.0f}", row.error] for row in rows
    ]  # fmt: skip
    words = f"<p>{len(rows) - len(failed)} of {len(rows)} products have a bundle.</p>"
    bold = [index for index, row in enumerate(rows) if row.error]
    return page("Products", [Section("", words + table(head, lines, strong=bold))])


def _finished(out: Path, name: str, settings: str) -> ProductRow | None:
    """What an earlier run has made of the product with these settings."""
    try:
        row = msgspec.json.decode((out / f"{name}.json").read_bytes(), type=ProductRow)
    except (OSError, msgspec.DecodeError):
        return None
    is_there = (out / f"{name}.edgead").exists()
    return row if row.settings == settings and not row.error and is_there else None


def _build_one(name: str, config: BuildConfig, settings: str) -> ProductRow:
    """Build in this process, which ends afterwards; what edgead refuses becomes the row's error."""
    import cv2
    import torch

    from edgead_tools.pipeline.build import build

    torch.set_num_threads(max(1, config.threads))
    cv2.setNumThreads(max(1, config.threads))
    start = time.monotonic()
    try:
        built = build(validated(config), Reporter())
    except EdgeadError as error:
        return ProductRow(name, settings, seconds=time.monotonic() - start, error=printable(str(error)))
    auroc = None if built.evaluation is None else built.evaluation.to_dict().get("image_auroc")
    return ProductRow(name, settings, built.bundle.digest, round(time.monotonic() - start, 1), auroc)


def _row_of(ready: Any, name: str, settings: str) -> ProductRow:
    try:
        row: ProductRow = ray.get(ready)
    except ray.exceptions.RayError as error:
        words = " ".join(str(error).split())[-300:]
        return ProductRow(name, settings, error=f"its process died: {words}")
    return row
