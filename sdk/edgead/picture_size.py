"""Reads the size of an image from its header, before anything of that size is allocated.

A megabyte of PNG may hold gigabytes of one color. Formats whose header is not known here are left to the decoder.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from edgead import tiff

MAX_PIXELS = 120_000_000  # three times as many bytes in memory, and as many again while they are turned or shrunk
PIXEL_RANGE = (1, 1 << 30)  # beyond that OpenCV decodes nothing
PIXEL_VARIABLE = "EDGEAD_MAX_PIXELS"

Size = tuple[int, int]  # width and height in pixels

_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # JPEG's markers SOF0 to SOF15
_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,12})(?:\s|#[^\n]*\n)+(\d{1,12})\s")
_PAM = re.compile(rb"P7\n.{0,2000}?WIDTH (\d{1,12})\n.{0,2000}?HEIGHT (\d{1,12})\n", re.DOTALL)


def picture_size(raw: bytes) -> Size | None:
    """The largest width and height that the header of a picture file's bytes states; None where it is not known."""
    for mark, read in _FORMATS:
        if raw.startswith(mark):
            return read(raw)
    return None


def page_count(raw: bytes) -> int:
    """How many whole pictures a TIFF holds, smaller copies not counted; 1 for every other file."""
    if not raw.startswith(tiff.MARKS):
        return 1
    return max(1, sum(not page.value(tiff.KIND) & tiff.REDUCED for page in tiff.directories(raw)))


def _png(raw: bytes) -> Size | None:
    return (_big(raw, 16), _big(raw, 20)) if raw[12:16] == b"IHDR" else None


def _jpeg(raw: bytes) -> Size | None:
    """Of the first frame header; fill bytes and restarts stand for themselves."""
    at = 2
    while at + 9 <= len(raw) and raw[at] == 0xFF:
        kind = raw[at + 1]
        if kind in _FRAME:
            return _big(raw, at + 7, 2), _big(raw, at + 5, 2)
        at += 1 if kind == 0xFF else 2 if kind == 1 or 0xD0 <= kind <= 0xD8 else 2 + _big(raw, at + 2, 2)
    return None


def _bmp(raw: bytes) -> Size | None:
    if _little(raw, 14) == 12:  # OS/2's header
        return _little(raw, 18, 2), _little(raw, 20, 2)
    height = int.from_bytes(raw[22:26], "little", signed=True)  # negative where rows run down
    return _little(raw, 18), abs(height)


def _webp(raw: bytes) -> Size | None:
    kind = raw[12:16]
    if kind == b"VP8 ":
        return _little(raw, 26, 2) & 0x3FFF, _little(raw, 28, 2) & 0x3FFF
    if kind == b"VP8L":
        bits = _little(raw, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return (1 + _little(raw, 24, 3), 1 + _little(raw, 27, 3)) if kind == b"VP8X" else None


def _tiff(raw: bytes) -> Size | None:
    """The largest of its pages."""
    sizes = [(page.value(tiff.WIDTH), page.value(tiff.HEIGHT)) for page in tiff.directories(raw)]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _jp2(raw: bytes) -> Size | None:
    at = raw.find(b"ihdr", 0, 4096)
    return (_big(raw, at + 8), _big(raw, at + 4)) if at >= 0 else None


def _netpbm(raw: bytes) -> Size | None:
    match = _PAM.match(raw) if raw.startswith(b"P7") else _PNM.match(raw)
    return (int(match[1]), int(match[2])) if match else None


def _big(raw: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(raw[at : at + size], "big")


def _little(raw: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(raw[at : at + size], "little")


_FORMATS: tuple[tuple[bytes, Callable[[bytes], Size | None]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"\xff\xd8", _jpeg),
    (b"BM", _bmp),
    (b"RIFF", _webp),
    *((mark, _tiff) for mark in tiff.MARKS),
    (b"\0\0\0\x0cjP  ", _jp2),
    (b"P", _netpbm),
)
