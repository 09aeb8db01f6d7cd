"""Thresholds from good images alone, for a false-alarm rate, with what that number of images can promise.

With n good images that no other stage has seen, a threshold at the r-th smallest score raises false alarms
at a rate distributed as Beta(n - r + 1, r), whatever the distribution of scores (order statistics; the same
fact conformal prediction rests on). A rate of alpha can therefore be promised by counting only when
n >= 1/alpha - 1. Below that the threshold is a prediction bound under a normal law of the scores, never lower
than the largest score seen, and `promised` is false.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from edgead.bundle import Thresholds
from edgead.errors import DataError, UsageError

MINIMUM = 3  # scores below which no spread can be estimated
CONFIDENCE = 0.95


def fit_thresholds(scores: Sequence[float], maxima: Sequence[float], false_alarm_rate: float) -> Thresholds:
    """Thresholds for raw image scores and raw map maxima of the same good images.

    `false_alarm_rate` in (0, 0.5] is the share of good parts that may be refused. The pixel threshold keeps
    the same promise about regions: at most that share of good images shows one. Raises DataError for fewer
    than `MINIMUM` images or scores that are not finite, UsageError for a rate outside its range.
    """
    if not 0 < false_alarm_rate <= 0.5:
        raise UsageError(f"the false-alarm rate must lie in (0, 0.5], not {false_alarm_rate}")
    if len(scores) < MINIMUM:
        raise DataError(
            f"a threshold needs at least {MINIMUM} good images kept aside, there are {len(scores)}: give more"
        )
    if not (np.isfinite(scores).all() and np.isfinite(maxima).all()):
        raise DataError("a score of a good image is not a finite number: the network is damaged, build it again")
    image, rank = _bound(scores, false_alarm_rate)
    pixel, _ = _bound(maxima, false_alarm_rate)
    return Thresholds(
        image=image,
        image_center=float(np.median(scores)),
        pixel=pixel,
        pixel_center=float(np.median(maxima)) if np.ptp(maxima) > 0 else pixel - 1.0,
        false_alarm_rate=false_alarm_rate,
        images=len(scores),
        interval=rate_interval(len(scores), rank),
        promised=can_promise(len(scores), false_alarm_rate),
    )


def can_promise(images: int, false_alarm_rate: float) -> bool:
    """Whether the largest of that many scores already is a threshold with the asked-for expected rate."""
    return 1 / (images + 1) <= false_alarm_rate * (1 + 1e-9)


def rate_interval(images: int, rank: int) -> tuple[float, float]:
    """95 % interval of the false-alarm rate of a threshold at the `rank`-th smallest of `images` scores.

    The quantiles of Beta(images - rank + 1, rank). At the largest score the lower end is taken as 0, since the
    threshold may lie above it.
    """
    tail = (1 - CONFIDENCE) / 2
    above = images - rank + 1
    low = 0.0 if rank == images else find_root(lambda x: _at_least(above, images, x) - tail)
    return low, find_root(lambda x: _at_least(above, images, x) - (1 - tail))


def threshold_summary(thresholds: Thresholds) -> str:
    """What the thresholds promise, as one plain sentence."""
    asked, (low, high) = thresholds.false_alarm_rate, thresholds.interval
    expect = f"expect between {low:.1%} and {high:.1%} of good parts refused (95 % interval)"
    if thresholds.promised:
        return f"the threshold is set for {asked:.2%} false alarms on {thresholds.images} good images: {expect}"
    needed, best = math.ceil(1 / asked - 1e-9) - 1, 1 / (thresholds.images + 1)
    return (
        f"{thresholds.images} good images kept aside are too few to promise {asked:.2%} false alarms "
        f"({needed} are needed, and {best:.1%} is the least they can promise): {expect}; "
        "the threshold is extrapolated from their spread"
    )


def far_out(scores: Sequence[float]) -> list[int]:
    """Indices of scores beyond Tukey's outer fence (the upper quartile plus three interquartile ranges).

    A good image there is probably not good, or not of this part; it alone may set the threshold.
    """
    lower, upper = np.quantile(scores, [0.25, 0.75])
    return [index for index, score in enumerate(scores) if score > upper + 3 * (upper - lower)]


def _bound(values: Sequence[float], rate: float) -> tuple[float, int]:
    """The threshold for one kind of value, and the rank of the largest value that it does not exceed."""
    ordered = np.sort(np.asarray(values, np.float64))
    n = len(ordered)
    if can_promise(n, rate):
        rank = min(n, math.ceil((n + 1) * (1 - rate) - 1e-9))
        return _above(float(ordered[rank - 1]), ordered), rank
    spread = float(ordered.std(ddof=1))
    bound = float(ordered.mean()) + _student_quantile(1 - rate, n - 1) * spread * math.sqrt(1 + 1 / n)
    return _above(max(bound, float(ordered[-1])), ordered), n


def _above(threshold: float, ordered: np.ndarray) -> float:
    """The threshold, or a hair above the median where all values are equal: calibration divides by the gap."""
    median = float(np.median(ordered))
    return max(threshold, median + 1e-6 * max(1.0, abs(median)))


def _at_least(count: int, trials: int, p: float) -> float:
    """P(Binomial(trials, p) >= count), which is the Beta(count, trials - count + 1) distribution function at p."""
    if p <= 0 or p >= 1:
        return float(p >= 1)
    log_trials = math.lgamma(trials + 1)
    below = math.fsum(
        math.exp(
            log_trials - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
            + k * math.log(p) + (trials - k) * math.log1p(-p)
        )
        for k in range(count)  # few terms: `count` is the number of false alarms, plus one
    )  # fmt: skip
    return 1.0 - min(1.0, below)


def _student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t distribution for a probability of at least 0.5, by integrating its density."""
    log_norm = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(math.sqrt(freedom * math.pi))
    # t = sqrt(freedom) * tan(u) turns the density into a power of cos(u) on [0, pi/2)
    angles = np.linspace(0, math.pi / 2, 20_001)
    density = math.exp(log_norm) * math.sqrt(freedom) * np.cos(angles) ** (freedom - 1)
    step = angles[1] - angles[0]
    mass = 0.5 + np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2) * step])
    return math.sqrt(freedom) * math.tan(float(np.interp(probability, mass, angles)))


def find_root(function: Callable[[float], float]) -> float:
    """The root of a non-decreasing function on [0, 1]."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if function(middle) > 0 else (middle, high)
    return (low + high) / 2
