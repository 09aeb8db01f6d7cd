"""Defines which cells of the map are judged: the foreground, where what surrounds the part must not matter.

The published remedy for a restless background (AST-MFR, failure analysis): the map times a foreground mask, before
the score. Where it is 0 the map is 0, which no threshold fitted with the same mask lies below.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from edgead.bundle.draft import Model
from edgead.bundle.manifest import FusionSpec
from edgead.errors import BundleError
from edgead.ops.fuse import image_score
from edgead.picture_size import picture_size
from edgead.types import MapF32, Mask, Reading


def load_mask(bundle: Model) -> MapF32 | None:
    """The mask of the bundle's fusion, (h, w) float32 in 0..1, or None where every cell is judged.

    Raises BundleError for a member that is no 8-bit gray PNG of the grid's size, or black everywhere.
    """
    spec = bundle.manifest.fusion
    if spec.mask is None:
        return None
    raw = np.frombuffer(bundle.read(spec.mask), np.uint8)
    fits = picture_size(raw.tobytes()) == (spec.width, spec.height)
    pixels = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED) if fits else None
    if pixels is None or pixels.dtype != np.uint8 or pixels.shape != (spec.height, spec.width):
        raise BundleError(
            f"mask '{spec.mask}' is no gray picture of {spec.width}x{spec.height} cells: build the bundle again"
        )
    if not pixels.any():
        raise BundleError(f"mask '{spec.mask}' is black everywhere, so every part would be OK: build the bundle again")
    return np.asarray(pixels, np.float32) / np.float32(255)


def mask_reading(reading: Reading, spec: FusionSpec, mask: MapF32) -> Reading:
    """The reading with only the cells of `mask`, (h, w) float32 in 0..1, in its map and score.

    The map's score is taken of the cells that are judged at all, so of a map without negative values it is never
    larger than that of the whole frame, as long as there are `spec.score.top` of them. Components are counted in the
    whole frame all the same.
    """
    fused = reading.anomaly_map * mask
    return rescored(replace(reading, anomaly_map=fused), spec, mask > 0)


def remove_specks(reading: Reading, spec: FusionSpec, specks: Mask, mask: MapF32 | None = None) -> Reading:
    """The reading with the score that its map has without the cells `specks`, (h, w) bool; the map stays as it is.

    `mask` is what the reading was masked with. Where no cell would be left, the score stays.
    """
    kept = ~specks if mask is None else ~specks & (mask > 0)
    return rescored(reading, spec, kept) if kept.any() else reading


def rescored(reading: Reading, spec: FusionSpec, cells: Mask) -> Reading:
    """The reading with the score of these cells of its map; what counts parts stays as it is."""
    score, branches = image_score(reading.anomaly_map[cells], spec), reading.branches
    judged = spec.components or spec.matching
    if branches is not None and judged is not None:
        branches = replace(branches, structural=judged.structural.apply(score))
        score = branches.logical + branches.structural
    return replace(reading, score=score, branches=branches)
