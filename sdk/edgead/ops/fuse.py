"""Fuses the network's maps to one anomaly map and one image score, as the manifest's fusion spec says."""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np

from edgead.bundle.input_spec import InputSpec
from edgead.bundle.manifest import FusionSpec
from edgead.ops.tiles import blend, tile_cells
from edgead.types import MapF32


def fuse(maps: Mapping[str, MapF32], spec: FusionSpec, mask: MapF32 | None = None) -> MapF32:
    """Combine one frame's maps, name -> (h, w) float32, into a fresh (spec.height, spec.width) float32 map.

    Each map is scaled (`weight * (map * scale + offset)`), interpolated bilinearly to the grid (half-pixel
    centers, edges replicated), summed or multiplied, then smoothed by a Gaussian and multiplied by `mask`
    (`edgead.ops.load_mask`).
    """
    return _finish(_combine(maps, spec, spec.height, spec.width), spec, mask)


def fuse_batch(maps: Mapping[str, MapF32], source: InputSpec, spec: FusionSpec, mask: MapF32 | None = None) -> MapF32:
    """The same from what the graph gives for one frame, name -> (1, h, w) float32, or (T, h, w) of its tiles.

    The maps of each tile are combined on its share of the grid, blended to that of the frame (`edgead.ops.tiles`), and
    smoothed and masked there.
    """
    each = [{one.name: maps[one.name][index] for one in spec.maps} for index in range(source.batch)]
    if source.tiles is None:
        return fuse(each[0], spec, mask)
    cells = tile_cells(source, spec.height, spec.width)
    combined = np.stack([_combine(one, spec, *cells) for one in each])
    return _finish(blend(combined, source.tiles, spec.height, spec.width), spec, mask)


def _combine(maps: Mapping[str, MapF32], spec: FusionSpec, height: int, width: int) -> MapF32:
    """The scaled sum or product of the maps on a grid, as a new array."""
    fused: MapF32 | None = None
    for part in spec.maps:
        scaled: MapF32 = maps[part.name] * np.float32(part.weight * part.scale)
        scaled += np.float32(part.weight * part.offset)
        if scaled.shape != (height, width):
            scaled = upsample(scaled, height, width)
        if fused is None:
            fused = scaled
        elif spec.combine == "sum":
            fused += scaled
        else:
            fused *= scaled
    if fused is None:  # objects are matched and nothing else is looked at
        return np.zeros((height, width), np.float32)
    return fused


def _finish(fused: MapF32, spec: FusionSpec, mask: MapF32 | None) -> MapF32:
    """The frame's map, smoothed and masked; it may be changed in place."""
    if spec.sigma > 0:
        size = 2 * math.ceil(3 * spec.sigma) + 1
        fused = np.asarray(
            cv2.GaussianBlur(fused, (size, size), spec.sigma, borderType=cv2.BORDER_REPLICATE), np.float32
        )
    if mask is not None:
        fused *= mask
    return fused


def upsample(grid_map: MapF32, height: int, width: int) -> MapF32:
    """A map interpolated bilinearly (half-pixel centers) to (height, width), as a new array."""
    return np.asarray(cv2.resize(grid_map, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def image_score(fused: MapF32, spec: FusionSpec) -> float:
    """The raw image score: the largest value, or the mean of the `top` largest (STLM's score)."""
    top = min(spec.score.top, fused.size)
    if top == 1:
        return float(fused.max())
    return float(np.partition(fused, fused.size - top, axis=None)[-top:].mean(dtype=np.float64))
