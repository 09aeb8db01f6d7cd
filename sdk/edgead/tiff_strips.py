"""Checks whether the compressed strips and tiles of a TIFF are whole.

libtiff stops as soon as a strip has filled its rows: it looks neither at the checksum that ends a Deflate stream nor at
how much an LZW or PackBits stream holds, so that damage within reads as another picture. The lengths are told here
without decoding. A changed byte of an uncompressed picture looks like any other: nothing can tell it. Source: TIFF 6.0.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgead.tiff import HEIGHT, WIDTH, Directory, directories

_BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER, _SAMPLES, _PLANAR, _TABLES = 258, 259, 262, 266, 277, 284, 347
_STRIPS = (273, 279, 278)  # their offsets and sizes, and the rows of each
_TILES = (324, 325, 323)
_TILE_WIDTH = 322
_YCBCR, _SEPARATE, _JPEG = 6, 2, 7
_CLEAR, _END = 256, 257  # LZW's codes that stand for no bytes
# A width is one bit more as soon as the table is one entry short of full; the table is cleared before 12 bits are.
_CODE_BITS = np.repeat((9, 10, 11, 12), (254, 512, 1024, 2306))
_CODE_STARTS = np.concatenate(([0], np.cumsum(_CODE_BITS)[:-1]))


def tiff_damage(raw: bytes, jpeg: Callable[[bytes], str]) -> str:
    """What is wrong with the strips or tiles of a TIFF's first picture, or "" also where nothing can be told.

    `jpeg` gives what a decoder complains about in a JPEG's bytes; libtiff keeps that to itself.
    """
    directory = next(directories(raw), None)
    if directory is None or directory.value(_FILL_ORDER, 1) != 1:
        return ""
    tables = bytes(directory.values(_TABLES)[:-2])  # before the mark of their end
    checks: dict[int, _Check] = {**_CHECKS, _JPEG: lambda data, lengths: jpeg(tables + data[2:] if tables else data)}
    check = checks.get(directory.value(_COMPRESSION, 1))
    if check is None:
        return ""
    offsets, sizes, _ = _TILES if _TILE_WIDTH in directory.fields else _STRIPS
    places = list(zip(directory.values(offsets), directory.values(sizes), strict=False))
    lengths = _lengths(directory, len(places))
    for number, (at, size) in enumerate(places):
        data = raw[at : at + size]
        if len(data) < size:
            return "is cut short"
        problem = check(data, lengths[number] if lengths else ())
        if problem:
            return f"is damaged ({problem} in strip {number + 1} of {len(places)})"
    return ""


def _lengths(directory: Directory, count: int) -> list[tuple[int, ...]]:
    """The bytes that each strip or tile may hold: of the rows that are left and, as some write it, of all its rows."""
    bits = directory.values(_BITS) or [1]
    samples = directory.value(_SAMPLES, 1)
    if directory.value(_PHOTOMETRIC) == _YCBCR or any(one != bits[0] for one in bits):
        return []  # subsampled, or packed in a way of its own
    tiled = _TILE_WIDTH in directory.fields
    height = directory.value(HEIGHT)
    rows = directory.value((_TILES if tiled else _STRIPS)[2], height) or height
    separate = directory.value(_PLANAR, 1) == _SEPARATE
    across = directory.value(_TILE_WIDTH if tiled else WIDTH)
    line = -(-across * bits[0] * (1 if separate else samples) // 8)
    if tiled:
        return [(line * rows,)] * count
    rows = min(rows, height)
    per_plane = -(-height // rows)
    left = [min(rows, height - rows * (number % per_plane)) for number in range(count)]
    return [(line * these, line * rows) for these in left]


def _deflate(data: bytes, lengths: tuple[int, ...]) -> str:
    stream = zlib.decompressobj()
    try:  # one byte more than fits, so that the checksum is read and no more than the picture's size is made
        held = len(stream.decompress(data, max(lengths) + 1 if lengths else 0))
    except zlib.error:
        return "the checksum or a code is wrong"
    return "" if stream.eof and (not lengths or held >= min(lengths)) else "the data do not fill the rows"


def _packbits(data: bytes, lengths: tuple[int, ...]) -> str:
    """Each run begins with a byte n: below 128, n + 1 bytes follow; above, one byte follows 257 - n times."""
    at = held = 0
    most = max(lengths, default=0)
    while at < len(data) and held < most:
        head = data[at]
        held += head + 1 if head < 128 else 257 - head if head > 128 else 0
        at += head + 2 if head < 128 else 2 if head > 128 else 1
    fits = held in lengths and at <= len(data) and len(data) - at < 2  # padded to an even length
    return "" if fits or not lengths else "the runs do not fill the rows"


def _lzw(data: bytes, lengths: tuple[int, ...]) -> str:
    if not lengths or (data[:1] == b"\0" and len(data) > 1 and data[1] & 1):  # before TIFF 6.0: low bits first
        return ""
    words = np.frombuffer(data + bytes(8), np.uint8).astype(np.uint32)
    windows = words[:-3] << 24 | words[1:-2] << 16 | words[2:-1] << 8 | words[3:]
    most, held, at, ended = max(lengths), 0, 0, False
    while held <= most and at < 8 * len(data) and not ended:
        starts = at + _CODE_STARTS
        starts = starts[: np.searchsorted(starts + _CODE_BITS, 8 * len(data), "right")]
        bits = _CODE_BITS[: len(starts)]
        codes = (windows[starts >> 3] >> (32 - bits - (starts & 7)).astype(np.uint32)) & ((1 << bits) - 1)
        stops = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        count = int(stops[0]) if len(stops) else len(codes)
        bytes_held = _code_lengths(codes[:count].astype(np.int64))
        if bytes_held is None:
            return "a code is wrong"
        held += bytes_held
        ended = not len(stops) or codes[count] == _END
        at = int(starts[count] + bits[count]) if len(stops) else 8 * len(data)
    return "" if held in lengths else "the codes do not fill the rows"


def _code_lengths(codes: NDArray[np.int64]) -> int | None:
    """How many bytes the codes after a Clear stand for, (N,) int; None for a code that is not in the table yet.

    Every code but the first makes the entry 257 + its number: what the code before it stands for, and one byte.
    """
    if not len(codes):
        return 0
    entries = np.maximum(codes - _END, 0)  # 0: one byte
    if codes[0] >= _CLEAR or (entries > np.arange(len(codes))).any():
        return None
    ends, more = np.concatenate(([0], entries[:-1])), np.ones(len(codes), np.int64)
    more[0] = 0
    while ends.any():  # each entry to the one before it, then to the one before that, ...
        more, ends = more + more[ends], ends[ends]
    return int((1 + more[entries]).sum())


_Check = Callable[[bytes, tuple[int, ...]], str]
_CHECKS: dict[int, _Check] = {5: _lzw, 8: _deflate, 32946: _deflate, 32773: _packbits}
