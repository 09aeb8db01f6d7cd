"""Reading image files: one door, the same for training and for the line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError
from edgead.ops import as_image
from edgead.types import ImageU8

EXTENSIONS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})


# A JPEG marker other than a restart; "ff 00" within the pictures' data is a stuffed byte, not a marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def read_image(path: str | os.PathLike[str], *, bits: int = 16) -> ImageU8:
    """An image file as (H, W, 3) BGR uint8, turned upright by its EXIF tag, alpha dropped.

    `bits` is the full scale of 16-bit files. Raises DataError when the file is missing, truncated or no image.
    """
    path = Path(path)
    return to_bgr(decode(read_file(path), path), path, bits=bits)


def natural(name: str) -> tuple[list[str | int], str]:
    """A sort key: letter case is ignored, digits count as numbers ("2.png" before "10.png"), ties go by the name."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def read_file(path: Path) -> bytes:
    """The bytes of a file; raises DataError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no image at {path}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def decode(raw: bytes, path: Path) -> NDArray[Any]:
    """The pixels of an image file's bytes, (H, W, 3) BGR in the file's own depth; `path` is for DataError's message."""
    problem = damage(raw)
    if problem:
        raise DataError(f"{path} {problem}; copy it again or leave it out")
    try:
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise DataError(f"{path} cannot be decoded: {error.err}") from error
    if pixels is None:
        raise DataError(f"{path} is damaged or no image: copy it again, or use png, jpg, bmp, tif or webp")
    return np.asarray(pixels)


def to_bgr(pixels: NDArray[Any], path: Path, *, bits: int) -> ImageU8:
    """Decoded pixels as (H, W, 3) BGR uint8; raises DataError naming `path` when their type is not 8 or 16 bit."""
    try:
        return as_image(pixels, bits=bits)
    except DataError as error:
        raise DataError(f"{path} cannot be used: {error}") from error


def damage(raw: bytes) -> str:
    """What is wrong with the bytes of an image file, or "". OpenCV 4 decodes cut JPEGs to gray without a word.

    Formats not named here are left to the decoder, which refuses them when they are cut.
    """
    if not raw:
        return "is empty"
    if raw.startswith(b"\xff\xd8") and not _jpeg_ends(raw):
        return "is cut short"
    if raw.startswith(b"\x89PNG\r\n\x1a\n") and not _png_ends(raw):
        return "is cut short"
    if raw.startswith(b"RIFF") and len(raw) < 8 + int.from_bytes(raw[4:8], "little"):
        return "is cut short"
    return ""


def _jpeg_ends(raw: bytes) -> bool:
    """Whether the picture's own end marker is there; the one of a thumbnail inside a segment does not count."""
    at = 2
    while marker := _MARKER.search(raw, at):
        if marker[0] == b"\xff\xd9":
            return True
        at = marker.end() + int.from_bytes(raw[marker.end() : marker.end() + 2], "big")
    return False


def _png_ends(raw: bytes) -> bool:
    """Whether the chunks lead to a whole IEND (4 bytes of length, 4 of name, the data, 4 of checksum)."""
    at = 8
    while at + 12 <= len(raw):
        end = at + 12 + int.from_bytes(raw[at : at + 4], "big")
        if raw[at + 4 : at + 8] == b"IEND":
            return end <= len(raw)
        at = end
    return False
