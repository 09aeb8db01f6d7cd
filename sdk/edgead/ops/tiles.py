"""Cuts a resized frame into overlapping tiles, and blends what is found in them to one map of the frame.

A frame is resized once to the size of all tiles together (`InputSpec.frame`); a tile is a view of it. Tiles are in rows
from the top, from left to right in each. Over an overlap the weight of one tile falls linearly as that of its neighbor
rises, so that no map shows a seam; everywhere the weights sum to one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from edgead.bundle.input_spec import InputSpec, TileSpec
from edgead.types import ImageU8, MapF32


def places(tiles: TileSpec, height: int, width: int, overlap: int) -> Iterator[tuple[slice, slice]]:
    """Where each tile of height x width lies, in rows and columns; sides and `overlap` are of one unit."""
    for row in range(tiles.rows):
        top = row * (height - overlap)
        for column in range(tiles.columns):
            left = column * (width - overlap)
            yield slice(top, top + height), slice(left, left + width)


def cut(frame: ImageU8, spec: InputSpec) -> list[ImageU8]:
    """The tiles of a frame at `spec.frame`, (h, w, 3) views of it; the frame itself where it is not cut."""
    if spec.tiles is None:
        return [frame]
    return [frame[place] for place in places(spec.tiles, spec.height, spec.width, spec.tiles.overlap)]


def tile_cells(spec: InputSpec, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the cells of a tile in a frame's grid of height x width cells."""
    return height * spec.height // spec.frame[0], width * spec.width // spec.frame[1]


def blend(maps: MapF32, tiles: TileSpec, height: int, width: int) -> MapF32:
    """One (height, width) float32 map of a frame, from those of its tiles, (T, h, w)."""
    _, high, wide = maps.shape
    down, across = _shares(tiles.rows, high, height), _shares(tiles.columns, wide, width)
    blended = np.zeros((height, width), np.float32)
    for index, one in enumerate(maps):
        row, column = divmod(index, tiles.columns)
        top, left = _start(row, tiles.rows, high, height), _start(column, tiles.columns, wide, width)
        weighted = one * down[row][:, None]
        weighted *= across[column]
        blended[top : top + high, left : left + wide] += weighted
    return blended


def _start(index: int, count: int, size: int, whole: int) -> int:
    """The first cell of a tile in a line of `count`, each of `size` cells, that fill `whole` cells."""
    return 0 if count == 1 else index * ((whole - size) // (count - 1))


@lru_cache(maxsize=32)
def _shares(count: int, size: int, whole: int) -> MapF32:
    """The weight of every cell of every tile in a line of them, (count, size) float32."""
    shares = np.ones((count, size), np.float32)
    if count > 1:
        overlap = size - (whole - size) // (count - 1)
        ramp = (np.arange(overlap, dtype=np.float32) + np.float32(0.5)) / np.float32(max(1, overlap))
        shares[1:, :overlap] *= ramp
        shares[:-1, size - overlap :] *= ramp[::-1]
    shares.flags.writeable = False
    return shares
