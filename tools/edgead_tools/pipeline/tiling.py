"""Makes a build of frames in tiles: tiles are what a method learns from, and its network becomes one of frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgead.bundle import InputSpec, TileSpec
from edgead.bundle.manifest import check_tiles
from edgead.errors import UsageError
from edgead.ops import cut_tiles
from edgead.types import ImageU8
from edgead_tools.data.cache import new_rows, open_rows
from edgead_tools.methods import Trained


def tile_input(size: tuple[int, int], tiles: TileSpec | None) -> InputSpec:
    """The geometry of an input of that size (height, width) and its tiles; pixels are passed on as they are."""
    return InputSpec(height=size[0], width=size[1], scale=(1.0,) * 3, offset=(0.0,) * 3, tiles=tiles)


def tile_spec(grid: tuple[int, int] | None, overlap: int, size: tuple[int, int]) -> TileSpec | None:
    """The tiles of a grid (rows, columns), for tiles of that size (height, width); None for one tile or no grid.

    Raises UsageError for an overlap that is more than half of a tile.
    """
    if grid is None or grid == (1, 1):
        return None
    if 2 * overlap > min(size):
        raise UsageError(f"tile_overlap must be at most half of a tile of {size[1]}x{size[0]}, not {overlap}")
    return TileSpec(rows=grid[0], columns=grid[1], overlap=overlap)


def tile_rows(frames: Sequence[ImageU8], spec: InputSpec, path: Path) -> NDArray[np.uint8]:
    """The tiles of all frames, which have the size `spec.frame`, (N T, h, w, 3), mapped from a file that is made."""
    with new_rows(path, spec.batch * len(frames), spec.height, spec.width) as rows:
        for index, frame in enumerate(frames):
            rows[index * spec.batch : (index + 1) * spec.batch] = cut_tiles(frame, spec)
    return open_rows(path)


def of_frames(trained: Trained, tiles: TileSpec | None) -> Trained:
    """What was trained on tiles, as it judges frames: the grid of the map is the frame's, and so are maps out of fold.

    The score is that of the highest cells, as many as in one tile: more would drown a small defect. Raises UsageError
    where a network's cells do not divide into the overlap.
    """
    if tiles is None:
        return trained
    fusion = trained.fusion
    spec = msgspec.structs.replace(trained.input, tiles=msgspec.structs.replace(tiles, apart=trained.group > 1))
    sides = zip((fusion.height, fusion.width), spec.frame, (spec.height, spec.width), strict=True)
    height, width = (cells * whole // side for cells, whole, side in sides)
    fusion = msgspec.structs.replace(fusion, height=height, width=width)
    try:
        check_tiles(spec, fusion)
    except ValueError as error:
        raise UsageError(f"this method takes no such tiles: {error}; give another tile_overlap") from None
    return dataclasses.replace(trained, input=spec, fusion=fusion)
