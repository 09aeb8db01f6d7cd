"""Computes how far a figure from so many images may be off: 95 % intervals of rates and of the image AUROC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from edgead_calibration.thresholds import find_root
from edgead_tools.evaluation.metrics.curve import F64, require_both, require_finite

CONFIDENCE = 0.95


class Auroc(NamedTuple):
    """An image AUROC and its 95 % interval."""

    value: float
    low: float
    high: float


def rate_interval(events: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Clopper and Pearson's interval for the rate behind `events` out of `trials`; (0, 1) for no trials."""
    if not 0 <= events <= trials:
        raise ValueError(f"{events} events cannot come from {trials} trials")
    tail = (1 - confidence) / 2
    low = 0.0 if events == 0 else _rate_at(events - 1, trials, 1 - tail)
    high = 1.0 if events == trials else _rate_at(events, trials, tail)
    return low, high


def auroc_interval(good: ArrayLike, *kinds: ArrayLike) -> Auroc:
    """The image AUROC of scores (N,) against good ones, and its interval; of several kinds, the mean of their AUROCs.

    The interval is DeLong, DeLong and Clarke-Pearson's (Biometrics 44, 1988), cut at 0 and 1. It shrinks to a point
    where the classes are apart or all scores are equal, and needs two scores of each: then it is the one of Newcombe
    (Statistics in Medicine 25, 2006, method 5), from the AUROC and the numbers of images. Raises DataError for an
    empty class and for scores that are not finite.
    """
    reference = _sorted(good)
    groups = [_sorted(kind) for kind in kinds]
    for group in groups:
        require_both(len(group), len(reference))
    of_groups = [_placements(group, reference) for group in groups]  # share of good below each anomalous score
    of_good = np.mean([1 - _placements(reference, group) for group in groups], axis=0)
    value = float(np.mean([placements.mean() for placements in of_groups]))
    variance = _variance_of_mean(of_good) + sum(map(_variance_of_mean, of_groups)) / len(groups) ** 2
    if not variance > 0:
        return Auroc(value, *_newcombe(value, sum(map(len, groups)), len(reference)))
    reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(variance)
    return Auroc(value, max(0.0, value - reach), min(1.0, value + reach))


def _sorted(scores: ArrayLike) -> F64:
    values = np.sort(np.asarray(scores, np.float64))
    require_finite(values)
    return values


def _placements(scores: F64, reference: F64) -> F64:
    """For each score, the share of the sorted reference below it, equal ones counting half."""
    below = np.searchsorted(reference, scores, side="left") + np.searchsorted(reference, scores, side="right")
    return np.asarray(below / (2 * len(reference)))


def _variance_of_mean(values: F64) -> float:
    return float(values.var(ddof=1)) / len(values) if len(values) > 1 else math.nan


def _newcombe(value: float, anomalous: int, good: int) -> tuple[float, float]:
    """Where an AUROC would have to lie for the one seen to be on the edge of its interval."""
    reach = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    others = (anomalous + good) / 2 - 1

    def excess(truth: float) -> float:
        spread = 1 + others * ((1 - truth) / (2 - truth) + truth / (1 + truth))
        return abs(value - truth) - reach * math.sqrt(truth * (1 - truth) * spread / (anomalous * good))

    low = find_root(lambda x: -excess(value * x)) * value  # `excess` falls toward the value, from either side
    high = 1 - find_root(lambda x: -excess(1 - (1 - value) * x)) * (1 - value)
    return low, high


def _rate_at(events: int, trials: int, probability: float) -> float:
    """The rate at which at most `events` of `trials` have that probability, by bisection."""
    successes = np.arange(events + 1)
    ways = np.array([math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in successes])

    def shortfall(rate: float) -> float:
        if not 0 < rate < 1:
            return rate - 0.5
        chances = np.exp(ways + successes * math.log(rate) + (trials - successes) * math.log1p(-rate))
        return probability - float(chances.sum())

    return find_root(shortfall)


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean of the figures; None where one is missing, or all are."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
