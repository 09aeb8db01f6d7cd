"""What ran on a GPU, in a short table: of one folder of results, or of all that lie here.

    python benchmarks/gpu_table.py FOLDER

`where` is the table of docs/nvidia.md, made from the results (`reproduce.py tables`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
FILES = ("kernels", "engine", "baselines")
EMULATED = "Emulated GPU"


def read(folder: Path) -> dict[str, Any]:
    """The results of a run of `on_gpu.sh` by the name of their step; those that failed are absent."""
    paths = {name: folder / f"{name}.json" for name in FILES}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}


def card(found: dict[str, Any]) -> str:
    """The GPU's name; empty where nothing says it."""
    names = [one["gpu"]["name"] for one in found.values() if "gpu" in one]
    return names[0] if names else ""


def lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What was measured, each with its figures."""
    for batch, one in found.get("kernels", {}).get("batches", {}).items():
        for name, figures in one["kernels"].items():
            least = f", {figures['times_least']} times the least" if figures["times_least"] else ""
            yield f"{name}, batch {batch}", f"{figures['us']} us{least}"
    for precision in ("fp32", "fp16"):
        for batch, one in found.get("engine", {}).get(precision, {}).get("batches", {}).items():
            spent, alone = f"{one['end_to_end_ms']} ms", f"the network {one['network_alone_ms']} ms"
            yield (
                f"frames to readings, {precision}, batch {batch}",
                f"{spent}, {one['frames_a_second']} frames/s, {alone}",
            )
    for kind in ("eager", "compiled"):
        for batch, ms in found.get("baselines", {}).get(f"{kind}_ms", {}).items():
            yield f"torch {kind}, the network alone, batch {batch}", f"{ms} ms"


def where(rtx: dict[str, Any], host: dict[str, Any], folder: Path = RESULTS) -> str:
    """The table of what has run where, in Markdown: `rtx` and `host` are results of a machine without a GPU."""
    targets = sorted({one["target"] for one in rtx["engines"]}, key=lambda name: int(name[3:]))
    products = sum(sum(one["products"].values()) for one in rtx["engines"])
    engines = f"{len(rtx['engines'])} engines for {', '.join(targets)}, {products} products as asked"
    path = host["batches"]["1"]
    pooled = path["pooled"]
    calls = (
        f"{pooled['driver_calls']} driver calls and {pooled['host_us']} us of the host for a camera's frame; "
        f"{path['driver_calls']} and {path['host_us']} us for another array, and its copy"
    )
    rows = [
        ("engines built ahead of time", f"{rtx['library']}, no GPU", engines),
        ("kernels, CUDA graphs, the engine", "emulated driver on a CPU", calls),
    ]
    runs = [(path.parent, read(path.parent)) for path in sorted(folder.glob("*/engine.json"))]
    for place, found in runs:
        if card(found) and card(found) != EMULATED:
            shown = [f"{name}: {figures}" for name, figures in lines(found) if "batch 1" in name.split(", ")[-1:]]
            rows.append((f"`on_gpu.sh` ({place.name})", card(found), "; ".join(shown)))
    if len(rows) == 2:
        rows += [("kernels, CUDA graphs, the engine", "an NVIDIA GPU or Jetson", "**nowhere yet**")]
    body = [f"| {' | '.join(row)} |" for row in (("what", "where", "shown"), *rows)]
    return "\n".join([body[0], "|---|---|---|", *body[1:]])


def has_run_on_a_gpu(folder: Path = RESULTS) -> bool:
    """Whether a run of `on_gpu.sh` on a real GPU is among the results."""
    names = {card(read(path.parent)) for name in FILES for path in folder.glob(f"*/{name}.json")}
    return bool(names - {"", EMULATED})


if __name__ == "__main__":
    results = read(Path(sys.argv[1]))
    print(card(results) or "no GPU was measured")
    for name, figures in lines(results):
        print(f"{name:<44} {figures}")
