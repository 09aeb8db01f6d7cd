"""Generated parts for training: a board with two bright strips, moved and lit a little differently each time."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead_tools.methods import TrainingImages


def board(seed: int, size: int = 64, *, scratched: bool = False) -> NDArray[np.uint8]:
    """One part (size, size, 3) uint8 BGR; `scratched` adds a bright line across the same part."""
    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), (60, 90, 40), np.float32)
    left = size // 4 + int(rng.integers(-1, 2))
    for start in (left, left + size // 3):
        image[size // 8 : -size // 8, start : start + size // 8] = (150, 170, 190)
    image += image * rng.uniform(-0.03, 0.03) + rng.normal(0, 3, image.shape)
    if scratched:
        cv2.line(image, (size // 3, size // 4), (3 * size // 4, size // 3), (250, 250, 250), max(1, size // 32))
    return np.clip(image, 0, 255).astype(np.uint8)


def boards(count: int, size: int = 64, first: int = 0) -> NDArray[np.uint8]:
    """`count` good parts, (count, size, size, 3)."""
    return np.stack([board(first + index, size) for index in range(count)])


def training_images(train: int = 12, calibration: int = 4, size: int = 64) -> TrainingImages:
    """Good parts, none of them in both sets."""
    return TrainingImages(boards(train, size), boards(calibration, size, first=train))
