"""Draws large frames of brushed metal with bores at fixed places, and small defects of known size in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.types import ImageU8

Random = np.random.Generator
GRAIN = 12.0, 0.8  # sigma of the brushing across and down, in pixels
BORES = ((0.2, 0.25), (0.5, 0.25), (0.8, 0.25), (0.35, 0.7), (0.65, 0.7))  # shares of width and height
RADIUS = 0.04  # of a bore, of the frame's height


def draw_surface(random: Random, height: int, width: int) -> ImageU8:
    """A good frame (height, width, 3): uneven light, brushing of its own, bores that lie a little differently."""
    return _with_bores(random, _brushed(random, height, width))


def _brushed(random: Random, height: int, width: int) -> NDArray[np.float32]:
    """Gray levels of the plain surface."""
    grain = random.standard_normal((height, width), dtype=np.float32)
    brushed = cv2.GaussianBlur(grain, (0, 0), sigmaX=GRAIN[0], sigmaY=GRAIN[1])
    brushed *= 9.0 / float(brushed.std())
    across = np.cos((np.arange(width, dtype=np.float32) / width - 0.5 + random.normal(0, 0.02)) * 1.6)
    down = np.cos((np.arange(height, dtype=np.float32) / height - 0.5) * 1.5)
    return np.asarray(brushed + 130 + 20 * np.outer(down, across), np.float32)


def _with_bores(random: Random, surface: NDArray[np.float32]) -> ImageU8:
    height, width = surface.shape
    radius = RADIUS * height
    for x, y in BORES:
        center = x * width + random.normal(0, 0.002 * width), y * height + random.normal(0, 0.002 * height)
        reach = int(1.6 * radius) + 2
        top, left = int(center[1]) - reach, int(center[0]) - reach
        part = surface[top : top + 2 * reach, left : left + 2 * reach]
        rows, columns = np.mgrid[: part.shape[0], : part.shape[1]].astype(np.float32)
        distance = np.hypot(rows + top - center[1], columns + left - center[0])
        part *= 1 - 0.8 * np.clip(radius - distance, 0, 1)
        part += 35 * np.exp(-((distance - 1.15 * radius) ** 2) / (2 * (0.06 * radius + 0.5) ** 2))
    gray = np.clip(np.rint(surface), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR))


def write_surfaces(root: Path, counts: dict[str, int], size: tuple[int, int], seed: int = 0) -> None:
    """`root` as a data set of MVTec's layout: counts of `train` and `test` good frames of size (height, width)."""
    random = np.random.default_rng(seed)
    for split, count in counts.items():
        folder = root / split / "good"
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(count):
            write(folder / f"{index:03d}.png", draw_surface(random, *size))


def write(path: Path, image: NDArray[Any]) -> None:
    """The image as a file, little packed since it is read once or twice."""
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise OSError(f"{path} cannot be written")
