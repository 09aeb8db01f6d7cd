"""Reads what a TIFF states of its pictures: its directories of tags. Source: TIFF 6.0, and BigTIFF's 64-bit places."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
KIND, WIDTH, HEIGHT = 254, 256, 257  # tags
REDUCED = 1  # of KIND: a smaller copy of another picture
_SIZES = {1: 1, 3: 2, 4: 4, 7: 1, 16: 8}  # bytes of a BYTE, a SHORT, a LONG, an UNDEFINED, a LONG8
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_PAGES = 64  # directories that are looked at


@dataclass(frozen=True, slots=True)
class Directory:
    """What a TIFF states of one of its pictures."""

    raw: bytes
    order: str  # "<" low byte first, ">" high byte first
    fields: dict[int, tuple[int, int, int]]  # of each tag: the size of a value in bytes, how many there are, and where

    def values(self, tag: int) -> list[int]:
        """The values of a tag; none where it is absent or leads out of the file."""
        size, count, at = self.fields.get(tag, (1, 0, 0))
        if at + size * count > len(self.raw):
            return []
        return list(struct.unpack_from(f"{self.order}{count}{_CODES[size]}", self.raw, at))

    def value(self, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        return next(iter(self.values(tag)), default)


def directories(raw: bytes) -> Iterator[Directory]:
    """The pictures of a TIFF that state a size, the first 64 of them."""
    return islice(_directories(raw), _PAGES)


def _directories(raw: bytes) -> Iterator[Directory]:
    order = "<" if raw[:1] == b"I" else ">"

    def read(at: int, size: int) -> int:
        return int.from_bytes(raw[at : at + size], "little" if order == "<" else "big")

    large = read(2, 2) == 43  # BigTIFF: 64-bit places
    word, entry, count_bytes = (8, 20, 8) if large else (4, 12, 2)
    at, seen = read(8 if large else 4, word), set[int]()
    while 0 < at < len(raw) and at not in seen:
        seen.add(at)
        count = min(read(at, count_bytes), 4096)
        first = at + count_bytes
        fields = {}
        for place in range(first, first + entry * count, entry):
            size, values = _SIZES.get(read(place + 2, 2), 4), read(place + 4, word)
            inline = place + entry - word
            fields[read(place, 2)] = (size, values, inline if size * values <= word else read(inline, word))
        if WIDTH in fields and HEIGHT in fields:
            yield Directory(raw, order, fields)
        at = read(first + entry * count, word)
