"""Reads image files: the one reader and the one list of formats of training, evaluation and the line.

A picture whose decoder complains is damaged: what follows the damage is made up. OpenCV keeps libjpeg's warnings to
itself, so JPEGs are decoded by simplejpeg, which has the same libjpeg-turbo in it, gives the same pixels and raises.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from edgead.errors import DataError, UsageError
from edgead.files import read_whole
from edgead.jpeg import jpeg_damage
from edgead.ops import as_image
from edgead.picture_size import MAX_PIXELS, PIXEL_RANGE, PIXEL_VARIABLE, page_count, picture_size
from edgead.tiff import MARKS
from edgead.tiff_strips import tiff_damage
from edgead.types import ImageU8

EXTENSIONS = frozenset(
    {
        *(".bmp", ".dib", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pam", ".pbm", ".pgm"),
        *(".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    }
)
# Pictures that cannot be read: where they lie among those that can, that is said.
UNREAD_EXTENSIONS = frozenset(
    {
        *(".arw", ".avif", ".cr2", ".cr3", ".dng", ".exr", ".gif", ".heic", ".heif", ".jxl"),
        *(".nef", ".orf", ".pdf", ".psd", ".raw", ".rw2", ".svg"),
    }
)
WHITE = 128  # gray level from which a painted pixel belongs to an area
_BYTES_A_PIXEL = 8  # at the most: four channels of 16 bits
_METADATA = 64 << 20  # bytes, at the most
_ADVICE = "copy it again or leave it out"
_SIGNATURES = (  # (offset, bytes, what it is): files that are no picture this reads, whatever their name says
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftypmif1", "a HEIF picture"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftypcrx", "a raw picture of a Canon camera"),
    (4, b"ftyp", "a video"),
    (0, b"GIF8", "a GIF animation"),
    (0, b"%PDF", "a PDF"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"0&\xb2u", "a video"),
    (0, b"FLV", "a video"),
    (0, b"PK\x03\x04", "a zip archive"),
)
_DAMAGED = ("Corrupt JPEG data", "Premature end of JPEG file")  # of libjpeg's warnings; the others are harmless
_PADDED = re.compile(r"Corrupt JPEG data: [1-4] extraneous bytes before marker 0xd9")  # as some cameras end a picture


def read_image(path: str | os.PathLike[str], *, bits: int = 16) -> ImageU8:
    """An image file as (H, W, 3) BGR uint8, turned upright by its EXIF tag, alpha dropped.

    `bits` is the full scale of 16-bit files. Raises DataError when the file is missing, truncated or no image.
    """
    path = Path(path)
    return to_bgr(decode(read_file(path), path), path, bits=bits)


def read_levels(path: Path) -> NDArray[Any]:
    """What is drawn in a mask, (H, W) in the file's own depth: the brightest channel, nothing where it is transparent.

    Of a picture in one color, drawn as transparency, the opacity is the drawing. Raises DataError.
    """
    raw = read_file(path)
    pixels = decode(raw, path)
    whole = _imdecode(raw, cv2.IMREAD_UNCHANGED)
    levels = np.asarray(pixels.max(axis=2))
    if whole is None or whole.ndim < 3 or whole.shape[2] != 4 or whole.dtype != pixels.dtype:
        return levels
    opacity = whole[:, :, 3]  # never turned by an EXIF tag: JPEG has no transparency
    if opacity.min() == np.iinfo(whole.dtype).max:
        return levels
    levels = whole[:, :, :3].max(axis=2)
    if levels.min() == levels.max():
        return np.asarray(opacity)
    share = opacity.astype(np.float32) / np.iinfo(whole.dtype).max
    return np.asarray((levels * share).round(), whole.dtype)


def read_area(path: Path) -> NDArray[np.uint8]:
    """An area as a person paints it, (H, W) uint8: 255 where it is nearer to white, or opaque, else 0.

    An area selects and does not weigh. Raises DataError, for a photograph too.
    """
    levels = read_levels(path)
    if levels.dtype == np.uint16:
        levels = (levels >> 8).astype(np.uint8)
    if levels.dtype != np.uint8:
        raise DataError(f"{path} is no area: its pixels are {levels.dtype}, not 8 or 16 bit")
    counts = np.bincount(levels.ravel(), minlength=256)
    grays = counts[16:240]
    if grays.sum() > 0.5 * levels.size and (grays > 1e-3 * levels.size).sum() > 16:
        raise DataError(f"{path} is a photograph and no area: paint what counts white, on black of the same size")
    return np.where(levels >= WHITE, np.uint8(255), np.uint8(0))


def holds_picture(path: Path) -> bool:
    """Whether a file begins as pictures do that can be read, whatever its name."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*")) or head[8:] == b"WEBP"


def natural(name: str) -> tuple[list[str | int], str]:
    """A sort key: letter case is ignored, digits count as numbers ("2.png" before "10.png"), ties go by the name."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def read_file(path: Path) -> bytes:
    """The bytes of a picture's file; raises DataError."""
    try:
        return read_whole(path, _BYTES_A_PIXEL * max_pixels() + _METADATA)
    except FileNotFoundError:
        raise DataError(f"there is no image at {path}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def decode(raw: bytes, path: Path) -> NDArray[Any]:
    """The pixels of an image file's bytes, (H, W, 3) BGR in the file's own depth; `path` is for DataError's message."""
    problem = damage(raw)
    if problem:
        raise DataError(f"{path} {problem}; {_ADVICE}")
    try:
        pixels = _decode_jpeg(raw) if raw.startswith(b"\xff\xd8") else None
    except DataError as error:
        raise DataError(f"{path} {error}; {_ADVICE}") from None
    if pixels is None:
        pixels = _imdecode(raw, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if pixels is None:
        raise DataError(f"{path} {_unreadable(raw)}")
    return pixels


def decode_jpeg(raw: bytes, empty: Callable[[tuple[int, ...]], ImageU8] | None = None) -> ImageU8:
    """The pixels of a JPEG as a camera sends it, (H, W, 3) BGR, in an array of `empty` where that is given and can be;
    raises DataError saying what is wrong with it."""
    problem = damage(raw)
    if problem:
        raise DataError(problem)
    pixels = _decode_jpeg(raw, empty)
    if pixels is None:
        pixels = _imdecode(raw, cv2.IMREAD_COLOR)
    if pixels is None:
        raise DataError("cannot be decoded")
    return pixels


def _decode_jpeg(raw: bytes, empty: Callable[[tuple[int, ...]], ImageU8] | None = None) -> ImageU8 | None:
    """A JPEG's pixels, (H, W, 3) BGR, or None for one that OpenCV has to decode: turned by its EXIF tag, or CMYK.

    Raises DataError where libjpeg warns of damage.
    """
    turned = b"Exif\0" in raw[: 1 << 16]
    try:
        if not turned:
            size = picture_size(raw) if empty is not None else None
            buffer = None if empty is None or size is None else empty((size[1], size[0], 3))
            return np.asarray(simplejpeg.decode_jpeg(raw, "BGR", buffer=buffer))
        simplejpeg.decode_jpeg(raw, "GRAY", min_height=1, min_width=1, min_factor=8)  # for its warnings alone
    except ValueError as error:
        if words := _in_words(str(error)):
            raise DataError(f"is damaged ({words})") from error
    return None


def _warning(raw: bytes) -> str:
    """What libjpeg says of damage in a JPEG, or ""."""
    try:
        simplejpeg.decode_jpeg(raw, "GRAY", min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        return _in_words(str(error))
    return ""


def _in_words(warning: str) -> str:
    """A warning of libjpeg about damage; nothing for one about anything else."""
    if not warning.startswith(_DAMAGED) or _PADDED.fullmatch(warning):
        return ""
    return warning.removeprefix("Corrupt JPEG data: ").replace("Premature", "premature")


def _imdecode(raw: bytes, flags: int) -> NDArray[Any] | None:
    try:
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), flags)
    except cv2.error:  # too large for OpenCV, or damaged in a way that it throws at
        return None
    return None if pixels is None else np.asarray(pixels)


def _unreadable(raw: bytes) -> str:
    """Why OpenCV gives no pixels of a file that is not cut: of another type, no picture at all, or damaged."""
    found = next((what for at, mark, what in _SIGNATURES if raw.startswith(mark, at)), "")
    if found:
        return f"is {found}, which is not read here: save it as png, tif or jpg"
    pixels = _imdecode(raw, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        return "is damaged or no image: copy it again, or use png, jpg, bmp, tif or webp"
    kind = {"f": "floating-point", "i": "signed integer", "u": "integer"}[pixels.dtype.kind]
    return f"has {8 * pixels.dtype.itemsize}-bit {kind} pixels, and 8 or 16 bits are read: scale them and save it again"


def to_bgr(pixels: NDArray[Any], path: Path, *, bits: int) -> ImageU8:
    """Decoded pixels as (H, W, 3) BGR uint8; raises DataError naming `path` when their type is not 8 or 16 bit."""
    try:
        return as_image(pixels, bits=bits)
    except DataError as error:
        raise DataError(f"{path} cannot be used: {error}") from error


def max_pixels() -> int:
    """The most pixels of a picture that is decoded: EDGEAD_MAX_PIXELS (`edgead --max-pixels`), else MAX_PIXELS.

    Raises UsageError for a variable that is no number in PIXEL_RANGE.
    """
    text = os.environ.get(PIXEL_VARIABLE, "") or str(MAX_PIXELS)
    low, high = PIXEL_RANGE
    if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
        raise UsageError(f"{PIXEL_VARIABLE} must be a whole number in {low}..{high}, not '{text}'")
    return int(text)


def damage(raw: bytes) -> str:
    """What is wrong with the bytes of an image file, or "". OpenCV 4 decodes cut JPEGs to gray without a word.

    A picture whose header states more than `max_pixels()` is refused before anything is decoded. Formats not named
    here are left to the decoder, which refuses them when they are cut.
    """
    if not raw:
        return "is empty"
    width, height = picture_size(raw) or (0, 0)
    if width * height > max_pixels():
        return (
            f"has {width} x {height} pixels, more than the {max_pixels()} that are read: shrink it, or allow more with "
            f"{PIXEL_VARIABLE}"
        )
    if (pages := page_count(raw)) > 1:
        return f"holds {pages} pictures, of which only the first would be judged: save each as a file of its own"
    if raw.startswith(b"\xff\xd8"):
        return jpeg_damage(raw)
    if raw.startswith(b"\x89PNG\r\n\x1a\n") and not _png_ends(raw):
        return "is cut short"
    if raw.startswith(b"RIFF") and len(raw) < 8 + int.from_bytes(raw[4:8], "little"):
        return "is cut short"
    return tiff_damage(raw, _warning) if raw.startswith(MARKS) else ""


def _png_ends(raw: bytes) -> bool:
    """Whether the chunks lead to a whole IEND (4 bytes of length, 4 of name, the data, 4 of checksum)."""
    at = 8
    while at + 12 <= len(raw):
        end = at + 12 + int.from_bytes(raw[at : at + 4], "big")
        if raw[at + 4 : at + 8] == b"IEND":
            return end <= len(raw)
        at = end
    return False
