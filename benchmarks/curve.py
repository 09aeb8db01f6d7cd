"""The curve from accuracy to speed: one method at several sizes and shapes, on the same data sets.

    python benchmarks/curve.py DATA_SET ... --keep FOLDER --out FILE.json [--steps 200]

Writes the figures and, beside them, a picture (.svg). Few steps, the same for every point: it is the points' order
that counts. The bundles stay in the folder; a broken-off run goes on. Latencies are taken at the end, in turn over
all points, on one thread.
"""

from __future__ import annotations

import argparse
import json
from html import escape
from pathlib import Path
from typing import Any

from accuracy import figures, latencies, make

from edgead import Bundle
from edgead.device import describe_device
from edgead_tools.config import BuildConfig

POINTS: dict[str, tuple[int, dict[str, Any]]] = {  # name -> size of the input, options
    "128": (128, {}),
    "192": (192, {}),
    "256 narrow": (256, {"width": 64, "code": 32}),
    "256": (256, {}),
    "256 Lite2": (256, {"trunk": "efficientnet-lite2"}),
    "320": (320, {}),
    "384": (384, {}),
}
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # told apart by the colour-blind
WIDTH, HEIGHT, MARGIN = 720, 420, 60


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


def plot(points: dict[str, dict[str, Any]], sets: list[str], title: str) -> str:
    """An SVG of image AUROC over latency, a line for each data set."""
    speeds = [point["latency_ms"] for point in points.values()]
    values = [point["sets"][name]["image_auroc"] for point in points.values() for name in sets]
    right, low = 1.05 * max(speeds), min(values) - 0.005

    def place(speed: float, value: float) -> tuple[float, float]:
        x = MARGIN + speed / right * (WIDTH - 2 * MARGIN)
        return x, HEIGHT - MARGIN - (value - low) / (1.0 - low) * (HEIGHT - 2 * MARGIN)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{WIDTH / 2}" y="24" text-anchor="middle" font-size="14">{escape(title)}</text>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">milliseconds an image, one thread</text>',
    ]
    for step in range(5):
        value = low + (1 - low) * step / 4
        x, y = place(0, value)
        parts.append(f'<line x1="{x}" x2="{WIDTH - MARGIN}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3f}</text>')
    for name, point in points.items():
        x, _ = place(point["latency_ms"], low)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - MARGIN + 16}" text-anchor="middle">{escape(name)}</text>')
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - MARGIN + 30}" text-anchor="middle" fill="#666">'
            f"{point['latency_ms']:.0f}</text>"
        )
    for index, name in enumerate(sets):
        colour = COLOURS[index % len(COLOURS)]
        places = sorted(place(point["latency_ms"], point["sets"][name]["image_auroc"]) for point in points.values())
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in places]
        parts.append(f'<text x="{MARGIN + 120 * index}" y="46" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


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
    names = [folder.name for folder in given.data]
    title = f"{given.method}: image AUROC over latency, {given.steps} steps of training"
    given.out.with_suffix(".svg").write_text(plot(points, names, title), encoding="utf-8")


if __name__ == "__main__":
    main()
