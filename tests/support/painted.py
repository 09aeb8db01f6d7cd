"""Small pictures for the data tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def texture(seed: int, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """A smooth random picture (height, width, 3), different for every seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return np.asarray(cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX), np.uint8)


def save(path: Path, image: NDArray[np.uint8] | NDArray[np.uint16] | int = 0) -> Path:
    """Write `image`, or the texture of that seed, in the format the name says; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = texture(image) if isinstance(image, int) else image
    encoded = cv2.imencode(path.suffix.lower(), pixels)[1]
    path.write_bytes(encoded.tobytes())
    return path


def save_many(folder: Path, count: int, first_seed: int = 0) -> list[Path]:
    """`count` different pictures named 0.png, 1.png, ..."""
    return [save(folder / f"{index}.png", first_seed + index) for index in range(count)]
