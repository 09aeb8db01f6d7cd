"""Implements `edgead bench`: how fast a bundle is on this machine, with the state it was measured in."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edgead.bundle import Bundle
from edgead.cli.derive import finite
from edgead.cli.options import (
    BundlePath,
    Device,
    EngineName,
    Json,
    Precision,
    PrecisionName,
    Threads,
    out_option,
    shown,
)
from edgead.cli.table import aligned
from edgead.engines import local_engines
from edgead.errors import AbsentError, EngineError, UsageError
from edgead.files import read_whole, write_file
from edgead.system.device import describe_device


def bench(
    bundle: BundlePath,
    engine: EngineName = "auto",
    precision: PrecisionName = Precision.auto,
    threads: Threads = 0,
    device: Device = 0,
    frame: Annotated[
        str, typer.Option(metavar="WIDTHxHEIGHT", help="Size of the camera's frames.  [default: the golden frames']")
    ] = "",
    images: Annotated[str, typer.Option(help="Judge these (folder or glob), not the bundle's golden frames.")] = "",
    runs: Annotated[int, typer.Option(min=10, max=10**9, help="Runs of each part.")] = 500,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=1e6, callback=finite, help="After which a part ends with fewer runs.")
    ] = 20.0,
    as_json: Json = False,
    out: Annotated[Path | None, out_option("Write the figures to this JSON file as well.")] = None,
    compare: Annotated[Path | None, typer.Option(help="A file of --out to set them against.")] = None,
) -> None:
    """Measure every engine and precision there is (or those named): latency by stage, throughput, memory.

    Clocks, power mode, temperature and other work on the machine are stored with the figures.

    \b
    edgead bench part.edgead
    edgead bench part.edgead --frame 1920x1080 --threads 2 --out before.json
    edgead bench part.edgead --compare before.json
    """
    from edgead.bench import BenchSettings, describe_settings, measure, warnings
    from edgead.stream.sources.images import find_images

    if out is not None and out.exists() and out.suffix.lower() != ".json":
        raise UsageError(f"{out} would be overwritten: end the name in .json")
    other = read_figures(compare) if compare is not None else None
    settings = BenchSettings(runs=runs, seconds=seconds, threads=threads, device=device, frame=_size(frame))
    opened = Bundle.open(bundle)
    paths = list(find_images(images)) if images else []
    found: dict[str, Any] = {
        "bundle": {"name": opened.manifest.name, "method": opened.manifest.method, "digest": opened.digest},
        "device": describe_device(),
        "settings": describe_settings(settings),
        "runs": _measure(opened, engine, precision, lambda name, kind: measure(bundle, name, kind, settings, paths)),
    }
    for run in found["runs"]:
        for words in warnings(run):
            print(f"edgead: {words}", file=sys.stderr)
    if out is not None:
        write_file(out, json.dumps(found, indent=1).encode() + b"\n")
    print(json.dumps(found) if as_json else _table(found))
    if other is not None:
        _compare(found, other)


def _measure(
    opened: Bundle, engine: str, precision: Precision, measure: Callable[[str, str], dict[str, Any]]
) -> list[dict[str, Any]]:
    """The figures of every engine and precision that is asked for and runs here; raises EngineError where none does."""
    have = dict.fromkeys(one.precision for one in opened.manifest.artifacts)
    found, reasons = [], []
    for name in local_engines() if engine == "auto" else [engine]:
        for kind in have if precision is Precision.auto else [precision.value]:
            print(f"edgead: measuring {name} {kind}", file=sys.stderr)
            try:
                found.append(measure(name, kind))
            except EngineError as error:
                reasons.append(str(error))
                absent = isinstance(error, AbsentError) and engine == "auto"
                print(f"edgead: {'not here' if absent else error}", file=sys.stderr)
    if not found:
        raise EngineError("; ".join(reasons))
    return found


def read_figures(path: Path) -> dict[str, Any]:
    """What --out has written; raises UsageError for anything else."""
    try:
        text = read_whole(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; give a file of `edgead bench --out`") from error
    try:
        found = json.loads(text)
        found["runs"][0]["network_ms"], found["device"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise UsageError(f"{path} holds no figures of `edgead bench --out`: measure them again") from error
    assert isinstance(found, dict)
    return found


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None or not (8 <= int(match[1]) <= 16384 and 8 <= int(match[2]) <= 16384):
        raise UsageError(f"--frame takes a size such as 1920x1080, not '{text}'")
    return int(match[1]), int(match[2])


def _table(found: dict[str, Any]) -> str:
    rows: list[list[str]] = []
    for run in found["runs"]:
        width, height = run["frame"]
        rows.append([f"{run['engine']} {run['precision']}, frames of {width}x{height}", "p50", "p95", "p99", ""])
        parts = {"network alone": run["network_ms"], "end to end": run["end_to_end_ms"]["total"]}
        parts |= {f"  {name}": times for name, times in run["end_to_end_ms"].items() if name != "total"}
        rows += [
            [name, *(f"{times[share]:.2f}" for share in ("p50", "p95", "p99")), "ms"] for name, times in parts.items()
        ]
        for what, rates in run["images_a_second"].items():
            words = "images at once" if what == "batch" else "cameras"
            rows += [[f"{count} {words}", f"{rate:.1f}", "", "", "images/s"] for count, rate in rates.items()]
        rows.append(["memory, loaded", f"{run['memory_mib']['loaded']:.0f}", "", "", "MiB"])
        rows.append(["network's file", f"{run['network_bytes'] / 1e6:.1f}", "", "", "MB"])
        rows.append(["other work", f"{run['others']:.0%}", "", "", "of all cores"])
    device = found["device"]
    machine = f"{device.get('board') or device['processor']}, {device['cores']} cores"
    return f"{shown(machine)}\n{aligned(rows)}"


def _compare(found: dict[str, Any], other: dict[str, Any]) -> None:
    from edgead.bench import compare, differences

    unlike = differences(found, other)
    if unlike:
        print(f"edgead: not the same in both: {', '.join(unlike)}", file=sys.stderr)
    rows = list(compare(found, other))
    print(
        aligned([["", "before", "now", ""], *rows]) if rows else "no engine and precision is in both", file=sys.stderr
    )
