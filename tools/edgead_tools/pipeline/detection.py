"""Measures what size of defect a bundle finds, by defects planted in held-out good images."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import cv2
import numpy as np

from edgead.bundle import Detection, PlantedDefect
from edgead.ops import load_mask
from edgead.reader import Reader
from edgead.types import Mask
from edgead_calibration.detection import detection_at
from edgead_calibration.images import evenly_spaced
from edgead_tools.data.defects import DefectKind, plant_defect
from edgead_tools.pipeline.images import BuildImages

IMAGES = 30  # good images at most
EACH = 6  # defects planted in each
FEWEST = 6  # images, where there are so many
RUNS = 4000  # of the network, at most: frames in many tiles get fewer defects
SIZES = (0.008, 0.4)  # shares of the shorter side; of frames in tiles, of that of a tile
# Gray levels. Of the real defects of magnetic tiles a tenth change 3 or less, half of them 25 or more, a tenth 57 or
# more; of bottles 4, 13 and 37.
CONTRASTS = (10.0, 80.0)
KINDS: tuple[DefectKind, ...] = get_args(DefectKind)


def measure_detection(
    reader: Reader, images: BuildImages, threshold: float, seed: int, on_progress: Callable[[int, int], None]
) -> Detection:
    """The probability of detection at a raw threshold, by defects planted in the good images held out.

    Sizes and contrasts are drawn evenly on a logarithmic scale; every kind has as many defects. Raises DataError for
    fewer than two images.
    """
    spec = reader.source.manifest.input
    chosen = evenly_spaced(images.parts.held_out, max(FEWEST, min(IMAGES, RUNS // (EACH * spec.batch))))
    finer = 1 if spec.tiles is None else min(spec.tiles.grid)
    random = np.random.default_rng(seed)
    planted: list[PlantedDefect] = []
    frame = (0, 0)
    mask = load_mask(reader.source)
    for sample in chosen:
        image = images.frame(sample)
        frame = image.shape[0], image.shape[1]
        judged = None if mask is None else _at_size(mask > 0.5, frame)
        for _ in range(EACH):
            kind = KINDS[len(planted) % len(KINDS)]
            size, contrast = (float(np.exp(random.uniform(*np.log(ends)))) for ends in (SIZES, CONTRASTS))
            size /= finer
            spoiled, change = plant_defect(image, kind, size * min(frame), contrast, random, judged)
            score = reader.read(spoiled).score
            planted.append(PlantedDefect(kind=kind, size=round(size, 5), contrast=round(change, 1), score=score))
            on_progress(len(planted), EACH * len(chosen))
    return detection_at(planted, frame, threshold)


def _at_size(mask: Mask, size: tuple[int, int]) -> Mask:
    resized = cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized > 0)
