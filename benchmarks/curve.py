"""The curve from accuracy to speed: one method at several sizes and shapes, or its memory alone with more and fewer
patches, on the same data sets.

    python benchmarks/curve.py DATA_SET ... --keep FOLDER --out FILE.json [--vary network --steps 200 | --vary memory]

Writes the figures and, beside them, a picture (.svg). Few steps, the same for every point: it is the points' order
that counts. The bundles stay in the folder; a broken-off run goes on. Latencies are taken at the end, in turn over
all points, on one thread.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from accuracy import figures, make

from edgead import Bundle
from edgead.config import BuildConfig
from edgead.system.device import describe_device
from edgead_tools.evaluation.report.plots import Point, scatter
from edgead_tools.pipeline.sweep import latencies

CURVES: dict[str, dict[str, tuple[int, dict[str, Any]]]] = {  # what is varied: name -> size of the input, options
    "network": {
        "128": (128, {}),
        "192": (192, {}),
        "256 narrow": (256, {"width": 64, "code": 32}),
        "256": (256, {}),
        "256 Lite2": (256, {"trunk": "efficientnet-lite2"}),
        "320": (320, {}),
        "384": (384, {}),
    },
    "memory": {f"{patches} patches": (256, {"memory": patches}) for patches in (64, 256, 1024, 2048, 4096)},
}


def build_points(
    points: dict[str, tuple[int, dict[str, Any]]], method: str, data: list[Path], limits: dict[str, Any], keep: Path
) -> dict[str, dict[str, Bundle]]:
    """Point -> data set -> bundle."""
    return {
        point: {
            folder.name: make(
                BuildConfig(
                    method=method,
                    data=str(folder),
                    size=size,
                    options=options,
                    out=str(keep / f"{folder.name}-{point.replace(' ', '-')}.edgead"),
                    **limits,
                )
            )
            for folder in data
        }
        for point, (size, options) in points.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--method", default="stlm")
    parser.add_argument("--vary", choices=CURVES, default="network")
    parser.add_argument("--steps", type=int, default=200, help="of training of networks; a memory alone takes none")
    parser.add_argument("--keep", type=Path, required=True, help="folder for the bundles")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    chosen, trains = CURVES[given.vary], given.vary == "network"
    limits = {"steps": given.steps} if trains else {"budget": "0"}
    bundles = build_points(chosen, given.method, given.data, limits, given.keep)
    spent = latencies({point: next(iter(made.values())) for point, made in bundles.items()}, threads=1)
    points = {
        point: {
            "size": chosen[point][0],
            "options": chosen[point][1],
            "latency_ms": spent[point],
            "sets": {name: figures(bundle) for name, bundle in made.items()},
        }
        for point, made in bundles.items()
    }
    result = {"method": given.method, **limits, "device": describe_device(), "points": points}
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    shown = [
        Point(name, folder.name, point["latency_ms"], point["sets"][folder.name]["image_auroc"])
        for folder in given.data
        for name, point in points.items()
    ]
    what = f"{given.steps} steps of training" if trains else "the memory alone"
    title = f"{given.method}: image AUROC over latency, {what}"
    picture = scatter(shown, x="milliseconds an image, one thread", y="image AUROC", title=title, front=False)
    given.out.with_suffix(".svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
