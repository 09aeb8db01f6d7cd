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
from edgead.types import ImageU8
from edgead_tools.data import Dataset, Sample, read_mask
from edgead_tools.evaluation.evaluate import Evaluation, Judged

SIDE = 220  # pixels of one of the two pictures of a pair
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
    rows = {
        "Defects that were missed, weakest first": [one for one in bad if not one.refused],
        "False alarms, strongest first": [one for one in good[::-1] if one.refused],
        "Defects found, weakest first": [one for one in bad if one.refused],
        "Good parts, strangest first": [one for one in good[::-1] if not one.refused],
    }
    samples = {str(sample.path): sample for sample in dataset.test}
    return tuple(
        Gallery(title, len(ones), tuple(_picture(one, samples[one.path], detector) for one in ones[:row]))
        for title, ones in rows.items()
        if ones
    )


def _picture(one: Judged, sample: Sample, detector: Detector) -> Picture:
    image = read_image(one.path, bits=detector.bundle.manifest.input.bits)
    caption = f"{one.label} · {Path(one.path).name} · score {one.score:.2f}"
    return picture_of(detector, image, caption, sample)


def picture_of(detector: Detector, image: ImageU8, caption: str, sample: Sample | None = None) -> Picture:
    """An image (H, W, 3) beside what the detector sees in it, with the outline of the sample's defect if it has one."""
    drawn = detector(image).overlay(image)
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    plain = resize(image, *size)
    pair = np.hstack([plain if sample is None else _outlined(plain, sample), resize(drawn, *size)])
    return Picture(cv2.imencode(".jpg", pair, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes(), caption)


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
