"""Judges parts of the frame by rules of their own: another threshold, another smallest area.

A threshold of 2 in an area says that there a defect is one from twice the distance between a typical good part and the
bundle's threshold on. So what the map shows there above what is typical is divided by that factor, before anything is
taken from the map: score, verdict and regions of the whole frame then follow from one map as they always do, and a
score of 1 is the threshold everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgead.bundle.manifest import FusionSpec, Thresholds
from edgead.ops.mask import rescored
from edgead.types import MapF32, Reading


@dataclass(frozen=True, slots=True, eq=False)
class AreaRules:
    """What holds in one area instead of the rules of the frame; None: what they say."""

    cells: MapF32  # (h, w) in 0..1: the share of each cell of the map that lies in the area
    threshold: float | None = None  # as `Rules.threshold`: a factor of the bundle's
    min_area: float | None = None  # as `Rules.min_area`: pixels of the frame


def weigh_areas(
    reading: Reading, spec: FusionSpec, areas: Sequence[AreaRules], thresholds: Thresholds, threshold: float
) -> Reading:
    """The reading with its map in the areas as the frame's `threshold` judges it there, and the score of that map; as
    it is without an area that has another threshold. Where areas overlap the later one holds."""
    if all(area.threshold is None for area in areas):
        return reading
    gains = np.ones_like(reading.anomaly_map)
    for area in areas:
        if area.threshold is not None:
            gains += area.cells * (np.float32(threshold / area.threshold) - gains)
    # The typical score of a good part, which no factor moves; of a score that counts parts too it is none of the map's.
    center = np.float32(thresholds.image_center if reading.branches is None else thresholds.pixel_center)
    weighed = center + (reading.anomaly_map - center) * gains
    return rescored(replace(reading, anomaly_map=weighed), spec, np.ones(weighed.shape, np.bool_))


def smallest_areas(areas: Sequence[AreaRules], min_area: float, grid: tuple[int, int]) -> float | MapF32:
    """The smallest area that counts at each cell of the (h, w) grid, in pixels of the frame: the area's that covers
    half of the cell, `min_area` elsewhere. One number where all cells have the same."""
    own = [area for area in areas if area.min_area is not None]
    if not own:
        return min_area
    least = np.full(grid, min_area, np.float32)
    for area in own:
        least[area.cells >= 0.5] = area.min_area
    return least if least.min() < least.max() else float(least.min())
