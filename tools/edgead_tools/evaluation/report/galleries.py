"""Chooses the images a person wants to see: misses, false alarms, and the clearest of both kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgead import Detector
from edgead.errors import DataError
from edgead.images import read_image
from edgead.ops import resize
from edgead.overlay import FULL_SCALE, heatmap
from edgead.types import ImageU8, MapF32
from edgead_tools.data import Dataset, Sample, read_mask
from edgead_tools.evaluation.evaluate import Evaluation, Judged

SIDE = 440  # pixels of one of the pictures beside each other, when they are enlarged
QUALITY = 80  # JPEG
OUTLINE = (233, 180, 86)  # BGR of the drawn defect's edge: sky blue, told from the heatmap by the color-blind too


@dataclass(frozen=True, slots=True)
class Picture:
    """The image, with the defect's outline where it is drawn, beside its heatmap; as a JPEG."""

    jpeg: bytes
    caption: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """A row of pictures."""

    title: str
    count: int  # of the images it shows the first of
    images: tuple[Picture, ...]


def pick(detector: Detector, dataset: Dataset, evaluation: Evaluation, row: int) -> tuple[Gallery, ...]:
    """Rows of up to `row` pictures, judged anew, so that no more than one image is ever in memory."""
    ranked = sorted(evaluation.judged, key=lambda one: one.score)
    good, bad = ([one for one in ranked if one.is_good is side] for side in (True, False))
    found, passed = [one for one in bad if one.refused], [one for one in good if not one.refused]
    missed = [one for one in bad if not one.refused]
    rows = {
        "False alarms, strongest first": [one for one in good[::-1] if one.refused],
        "Defects found, weakest first": found,
        "Defects found, clearest first": found[::-1] if len(found) > row else [],
        "Good parts, strangest first": passed[::-1],
        "Good parts, most usual first": passed if len(passed) > row else [],
    }
    samples = {str(sample.path): sample for sample in dataset.test}

    def shown(title: str, ones: Sequence[Judged], *, stretched: bool = False) -> Gallery:
        pictures = (_picture(one, samples[one.path], detector, stretched=stretched) for one in ones[:row])
        return Gallery(title, len(ones), tuple(pictures))

    first = [shown("Defects that were missed, weakest first", missed, stretched=True)] if missed else []
    return (*first, *(shown(title, ones) for title, ones in rows.items() if ones))


def _picture(one: Judged, sample: Sample, detector: Detector, *, stretched: bool) -> Picture:
    image = read_image(one.path, bits=detector.bundle.manifest.input.bits)
    caption = f"{one.label} · {Path(one.path).name} · score {one.score:.2f}"
    return picture_of(detector, image, caption, sample, stretched=stretched)


def picture_of(
    detector: Detector, image: ImageU8, caption: str, sample: Sample | None = None, *, stretched: bool = False,
    seen: MapF32 | None = None,
) -> Picture:  # fmt: skip
    """An image (H, W, 3) beside what the detector sees in it, with the outline of the sample's defect if it has one.

    With `stretched` beside both the map on a scale of its own, for an image in which the fixed one shows nothing.
    With `seen` that calibrated map (h, w) stands in the place of the detector's.
    """
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    plain = resize(image, *size)
    if seen is not None:
        return Picture(_jpeg([plain, heatmap(seen, *size)]), caption)
    result = detector(image)
    panels = [plain if sample is None else _outlined(plain, sample), resize(result.overlay(image), *size)]
    highest = float(np.nanmax(result.grid_map))
    if stretched and highest > 0:
        panels.append(heatmap(result.grid_map * np.float32(FULL_SCALE / highest), *size))
        caption += f" · highest cell {highest:.2f} of the pixel threshold"
    return Picture(_jpeg(panels), caption)


def _jpeg(panels: Sequence[ImageU8]) -> bytes:
    return cv2.imencode(".jpg", np.hstack(panels), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def _outlined(image: ImageU8, sample: Sample) -> ImageU8:
    """The picture with the edge of its defect, where one is drawn and can be read."""
    if not sample.masks:
        return image
    try:
        mask = read_mask(sample, *image.shape[:2])
    except DataError:
        return image
    edges: Sequence[np.ndarray] = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)[0]
    return np.asarray(cv2.drawContours(image.copy(), edges, -1, OUTLINE, 1), np.uint8)
