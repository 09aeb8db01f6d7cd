"""From raw numbers to a judgment: calibration, the verdict, and the regions in frame pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from edgead.errors import UsageError
from edgead.types import MapF32, Region, Verdict


@dataclass(frozen=True, slots=True)
class Rules:
    """How a calibrated score becomes a verdict. Raises UsageError for numbers that make no sense."""

    threshold: float = 1.0  # the calibrated score above which a part is NG; 1.0 is the bundle's threshold
    review: float | None = None  # the share of that threshold above which a person decides, in (0, 1)
    min_area: float = 0.0  # a part is good whose anomalous regions are all smaller; pixels of the frame

    def __post_init__(self) -> None:
        if not 0 < self.threshold < math.inf:
            raise UsageError(f"the threshold must be a number above 0, not {self.threshold:g}: 1 is the bundle's own")
        if self.review is not None and not 0 < self.review < 1:
            raise UsageError(f"the review threshold is a share of the threshold in (0, 1), not {self.review:g}")
        if not 0 <= self.min_area < math.inf:
            raise UsageError(f"the smallest area is a number of pixels, 0 or more, not {self.min_area:g}")


def calibrate(raw: float, center: float, threshold: float) -> float:
    """0.0 at `center` (a typical good part), 1.0 at `threshold`, linear everywhere, never clamped."""
    return (raw - center) / (threshold - center)


def judge(score: float, rules: Rules = Rules(), *, specks: bool = False) -> Verdict:
    """The verdict of a calibrated score; `specks` says that the part shows regions and all are too small to count.

    A score that is not a finite number is never OK.
    """
    if not math.isfinite(score):
        return Verdict.NG
    if specks:
        return Verdict.OK
    if score > rules.threshold:
        return Verdict.NG
    return Verdict.REVIEW if rules.review is not None and score > rules.review * rules.threshold else Verdict.OK


def find_regions(
    grid_map: MapF32, frame_size: tuple[int, int], limit: int = 100, min_area: float = 0.0
) -> tuple[Region, ...]:
    """The connected (8-neighbor) cells above 1.0 as boxes in pixels of a frame (H, W), strongest first.

    Regions whose cells cover fewer than `min_area` pixels of the frame are left out. At most `limit` are returned,
    so that a frame of noise cannot make a result of unbounded size.
    """
    above = (grid_map > 1.0).view(np.uint8)
    if not above.any():
        return ()
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    peaks = np.full(count, -np.inf, np.float32)
    np.maximum.at(peaks, np.asarray(labels, np.intp).ravel(), grid_map.ravel())
    height, width = frame_size
    rows, columns = grid_map.shape
    large = stats[:, cv2.CC_STAT_AREA] * (height * width / grid_map.size) >= min_area
    order = [label for label in 1 + np.argsort(-peaks[1:], kind="stable") if large[label]][:limit]
    regions = []
    for label in order:
        x, y, w, h, _ = (int(value) for value in stats[label])
        left, right = x * width // columns, -(-(x + w) * width // columns)
        top, bottom = y * height // rows, -(-(y + h) * height // rows)
        regions.append(Region(left, top, right - left, bottom - top, float(peaks[label])))
    return tuple(regions)
