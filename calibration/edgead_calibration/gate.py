"""Measures what a precision costs in the terms of anomaly detection, and checks it against a recipe's tolerances.

Maps are compared as the line sees them, calibrated by each network's own thresholds: 0 is a typical good part, 1 the
threshold. They are clipped to `CLIP`, since nobody cares whether a gross defect is five thresholds high or six.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgead.bundle import Thresholds
from edgead_calibration.thresholds import fit_thresholds

CLIP = (-1.0, 2.0)
Bools = NDArray[np.bool_]


class Tolerances(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a precision may cost against FP32."""

    map_mean: float = 0.1  # mean difference of the calibrated maps
    map_largest: float = 1.0  # largest difference of the calibrated maps
    spearman: float = 0.98  # rank correlation of the image scores, at least
    false_alarms: float = 0.05  # more good images refused, as a share
    misses: float = 0.05  # more anomalies passed, as a share
    auroc: float = 0.003  # image AUROC lost


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A precision beside FP32, on the same good and anomalous images."""

    map_mean: float
    map_largest: float
    spearman: float
    false_alarms: float  # share of good images refused at the precision's own threshold
    false_alarms_fp32: float
    misses: float  # share of anomalies passed at it
    misses_fp32: float
    auroc: float
    auroc_fp32: float


@dataclass(frozen=True, slots=True, eq=False)
class Readings:
    """What a network measures on a set of images."""

    scores: NDArray[np.float64]  # (N,) raw
    maps: NDArray[np.float32]  # (N, h, w) raw
    anomalous: Bools  # (N,)

    def thresholds(self, false_alarm_rate: float) -> Thresholds:
        """Fitted to the good images among them."""
        return fit_thresholds(self.good_scores, self.good_maxima, false_alarm_rate)

    @property
    def good_scores(self) -> tuple[float, ...]:
        return tuple(self.scores[~self.anomalous].tolist())

    @property
    def good_maxima(self) -> tuple[float, ...]:
        return tuple(float(one.max()) for one in self.maps[~self.anomalous])


def compare(reference: Readings, found: Readings, false_alarm_rate: float) -> Comparison:
    """How `found` differs from `reference`, FP32's readings of the same images."""
    difference = np.abs(_calibrated(reference, false_alarm_rate) - _calibrated(found, false_alarm_rate))
    good, bad = ~reference.anomalous, reference.anomalous
    before, after = (each.scores > each.thresholds(false_alarm_rate).image for each in (reference, found))
    return Comparison(
        map_mean=float(difference.mean()),
        map_largest=float(difference.max()),
        spearman=spearman(reference.scores, found.scores),
        false_alarms=float(after[good].mean()),
        false_alarms_fp32=float(before[good].mean()),
        misses=float((~after[bad]).mean()),
        misses_fp32=float((~before[bad]).mean()),
        auroc=auroc(found.scores, bad),
        auroc_fp32=auroc(reference.scores, bad),
    )


def faults(found: Comparison, allowed: Tolerances) -> list[str]:
    """Each tolerance that is broken, in words; none where the precision passes."""
    costs = [
        ("its maps differ by {:.3g} on average", found.map_mean, allowed.map_mean),
        ("a map differs by {:.3g}", found.map_largest, allowed.map_largest),
        ("its scores' rank correlation falls short of 1 by {:.3g}", 1 - found.spearman, 1 - allowed.spearman),
        (
            "it refuses {:.3g} more of the good images",
            found.false_alarms - found.false_alarms_fp32,
            allowed.false_alarms,
        ),
        ("it passes {:.3g} more of the anomalies", found.misses - found.misses_fp32, allowed.misses),
        ("it loses {:.3g} of the image AUROC", found.auroc_fp32 - found.auroc, allowed.auroc),
    ]
    return [f"{text.format(cost)} ({limit:.3g} allowed)" for text, cost, limit in costs if not cost <= limit + 1e-9]


def map_error(reference: Readings, found: Readings, thresholds: Thresholds) -> float:
    """Mean difference of the maps, calibrated by FP32's thresholds for both: the effect of a part of the network."""
    first, second = (_by(each.maps, thresholds) for each in (reference, found))
    return float(np.abs(first - second).mean())


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's rank correlation; 1 where both are constant, 0 where one is."""
    one, other = _ranks(first), _ranks(second)
    if one.std() == 0 or other.std() == 0:
        return float(one.std() == other.std())
    return float(np.corrcoef(one, other)[0, 1])


def auroc(scores: NDArray[np.float64], anomalous: Bools) -> float:
    """The share of pairs of an anomalous and a good image that are in the right order; ties count half."""
    bad, good = int(anomalous.sum()), int((~anomalous).sum())
    return float((_ranks(scores)[anomalous].sum() - bad * (bad - 1) / 2) / (bad * good))


def _calibrated(readings: Readings, false_alarm_rate: float) -> NDArray[np.float32]:
    return _by(readings.maps, readings.thresholds(false_alarm_rate))


def _by(maps: NDArray[np.float32], thresholds: Thresholds) -> NDArray[np.float32]:
    gap = thresholds.pixel - thresholds.pixel_center
    return np.asarray(np.clip((maps - thresholds.pixel_center) / gap, *CLIP), np.float32)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 0, ties at their mean."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts + 1) / 2)[inverse])
