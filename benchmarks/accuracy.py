"""What a method achieves on data sets with labeled defects: one build and one evaluation for each, then the latencies.

    python benchmarks/accuracy.py METHOD DATA_SET ... --keep FOLDER --out FILE [--preset edge] [--budget 5m | --steps N]

The bundles stay in the folder, and a set whose bundle is there is not built again, so that a broken-off run goes on and
`--out` is always whole. With a budget the number of steps depends on the machine and its load; it is recorded, and
`--steps` repeats it. Latencies are taken at the end, in turn over all bundles: medians of the engine alone, one image.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from edgead import Bundle
from edgead.config import BuildConfig
from edgead.progress import ConsoleReporter
from edgead.system.device import describe_device
from edgead_tools.pipeline.build import build
from edgead_tools.pipeline.sweep import latencies


def make(config: BuildConfig) -> Bundle:
    """The bundle of that configuration, from an earlier run if it is there."""
    if config.bundle_path.exists():
        return Bundle.open(config.bundle_path)
    return build(config, ConsoleReporter(), fresh=True).bundle


def figures(bundle: Bundle) -> dict[str, Any]:
    """What the bundle's card says of its accuracy and its training."""
    card = bundle.manifest.provenance
    measured = {name: value for name, value in card["measured"].items() if name != "latency_ms"}
    return measured | {
        "train": card["data"]["train"],
        "steps": card["training"]["steps"],
        "training_seconds": card["training"]["seconds"],
        "bundle_bytes": bundle.path.stat().st_size if bundle.path else 0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method")
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--preset", default="edge")
    parser.add_argument("--budget", default="")
    parser.add_argument("--steps", type=int, help="instead of a budget")
    parser.add_argument("--keep", type=Path, required=True, help="folder for the bundles")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    result: dict[str, Any] = {"method": given.method, "preset": given.preset, "device": describe_device(), "sets": {}}
    bundles: dict[str, Bundle] = {}
    for data in given.data:
        config = BuildConfig(
            method=given.method,
            preset=given.preset,
            data=str(data),
            budget="" if given.steps is not None else given.budget,
            steps=given.steps,
            out=str(given.keep / f"{data.name}.edgead"),
        )
        bundles[data.name] = make(config)
        result["sets"][data.name] = figures(bundles[data.name])
        print(json.dumps({data.name: result["sets"][data.name]}), flush=True)
    for name, spent in latencies(bundles, threads=1).items():  # more threads of so many engines would wait for another
        result["sets"][name]["latency_ms"] = spent
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
