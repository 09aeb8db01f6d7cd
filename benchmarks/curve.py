"""The curve from accuracy to speed: one method at several sizes and shapes, on the same data sets.

    python benchmarks/curve.py DATA_SET ... --keep FOLDER --out FILE.json [--steps 200]

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

POINTS: dict[str, tuple[int, dict[str, Any]]] = {  # name -> size of the input, options
    "128": (128, {}),
    "192": (192, {}),
    "256 narrow": (256, {"width": 64, "code": 32}),
    "256": (256, {}),
    "256 Lite2": (256, {"trunk": "efficientnet-lite2"}),
    "320": (320, {}),
    "384": (384, {}),
}


def build_points(method: str, data: list[Path], steps: int, keep: Path) -> dict[str, dict[str, Bundle]]:
    """Point -> data set -> bundle."""
    return {
        point: {
            folder.name: make(
                BuildConfig(
                    method=method,
                    data=str(folder),
                    steps=steps,
                    size=size,
                    options=options,
                    out=str(keep / f"{folder.name}-{point.replace(' ', '-')}.edgead"),
                )
            )
            for folder in data
        }
        for point, (size, options) in POINTS.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--method", default="stlm")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--keep", type=Path, required=True, help="folder for the bundles")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    bundles = build_points(given.method, given.data, given.steps, given.keep)
    spent = latencies({point: next(iter(made.values())) for point, made in bundles.items()}, threads=1)
    points = {
        point: {
            "size": POINTS[point][0],
            "options": POINTS[point][1],
            "latency_ms": spent[point],
            "sets": {name: figures(bundle) for name, bundle in made.items()},
        }
        for point, made in bundles.items()
    }
    result = {"method": given.method, "steps": given.steps, "device": describe_device(), "points": points}
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    shown = [
        Point(name, folder.name, point["latency_ms"], point["sets"][folder.name]["image_auroc"])
        for folder in given.data
        for name, point in points.items()
    ]
    title = f"{given.method}: image AUROC over latency, {given.steps} steps of training"
    picture = scatter(shown, x="milliseconds an image, one thread", y="image AUROC", title=title, front=False)
    given.out.with_suffix(".svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
