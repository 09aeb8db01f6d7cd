"""Turns raw numbers into a decision: calibration, the verdict, and the regions in frame pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.errors import UsageError
from edgead.types import MapF32, Mask, Region, Verdict

FARTHEST = 1000.0  # times the bundle's threshold: beyond it no part is NG
LARGEST_AREA = 1e9  # pixels


@dataclass(frozen=True, slots=True)
class Rules:
    """How a calibrated score becomes a verdict. Raises UsageError for numbers that make no sense."""

    threshold: float = 1.0  # the calibrated score above which a part is NG; 1.0 is the bundle's threshold
    review: float | None = None  # the share of that threshold above which a person decides, in (0, 1)
    min_area: float = 0.0  # smaller anomalous regions take no part in the score; pixels of the frame

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= FARTHEST:
            raise UsageError(
                f"the threshold must be a number above 0 and at most {FARTHEST:g}, not {self.threshold:g}: "
                "1 is the bundle's own"
            )
        if self.review is not None and not 0 < self.review < 1:
            raise UsageError(f"the review threshold is a share of the threshold in (0, 1), not {self.review:g}")
        if not 0 <= self.min_area <= LARGEST_AREA:
            raise UsageError(f"the smallest area is a number of pixels in 0..{LARGEST_AREA:g}, not {self.min_area:g}")


def calibrate(raw: float, center: float, threshold: float) -> float:
    """0.0 at `center` (a typical good part), 1.0 at `threshold`, linear everywhere, never clamped."""
    return (raw - center) / (threshold - center)


def classify(score: float, rules: Rules = Rules()) -> Verdict:
    """The verdict of a calibrated score; one that is not a finite number is never OK."""
    if not math.isfinite(score):
        return Verdict.NG
    if score > rules.threshold:
        return Verdict.NG
    return Verdict.REVIEW if rules.review is not None and score > rules.review * rules.threshold else Verdict.OK


def find_regions(
    grid_map: MapF32, frame_size: tuple[int, int], limit: int = 100, min_area: float | MapF32 = 0.0
) -> tuple[Region, ...]:
    """The connected (8-neighbor) cells above 1.0 as boxes in pixels of a frame (H, W), strongest first.

    Regions whose cells cover fewer than `min_area` pixels of the frame are left out; where that is a map (h, w), fewer
    than the least value of their cells. At most `limit` are returned, so that a frame of noise cannot make a result of
    unbounded size.
    """
    above = (grid_map > 1.0).view(np.uint8)
    if not above.any():
        return ()
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    peaks = np.full(count, -np.inf, np.float32)
    np.maximum.at(peaks, np.asarray(labels, np.intp).ravel(), grid_map.ravel())
    height, width = frame_size
    rows, columns = grid_map.shape
    large = _is_large(np.asarray(stats), np.asarray(labels), frame_size, min_area)
    order = [label for label in 1 + np.argsort(-peaks[1:], kind="stable") if large[label]][:limit]
    regions = []
    for label in order:
        x, y, w, h, _ = (int(value) for value in stats[label])
        left, right = x * width // columns, -(-(x + w) * width // columns)
        top, bottom = y * height // rows, -(-(y + h) * height // rows)
        regions.append(Region(left, top, right - left, bottom - top, float(peaks[label])))
    return tuple(regions)


def strongest_region(grid_map: MapF32, frame_size: tuple[int, int]) -> tuple[Region, ...]:
    """The connected cells around the peak that reach 80 % of it, from the median on, as a box in a frame (H, W).

    It shows where a part is NG whose map stays below the pixel threshold everywhere; its score is the peak. Nothing for
    a map without a peak.
    """
    finite = np.nan_to_num(grid_map, neginf=0.0, posinf=0.0)
    peak, usual = float(finite.max()), float(np.median(finite))
    if not peak > usual:
        return ()
    lifted = np.asarray((finite - usual) / (0.8 * (peak - usual)), np.float32)
    return tuple(replace(region, score=peak) for region in find_regions(lifted, frame_size, limit=1))


def find_specks(grid_map: MapF32, frame_size: tuple[int, int], min_area: float | MapF32) -> Mask | None:
    """The cells of the regions that `find_regions` leaves out for their size, (h, w) bool; None where there are none.

    Raises UsageError for an area as large as the frame (H, W), which no defect could reach.
    """
    height, width = frame_size
    if (largest := float(np.max(min_area))) >= height * width:
        raise UsageError(f"a smallest area of {largest:g} pixels is all of a frame of {width}x{height}")
    above = grid_map > 1.0
    if not above.any():
        return None
    _, labels, stats, _ = cv2.connectedComponentsWithStats(above.view(np.uint8), connectivity=8)
    specks = above & ~_is_large(np.asarray(stats), np.asarray(labels), frame_size, min_area)[labels]
    return specks if specks.any() else None


def _is_large(stats: NDArray[Any], labels: NDArray[Any], frame_size: tuple[int, int], min_area: float | MapF32) -> Mask:
    """For each label whether its cells cover `min_area` pixels of the frame, the least that holds for one of them."""
    least: float | NDArray[np.float32]
    if isinstance(min_area, np.ndarray):
        least = np.full(len(stats), np.inf, np.float32)
        np.minimum.at(least, np.asarray(labels, np.intp).ravel(), min_area.ravel())
    else:
        least = min_area
    pixels = frame_size[0] * frame_size[1] / labels.size
    return np.asarray(stats[:, cv2.CC_STAT_AREA] * pixels >= least)
