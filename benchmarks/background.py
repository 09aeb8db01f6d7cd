"""What a mask is worth where the background is restless: one method with and without it, shapes pasted around parts.

    python benchmarks/background.py METHOD DATA_SET --preset PRESET --steps 400 [--size 256] [--out FILE]

The data set is laid out as MVTec AD's, on an even ground. The mask is drawn from the good images: whatever is not of
the ground's color in some of them, filled and widened. Half of the test images, good and defective alike, get up to
three shapes of random colors outside of it. Both bundles hold the same network: steps, seed and images are the same.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgead import Detector
from edgead.config import BuildConfig
from edgead.images import read_image
from edgead.progress import ConsoleReporter
from edgead.system.device import describe_device
from edgead_tools.data import Dataset, open_dataset
from edgead_tools.evaluation.evaluate import evaluate
from edgead_tools.pipeline.build import build

CONTRAST = 40  # gray levels from the ground, in any channel
SHARE = 0.05  # of the good images that must differ from the ground at a pixel of the part
MARGIN = 0.02  # of the side, around the part
DISTURBED = 0.5  # share of test images with shapes


def draw_mask(dataset: Dataset) -> np.ndarray:
    """255 where the part may be in a good image, with a margin; 0 on the ground. All images have one size."""
    differs: Any = 0.0
    for sample in dataset.train:
        image = read_image(sample.path).astype(np.int16)
        rim = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        differs = differs + (np.abs(image - np.median(rim, axis=0)).max(axis=2) > CONTRAST)
    part = (differs > SHARE * len(dataset.train)).astype(np.uint8)
    outlines, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    mask = np.zeros_like(part)
    cv2.drawContours(mask, [max(outlines, key=cv2.contourArea)], -1, 255, cv2.FILLED)
    radius = max(1, round(MARGIN * max(mask.shape)))
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2))


def disturb(image: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The image with one to three shapes, which the mask covers where they reach the part."""
    painted = image.copy()
    side = max(mask.shape)
    places = np.argwhere(mask == 0)
    for _ in range(random.integers(1, 4)):
        y, x = (int(value) for value in places[random.integers(len(places))])
        color = tuple(int(value) for value in random.integers(0, 256, 3))
        size = tuple(int(value) for value in random.integers(side // 40, side // 10, 2))
        if random.random() < 0.5:
            cv2.ellipse(painted, (x, y), size, float(random.uniform(0, 180)), 0, 360, color, cv2.FILLED)
        else:
            cv2.rectangle(painted, (x - size[0], y - size[1]), (x + size[0], y + size[1]), color, cv2.FILLED)
    return np.where(mask[:, :, None] > 0, image, painted)


def write_disturbed(dataset: Dataset, mask: np.ndarray, folder: Path) -> Dataset:
    """The data set with shapes around half of its test images."""
    random = np.random.default_rng(0)
    (folder / "train").symlink_to(dataset.root / "train")
    for index, sample in enumerate(dataset.test):
        image = read_image(sample.path)
        if random.random() < DISTURBED:
            image = disturb(image, mask, random)
        place = folder / "test" / ("good" if sample.is_good else sample.label)
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{index:04d}.png"), image)
    return open_dataset(str(folder))


def judge(detector: Detector, dataset: Dataset) -> dict[str, Any]:
    measured = evaluate(detector, dataset).to_dict()
    return {name: measured[name] for name in ("image_auroc", "false_alarm_rate", "miss_rate")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method")
    parser.add_argument("data", type=Path)
    parser.add_argument("--preset", default="edge")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        dataset = open_dataset(str(given.data))
        mask = draw_mask(dataset)
        cv2.imwrite(str(folder / "mask.png"), mask)
        disturbed = write_disturbed(dataset, mask, folder)
        figures: dict[str, Any] = {}
        for name, path in (("without a mask", ""), ("with the mask", str(folder / "mask.png"))):
            config = BuildConfig(
                method=given.method, preset=given.preset, data=str(given.data), steps=given.steps, size=given.size,
                mask=path, out=str(folder / "part.edgead"),
            )  # fmt: skip
            with Detector(build(config, ConsoleReporter(), fresh=True).bundle) as detector:
                figures[name] = {
                    kind: judge(detector, images) for kind, images in (("as it is", dataset), ("disturbed", disturbed))
                }
            print(json.dumps({name: figures[name]}), flush=True)
    result = {
        "method": given.method,
        "preset": given.preset,
        "steps": given.steps,
        "size": given.size,
        "set": given.data.name,
        "judged": round(float(mask.mean()) / 255, 3),
        "device": describe_device(),
        "figures": figures,
    }
    if given.out:
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
