"""From raw numbers to a judgement: calibration, the verdict, and the regions in frame pixels."""

from __future__ import annotations

import math

import cv2
import numpy as np

from edgead.types import MapF32, Region, Verdict


def calibrate(raw: float, center: float, threshold: float) -> float:
    """0.0 at `center` (a typical good part), 1.0 at `threshold`, linear everywhere, never clamped."""
    return (raw - center) / (threshold - center)


def judge(score: float) -> Verdict:
    """The verdict of a calibrated score. A score that is not a finite number is never OK."""
    return Verdict.OK if -math.inf < score <= 1.0 else Verdict.NG


def find_regions(grid_map: MapF32, frame_size: tuple[int, int], limit: int = 100) -> tuple[Region, ...]:
    """The connected (8-neighbour) cells above 1.0 as boxes in pixels of a frame (H, W), strongest first.

    At most `limit` are returned, so that a frame of noise cannot make a result of unbounded size.
    """
    above = (grid_map > 1.0).view(np.uint8)
    if not above.any():
        return ()
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    peaks = np.full(count, -np.inf, np.float32)
    np.maximum.at(peaks, np.asarray(labels, np.intp).ravel(), grid_map.ravel())
    order = 1 + np.argsort(-peaks[1:], kind="stable")[:limit]
    height, width = frame_size
    rows, columns = grid_map.shape
    regions = []
    for label in order:
        x, y, w, h, _ = (int(value) for value in stats[label])
        left, right = x * width // columns, -(-(x + w) * width // columns)
        top, bottom = y * height // rows, -(-(y + h) * height // rows)
        regions.append(Region(left, top, right - left, bottom - top, float(peaks[label])))
    return tuple(regions)
