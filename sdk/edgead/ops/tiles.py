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

Size = tuple[int, int]  # height and width


def cut_tiles(frame: ImageU8, spec: InputSpec) -> list[ImageU8]:
    """The tiles of a frame at `spec.frame`, (h, w, 3) views of it; the frame itself where it is not cut."""
    if spec.tiles is None:
        return [frame]
    return [frame[place] for place in tile_places(spec.tiles, (spec.height, spec.width), spec.frame)]


def tile_cells(spec: InputSpec, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the cells of a tile in a frame's grid of height x width cells."""
    return height * spec.height // spec.frame[0], width * spec.width // spec.frame[1]


def blend(maps: MapF32, tiles: TileSpec, height: int, width: int) -> MapF32:
    """One (height, width) float32 map of a frame, from those of its tiles, (T, h, w)."""
    cells, frame = (maps.shape[1], maps.shape[2]), (height, width)
    blended = np.zeros(frame, np.float32)
    all_weights = tile_weights(tiles, cells, frame)
    for one, weights, place in zip(maps, all_weights, tile_places(tiles, cells, frame), strict=True):
        blended[place] += one * weights
    return blended


def tile_places(tiles: TileSpec, size: Size, frame: Size) -> Iterator[tuple[slice, slice]]:
    """Where each tile of a size lies in a frame of a size, rows and columns, in pixels or cells."""
    down, across = (
        [0] if count == 1 else [index * ((whole - side) // (count - 1)) for index in range(count)]
        for count, side, whole in zip((tiles.rows, tiles.columns), size, frame, strict=True)
    )
    for top in down:
        for left in across:
            yield slice(top, top + size[0]), slice(left, left + size[1])


@lru_cache(maxsize=8)
def tile_weights(tiles: TileSpec, size: Size, frame: Size) -> MapF32:
    """How much each tile counts in each of its cells, (T, h, w) float32; read-only."""
    down, across = _shares(tiles.rows, size[0], frame[0]), _shares(tiles.columns, size[1], frame[1])
    weights = (down[:, None, :, None] * across[None, :, None, :]).reshape(-1, *size)
    weights.flags.writeable = False
    return weights


def _shares(count: int, size: int, whole: int) -> MapF32:
    """The weight of every cell of every tile in a line of them, (count, size) float32."""
    shares = np.ones((count, size), np.float32)
    if count > 1:
        overlap = size - (whole - size) // (count - 1)
        ramp = (np.arange(overlap, dtype=np.float32) + np.float32(0.5)) / np.float32(max(1, overlap))
        shares[1:, :overlap] *= ramp
        shares[:-1, size - overlap :] *= ramp[::-1]
    return shares
