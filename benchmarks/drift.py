"""After how many parts drift is seen, for five kinds of change, and how often without any.

    python benchmarks/drift.py BUNDLE DATA_SET --out FILE [--streams 20]

The good test images of the data set are read as they are and changed; streams are drawn from their scores, half as
they are and then changed. A stream without a change has 20,000 parts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgead import Bundle, Detector
from edgead.images import read_image
from edgead.stream.drift import DriftMonitor
from edgead.stream.health import ImageStats, measure
from edgead.types import ImageU8
from edgead_tools.data import open_dataset

Part = tuple[float, ImageStats]
BEFORE, AFTER, QUIET = 300, 3000, 20_000


def shifted(image: ImageU8) -> ImageU8:
    """The scene 4 % to the right."""
    move = np.array([[1, 0, 0.04 * image.shape[1]], [0, 1, 0]], np.float32)
    return np.asarray(cv2.warpAffine(image, move, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE), np.uint8)


CHANGES: dict[str, Callable[[ImageU8], ImageU8]] = {
    "none": lambda image: image,
    "brightness: 15 % darker": lambda image: np.asarray(np.rint(0.85 * image), np.uint8),
    "focus: blurred by 1.5 pixels": lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 1.5), np.uint8),
    "position: 4 % to the right": shifted,
    "color: red 12 % stronger": lambda image: np.asarray(np.clip(np.rint(image * (1, 1, 1.12)), 0, 255), np.uint8),
    "new variant: mirrored parts": lambda image: np.ascontiguousarray(image[:, ::-1]),
}


def read(detector: Detector, images: list[ImageU8], change: Callable[[ImageU8], ImageU8]) -> list[Part]:
    """Score and camera's measures of each changed image."""
    changed = [change(image) for image in images]
    return [(detector.read(image).score, measure(image)) for image in changed]


def monitor(bundle: Bundle) -> DriftMonitor:
    artifact = bundle.manifest.artifact("fp32")
    return DriftMonitor(artifact.good_scores, artifact.thresholds.image, bundle.manifest.health)


def delay(watched: DriftMonitor, parts: list[Part], count: int, random: np.random.Generator) -> int | None:
    """Parts until the alarm."""
    for number in range(1, count + 1):
        if watched.update(*parts[random.integers(len(parts))]):
            return number
    return None


def figures(bundle: Bundle, usual: list[Part], changed: list[Part], streams: int) -> dict[str, Any]:
    """Delays over streams that change, and what is said to be the cause."""
    delays, causes = [], []
    for seed in range(streams):
        random, watched = np.random.default_rng(seed), monitor(bundle)
        early = delay(watched, usual, BEFORE, random)
        found = delay(watched, changed, AFTER, random) if early is None else None
        delays.append(found)
        causes += [] if watched.drift is None else [watched.drift.cause.partition(":")[0]]
    seen = [one for one in delays if one is not None]
    return {
        "seen": len(seen) / streams,
        "delay_quantiles": np.quantile(seen, [0.1, 0.5, 0.9]).tolist() if seen else None,
        "causes": {cause: causes.count(cause) for cause in dict.fromkeys(causes)},
        "median_score": float(np.median([score for score, _ in changed])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--streams", type=int, default=20)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    bundle = Bundle.open(given.bundle)
    good = [read_image(sample.path) for sample in open_dataset(str(given.data)).test if sample.is_good]
    with Detector(bundle, engine="onnx", precision="fp32", threads=1) as detector:
        parts = {name: read(detector, good, change) for name, change in CHANGES.items()}
    alarms = [delay(monitor(bundle), parts["none"], QUIET, np.random.default_rng(seed)) for seed in range(5)]
    result: dict[str, Any] = {"set": given.data.name, "images": len(good), "parts_without_change": 5 * QUIET}
    result["false_alarms"] = sum(one is not None for one in alarms)
    changes = {name: changed for name, changed in parts.items() if name != "none"}
    result["changes"] = {
        name: figures(bundle, parts["none"], changed, given.streams) for name, changed in changes.items()
    }
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
