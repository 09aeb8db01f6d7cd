"""What each threshold would cost and find: the figures among which a person chooses the operating point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.bundle import Manifest, PlantedDefect, Thresholds
from edgead.errors import UsageError
from edgead_calibration.tails import Tail, fit_tail, share_of_part
from edgead_calibration.thresholds import interval_at, parts_without, without_outliers

POINTS = 81  # thresholds that are compared, beside the one in force
SIZE_CLASSES = 4  # of planted defects, with as many in each


@dataclass(frozen=True, slots=True)
class Costs:
    """What a missed defect and a false alarm cost, in one unit, and the share of parts that are defective."""

    miss: float = 200.0
    alarm: float = 1.0
    defect_rate: float = 0.002

    def __post_init__(self) -> None:
        if not (self.miss >= 0 and self.alarm >= 0 and self.miss + self.alarm > 0):
            raise UsageError("costs must be 0 or more, and not both 0")
        if not 0 < self.defect_rate < 1:
            raise UsageError(f"the share of defective parts must lie in (0, 1), not {self.defect_rate:g}")

    def per_part(self, false_alarms: float, found: float) -> float:
        """The expected cost of a part at these rates."""
        return (1 - self.defect_rate) * false_alarms * self.alarm + self.defect_rate * (1 - found) * self.miss


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a raw image threshold does."""

    score: float
    false_alarms: float  # expected share of good parts
    interval: tuple[float, float]  # 95 %, of good images alone
    found: tuple[float, ...]  # share of planted defects, by size class from small to large
    labeled: float | None  # share of labeled defects
    cost: float  # a part


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoints:
    """Every candidate, and what they were computed from."""

    points: tuple[OperatingPoint, ...]  # by rising score
    good: NDArray[np.float64]
    planted: tuple[PlantedDefect, ...]
    labeled: tuple[float, ...]
    edges: tuple[float, ...]  # between the size classes, shares of the frame's shorter side; one more than classes
    costs: Costs
    most: float = math.inf  # the least score of a golden anomaly: with a threshold from there on no bundle is opened

    @property
    def cheapest(self) -> OperatingPoint:
        """The point of the least expected cost of those below `most`; of several the highest, which raises the fewest
        false alarms."""
        usable = [point for point in self.points if point.score < self.most] or self.points[:1]
        return min(reversed(usable), key=lambda point: point.cost)


def operating_points(manifest: Manifest, costs: Costs, labeled: Sequence[float] = ()) -> OperatingPoints:
    """The candidates for the FP32 network's image threshold.

    False alarms come from good images alone: `labeled`, raw scores of known defects, inform the cost and never that.
    Defects found are those planted at build time and, where there are any, the labeled ones, each kind counting half.
    """
    artifact = manifest.artifact("fp32")
    good, _, outliers = without_outliers(artifact.good_scores, artifact.good_maxima, artifact.good_parts)
    parts = parts_without(artifact.good_parts, outliers)
    planted = () if manifest.detection is None else manifest.detection.planted
    tail, margin = fit_tail(good, parts), artifact.good_margin[0]
    edges = _edges(planted)
    reach = max(tail.quantile(1e-4), 1.1 * artifact.thresholds.image - 0.1 * artifact.thresholds.image_center)
    points = []
    for score in np.union1d(np.linspace(float(np.median(good)), reach, POINTS), artifact.thresholds.image):
        found = tuple(_share([one.score for one in group], score) for group in _classes(planted, edges))
        of_labeled = _share(labeled, score) if labeled else None
        rates = [rate for rate in (float(np.mean(found)) if found else None, of_labeled) if rate is not None]
        alarms = expected_rate(good, tail, float(score), parts)
        cost = costs.per_part(alarms, float(np.mean(rates)) if rates else 1.0)
        interval = interval_at(good, float(score), margin, parts)
        points.append(OperatingPoint(float(score), alarms, interval, found, of_labeled, cost))
    golden = dict(zip(manifest.golden_frames, artifact.golden_scores, strict=False))
    most = min((golden[name] for name in manifest.golden_anomalies if name in golden), default=math.inf)
    return OperatingPoints(tuple(points), good, tuple(planted), tuple(labeled), edges, costs, most)


def expected_rate(good: NDArray[np.float64], tail: Tail, score: float, parts: Sequence[int] = ()) -> float:
    """The expected share of good parts above a score: by the tail where it is fitted, below it by counting."""
    if score >= tail.start:
        return tail.rate(score)
    return float((share_of_part(parts, len(good))[good > score].sum() + 1) / (tail.images + 1))


def chosen_thresholds(
    fitted: Thresholds,
    good: Sequence[float],
    margin: float,
    image: float,
    pixel: float | None = None,
    parts: Sequence[int] = (),
) -> Thresholds:
    """Thresholds that a person chose, with what good images say of their false alarms. Raises UsageError for one that
    does not lie above a typical good part."""
    if not image > fitted.image_center:
        raise UsageError(f"a threshold of {image:g} is not above a typical good part ({fitted.image_center:g})")
    if pixel is not None and not pixel > fitted.pixel_center:
        raise UsageError(f"a pixel threshold of {pixel:g} is not above a typical good part ({fitted.pixel_center:g})")
    usual, tail = np.asarray(good, np.float64), fit_tail(good, parts)
    changes: dict[str, Any] = {} if pixel is None else {"pixel": pixel, "pixel_interval": None}
    return Thresholds(
        **({name: getattr(fitted, name) for name in Thresholds.__struct_fields__} | changes | {
            "image": image,
            "false_alarm_rate": min(0.5, max(1e-9, expected_rate(usual, tail, image, parts))),
            "interval": interval_at(usual, image, margin, parts),
            "tail_interval": tail.interval(image) if image >= tail.start else None,
            "promised": False,
            "aimed_rate": 0.0,
            "chosen": True,
        })
    )  # fmt: skip


def _edges(planted: Sequence[PlantedDefect]) -> tuple[float, ...]:
    sizes = [one.size for one in planted]
    return tuple(np.quantile(sizes, np.linspace(0, 1, SIZE_CLASSES + 1)).tolist()) if sizes else ()


def _classes(planted: Sequence[PlantedDefect], edges: Sequence[float]) -> list[list[PlantedDefect]]:
    if not planted:
        return []
    places = np.clip(np.searchsorted(edges, [one.size for one in planted], side="right") - 1, 0, SIZE_CLASSES - 1)
    pairs = list(zip(planted, places, strict=True))
    return [[one for one, place in pairs if place == index] for index in range(SIZE_CLASSES)]


def _share(scores: Sequence[float], threshold: float) -> float:
    return float(np.mean(np.asarray(scores) > threshold)) if len(scores) else 0.0
