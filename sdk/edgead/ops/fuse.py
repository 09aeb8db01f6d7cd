"""Fuses the network's maps to one anomaly map and one image score, as the manifest's fusion spec says."""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np

from edgead.bundle.manifest import FusionSpec
from edgead.types import MapF32


def fuse(maps: Mapping[str, MapF32], spec: FusionSpec, mask: MapF32 | None = None) -> MapF32:
    """Combine one frame's maps, name -> (h, w) float32, into a fresh (spec.height, spec.width) float32 map.

    Each map is scaled (`weight * (map * scale + offset)`), interpolated bilinearly to the grid (half-pixel
    centers, edges replicated), summed or multiplied, then smoothed by a Gaussian and multiplied by `mask`
    (`edgead.ops.load_mask`).
    """
    fused: MapF32 | None = None
    for part in spec.maps:
        scaled: MapF32 = maps[part.name] * np.float32(part.weight * part.scale)
        scaled += np.float32(part.weight * part.offset)
        if scaled.shape != (spec.height, spec.width):
            scaled = upsample(scaled, spec.height, spec.width)
        if fused is None:
            fused = scaled
        elif spec.combine == "sum":
            fused += scaled
        else:
            fused *= scaled
    assert fused is not None  # a fusion spec has at least one map
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
