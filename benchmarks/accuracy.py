"""What a method achieves on data sets with labelled defects: one build and one evaluation for each.

    python benchmarks/accuracy.py METHOD DATA_SET ... --steps 400 [--out FILE] [--keep FOLDER]

A number of steps, not a budget, so that the accuracy does not depend on what else the machine is doing. Training
seconds are what they were on this machine, in this run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from device import describe_device

from edgead_tools.build import build
from edgead_tools.config import BuildConfig
from edgead_tools.progress import ConsoleReporter


def measure(method: str, data: Path, steps: int, folder: Path) -> dict[str, Any]:
    """Build on `data` and return the figures its bundle records."""
    start = time.monotonic()
    config = BuildConfig(method=method, data=str(data), steps=steps, out=str(folder / f"{data.name}.edgead"))
    bundle = build(config, ConsoleReporter(), fresh=True).bundle
    card = bundle.manifest.provenance
    return card["measured"] | {
        "train": card["data"]["train"],
        "training_seconds": card["training"]["seconds"],
        "build_seconds": round(time.monotonic() - start, 1),
        "bundle_bytes": bundle.path.stat().st_size if bundle.path else 0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method")
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="folder for the bundles; a temporary one where not given")
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for data in given.data:
            figures[data.name] = measure(given.method, data, given.steps, given.keep or Path(temporary))
            print(json.dumps({data.name: figures[data.name]}), flush=True)
            result = {"method": given.method, "steps": given.steps, "device": describe_device(), "sets": figures}
            if given.out:
                given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
