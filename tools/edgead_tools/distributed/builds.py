"""Builds the bundles of many products, each in a process of its own, and writes one page that sums them up.

A worker of Ray keeps a `ForkServer`, from which the process of each product is forked.

    defaults: {budget: 5m}        # settings of `edgead build`, for all
    products:
      bottle: {data: parts/bottle}
      cap: {data: parts/cap, method: ast_mfr}

What is finished stays: the same command builds what is missing or was asked for otherwise. A product that fails, or
whose process dies, costs no other.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import ray

from edgead.config import BuildConfig
from edgead.config.loader import given, resolve
from edgead.config.reading import read_yaml
from edgead.errors import DataError, UsageError
from edgead.files import write_file
from edgead.progress import ConsoleReporter, Reporter
from edgead_tools.distributed.cluster import cluster
from edgead_tools.distributed.fork_server import Built, ForkServer
from edgead_tools.distributed.product import Order, ProductRow
from edgead_tools.evaluation.report.page import Section, page, table

PAGE = "products.html"
TRIES = 2  # of a build whose process dies


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
            orders = (Order(product=name, settings=wanted[name], config=products[name]) for name in missing)
            for row in _built(orders, min(count, len(missing))):
                rows[row.product] = row
                write_file(out / f"{row.product}.json", msgspec.json.format(msgspec.json.encode(row), indent=1) + b"\n")
                reporter.say(f"{row.product}: {row.error or f'{row.seconds:.0f} s'}")
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


class ProductWorker:
    """A worker: one product after the other."""

    def __init__(self) -> None:
        self._server = ForkServer()

    def build(self, order: Order) -> ProductRow:
        """Build a product, several times where its process dies."""
        for _ in range(1 + TRIES):
            answer = self._server.build(order)
            if isinstance(answer, Built):
                return answer.row
        return ProductRow(order.product, order.settings, error=f"its process died: {answer}")


def _built(orders: Iterator[Order], workers: int) -> Iterator[ProductRow]:
    """The rows of products as they come, by an actor for each worker; actors that die are made anew."""
    kind = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=TRIES)(ProductWorker)
    idle = [kind.remote() for _ in range(workers)]
    running: dict[Any, tuple[Any, Order]] = {}
    while True:
        for order in itertools.islice(orders, len(idle)):
            actor = idle.pop()
            running[actor.build.remote(order)] = actor, order
        if not running:
            return
        (ready, *_), _ = ray.wait(list(running), num_returns=1)
        actor, order = running.pop(ready)
        idle.append(actor)
        yield _row_of(ready, order)


def _row_of(ready: Any, order: Order) -> ProductRow:
    try:
        row: ProductRow = ray.get(ready)
    except ray.exceptions.RayError as error:
        words = " ".join(str(error).split())[-300:]
        return ProductRow(order.product, order.settings, error=f"its process died: {words}")
    return row
