"""Alters good images in ways that no student is trained on, to judge by what with them and without them is found.

Students of pseudo-anomalies (`data.anomalies`) find such anomalies better than anything that a factory shows. What is
altered here are good parts' own pixels: a patch from elsewhere, a bulge, a feature wiped away; and spots, scratches and
grain of a contrast (`data.defects`). Half of it is hard to see, as it must be to tell good methods apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import cv2
import numpy as np

from edgead.types import ImageU8, Mask
from edgead_tools.data.defects import DefectKind, plant_defect

SOFT = 2.0  # sigma of a pasted patch's edge, in pixels of 256
DEFECTS: tuple[DefectKind, ...] = get_args(DefectKind)

Random = np.random.Generator
Alteration = Callable[[ImageU8, ImageU8, Random], ImageU8]  # the image, another good one, draws -> a new image


def moved(image: ImageU8, other: ImageU8, random: Random) -> ImageU8:
    """A patch of 5 to 30 % of the sides from elsewhere in the same picture, or in another."""
    height, width = image.shape[:2]
    source = image if random.random() < 0.5 else other
    rows, columns = (max(2, int(side * _even(random, 0.05, 0.3))) for side in (height, width))
    (from_y, to_y), (from_x, to_x) = (random.integers(side, size=2) for side in (height - rows, width - columns))
    sharp = np.zeros((height, width), np.float32)
    sharp[to_y : to_y + rows, to_x : to_x + columns] = 1
    mask = cv2.GaussianBlur(sharp, (0, 0), SOFT * min(height, width) / 256)[:, :, None]
    pasted = image.copy()
    pasted[to_y : to_y + rows, to_x : to_x + columns] = source[from_y : from_y + rows, from_x : from_x + columns]
    return np.asarray(np.rint(image * (1 - mask) + pasted * mask), np.uint8)


def bent(image: ImageU8, other: ImageU8, random: Random) -> ImageU8:
    """A place of 4 to 20 % of the side pushed to one side by a quarter to a half of its radius."""
    x, y, radius = _place(image, random, 0.04, 0.2)
    push, turn = random.uniform(0.25, 0.5) * radius, random.uniform(0, 2 * math.pi)
    rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]].astype(np.float32)
    near = np.exp(-2 * ((columns - x) ** 2 + (rows - y) ** 2) / radius**2)
    across, down = (np.asarray(grid + push * part * near, np.float32)
                    for grid, part in ((columns, math.cos(turn)), (rows, math.sin(turn))))  # fmt: skip
    return np.asarray(cv2.remap(image, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def wiped(image: ImageU8, other: ImageU8, random: Random) -> ImageU8:
    """A disk of 3 to 15 % of the side filled by what surrounds it."""
    x, y, radius = _place(image, random, 0.03, 0.15)
    rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]]
    gone: Mask = (columns - x) ** 2 + (rows - y) ** 2 < radius**2
    return np.asarray(cv2.inpaint(image, gone.astype(np.uint8), 3, cv2.INPAINT_TELEA), np.uint8)


def spoiled(image: ImageU8, other: ImageU8, random: Random) -> ImageU8:
    """A spot, a scratch or grain of 2 to 20 % of the side and 25 to 80 gray levels."""
    kind = DEFECTS[int(random.integers(len(DEFECTS)))]
    size = min(image.shape[:2]) * _even(random, 0.02, 0.2)
    return plant_defect(image, kind, size, _even(random, 25, 80), random)[0]


ALTERATIONS: tuple[Alteration, ...] = (moved, bent, wiped, spoiled)


def _place(image: ImageU8, random: Random, least: float, most: float) -> tuple[float, float, float]:
    """A center (x, y) and a radius, within the picture."""
    height, width = image.shape[:2]
    radius = min(height, width) * _even(random, least, most)
    return float(random.uniform(radius, width - radius)), float(random.uniform(radius, height - radius)), radius


def _even(random: Random, least: float, most: float) -> float:
    """A number, drawn evenly on a logarithmic scale."""
    return float(np.exp(random.uniform(math.log(least), math.log(most))))
