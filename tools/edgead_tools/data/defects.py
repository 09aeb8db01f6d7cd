"""Defects of known kind, size and contrast, planted in good images at their own resolution.

A size is the square root of the area, so that a spot and a scratch of one size cover as many pixels; a contrast is the
mean change of gray level over them. Edges are as soft as a lens makes them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np

from edgead.types import ImageU8, MapF32, Mask

Random = np.random.Generator
DefectKind = Literal["spot", "scratch", "grain"]

SOFTNESS = 0.7  # sigma of the edges, in pixels
SLENDERNESS = 12.0  # length of a scratch over its width
REACH = math.sqrt(SLENDERNESS / math.pi)  # sizes from its center that a defect reaches, at most


def plant_defect(
    image: ImageU8, kind: DefectKind, size: float, contrast: float, random: Random, judged: Mask | None = None
) -> tuple[ImageU8, float]:
    """A copy of the image (H, W, 3) with a defect of `size` pixels inside it, and the change of gray level that came
    about, which is less than `contrast` where pixels are dark or bright already. The defect's center lies where
    `judged` (H, W) is true, if there is such a place."""
    height, width = image.shape[:2]
    x, y = _place(height, width, size, random, judged)
    reach = math.ceil(REACH * size) + 4
    left, top = max(0, int(x) - reach), max(0, int(y) - reach)
    around = slice(top, int(y) + reach), slice(left, int(x) + reach)
    spoiled = image.copy()
    spoiled[around], change = _spoil(image[around], kind, size, (x - left, y - top), contrast, random)
    return spoiled, change


def _spoil(
    image: ImageU8, kind: DefectKind, size: float, center: tuple[float, float], contrast: float, random: Random
) -> tuple[ImageU8, float]:
    """What `plant_defect` makes of the surroundings of a defect."""
    height, width = image.shape[:2]
    shape = SHAPES[kind](height, width, center, size, random)
    alpha = cv2.GaussianBlur(shape, (0, 0), SOFTNESS)[:, :, None]
    inside = alpha[:, :, 0] > 0.5
    mean = float(image[inside].mean()) if inside.any() else 128.0
    sign = -1.0 if mean - contrast >= 0 and (mean + contrast > 255 or random.random() < 0.5) else 1.0
    change = np.full(image.shape, sign * contrast, np.float32)
    if kind == "grain":
        grain = random.standard_normal(image.shape[:2]).astype(np.float32)
        change = contrast * 1.25 * np.repeat(grain[:, :, None], 3, axis=2)  # the mean of its size is the contrast
    spoiled = np.clip(np.rint(image + alpha * change), 0, 255).astype(np.uint8)
    if not inside.any():
        return spoiled, 0.0
    return spoiled, float(cv2.absdiff(spoiled, image)[inside].mean())


def _place(height: int, width: int, size: float, random: Random, judged: Mask | None) -> tuple[float, float]:
    """A center (x, y) that leaves the defect inside the picture, where it is judged if there is such a place."""
    margin = int(min(size, 0.45 * min(height, width)))
    inner = slice(margin, height - margin), slice(margin, width - margin)
    if judged is None or not judged[inner].any():
        return float(random.uniform(margin, width - margin)), float(random.uniform(margin, height - margin))
    places = np.flatnonzero(judged[inner])
    y, x = divmod(int(places[random.integers(len(places))]), judged[inner].shape[1])
    return float(x + margin), float(y + margin)


def _spot(height: int, width: int, center: tuple[float, float], size: float, random: Random) -> MapF32:
    """An ellipse, up to twice as long as wide."""
    ratio = random.uniform(1.0, 2.0)
    radius = size / math.sqrt(math.pi)
    axes = radius * math.sqrt(ratio), radius / math.sqrt(ratio)
    return _ellipse(height, width, center, axes, random.uniform(0, math.pi))


def _scratch(height: int, width: int, center: tuple[float, float], size: float, random: Random) -> MapF32:
    """A straight line, `SLENDERNESS` times as long as wide."""
    radius = size / math.sqrt(math.pi)
    axes = radius * math.sqrt(SLENDERNESS), radius / math.sqrt(SLENDERNESS)
    return _ellipse(height, width, center, axes, random.uniform(0, math.pi))


def _ellipse(height: int, width: int, center: tuple[float, float], axes: tuple[float, float], turn: float) -> MapF32:
    """The share of each pixel that an ellipse of those half axes covers, by distance from its edge."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = x - np.float32(center[0]), y - np.float32(center[1])
    along = (x * math.cos(turn) + y * math.sin(turn)) / max(axes[0], 0.3)
    across = (y * math.cos(turn) - x * math.sin(turn)) / max(axes[1], 0.3)
    distance = (1 - np.sqrt(along * along + across * across)) * min(axes)
    return np.asarray(np.clip(0.5 + distance, 0, 1), np.float32)


SHAPES: dict[DefectKind, Callable[[int, int, tuple[float, float], float, Random], MapF32]] = {
    "spot": _spot,
    "scratch": _scratch,
    "grain": _spot,
}
