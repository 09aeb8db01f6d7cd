"""Reading image files: one door, the same for training and for the line."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from edgead.errors import DataError
from edgead.ops import as_image
from edgead.types import ImageU8

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


def read_image(path: str | os.PathLike[str], *, bits: int = 16) -> ImageU8:
    """An image file as (H, W, 3) BGR uint8, turned upright by its EXIF tag, alpha dropped.

    `bits` is the full scale of 16-bit files. Raises DataError when the file is missing, truncated or no image.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no image at {path}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    problem = damage(raw)
    if problem:
        raise DataError(f"{path} {problem}; copy it again or leave it out")
    try:
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise DataError(f"{path} cannot be decoded: {error.err}") from error
    if pixels is None:
        raise DataError(f"{path} cannot be decoded as an image; use png, jpg, bmp, tif or webp")
    try:
        return as_image(pixels, bits=bits)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def damage(raw: bytes) -> str:
    """What is wrong with the bytes of an image file, or "". OpenCV decodes cut files to grey without a word."""
    if not raw:
        return "is empty"
    cut = "is cut short"
    if raw.startswith(b"\xff\xd8"):
        return "" if b"\xff\xd9" in raw[-4096:] else cut
    if raw.startswith(b"\x89PNG\r\n\x1a\n"):
        return "" if b"IEND" in raw[-4096:] else cut
    if raw.startswith(b"BM"):
        return "" if len(raw) >= int.from_bytes(raw[2:6], "little") else cut
    if raw.startswith(b"RIFF"):
        return "" if len(raw) >= 8 + int.from_bytes(raw[4:8], "little") else cut
    return ""
