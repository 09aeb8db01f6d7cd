"""Fits thresholds to good images alone, for a false-alarm rate, with what that number of images can promise.

With n scores of good images as new parts would have them (`conformal`), a threshold at the r-th smallest raises false
alarms at a rate distributed as Beta(n - r + 1, r), whatever the distribution of scores (order statistics; the same
fact conformal prediction rests on). A rate can therefore be promised by counting only when n >= 1/rate - 1. Below that
the threshold is where the fitted tail of the scores expects the rate (`tails`), and `promised` is false. Scores that
do not belong to the tail of the others are counted in neither, and how many they are is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgead.bundle import Thresholds
from edgead.errors import DataError, UsageError
from edgead.wording import are, plural
from edgead_calibration.tails import MINIMUM, find_outliers, fit_tail

CONFIDENCE = 0.95

Array = NDArray[np.float64]


def fit_thresholds(
    scores: Sequence[float],
    maxima: Sequence[float],
    false_alarm_rate: float,
    margin: tuple[float, float] = (0.0, 0.0),
) -> Thresholds:
    """Thresholds for raw image scores and raw map maxima of the same good images.

    `false_alarm_rate` in (0, 0.5] is the share of good parts that may be refused. The pixel threshold keeps the same
    promise about regions: at most that share of good images shows one. `margin` is the uncertainty of scores and
    maxima (`conformal.Corrected`), which widens the interval. Raises DataError for fewer than `tails.MINIMUM` images
    or scores that are not finite, UsageError for a rate outside its range.
    """
    if not 0 < false_alarm_rate <= 0.5:
        raise UsageError(f"the false-alarm rate must lie in (0, 0.5], not {false_alarm_rate}")
    if len(scores) < MINIMUM:
        raise DataError(f"a threshold needs at least {MINIMUM} good images, there are {len(scores)}: give more")
    if not (np.isfinite(scores).all() and np.isfinite(maxima).all()):
        raise DataError("a score of a good image is not a finite number: the network is damaged, build it again")
    usual, usual_maxima, outliers = without_outliers(scores, maxima)
    image, tail_interval = _bound(usual, false_alarm_rate)
    pixel, _ = _bound(usual_maxima, false_alarm_rate)
    return Thresholds(
        image=image,
        image_center=float(np.median(usual)),
        pixel=pixel,
        pixel_center=float(np.median(usual_maxima)) if np.ptp(usual_maxima) > 0 else pixel - 1.0,
        false_alarm_rate=false_alarm_rate,
        images=len(usual),
        interval=interval_at(usual, image, margin[0]),
        promised=can_promise(len(usual), false_alarm_rate),
        pixel_interval=interval_at(usual_maxima, pixel, margin[1]),
        tail_interval=tail_interval,
        outliers=len(outliers),
    )


def without_outliers(scores: Sequence[float], maxima: Sequence[float]) -> tuple[Array, Array, list[int]]:
    """Scores and maxima of the good images where both belong to the tail of the others', and the indices of the rest,
    those with the largest scores first."""
    found = list(dict.fromkeys([*find_outliers(scores), *find_outliers(maxima)])) if len(maxima) == len(scores) else []
    usual, usual_maxima = (np.delete(np.asarray(values, np.float64), found) for values in (scores, maxima))
    return usual, usual_maxima, found


def can_promise(images: int, false_alarm_rate: float) -> bool:
    """Whether the largest of that many scores already is a threshold with the asked-for expected rate."""
    return 1 / (images + 1) <= false_alarm_rate * (1 + 1e-9)


def interval_at(scores: Array, threshold: float, margin: float = 0.0) -> tuple[float, float]:
    """95 % interval of the false-alarm rate of a threshold, by counting how many of the scores lie above it.

    Scores that may be off by `margin` are counted as if they were all lower for the lower end, and all higher for the
    upper end.
    """
    fewest, most = (int((scores > threshold + shift).sum()) for shift in (margin, -margin))
    return rate_interval(len(scores), fewest)[0], rate_interval(len(scores), most)[1]


def rate_interval(images: int, above: int) -> tuple[float, float]:
    """95 % interval of a rate of which `above` of `images` were seen (Clopper and Pearson 1934).

    Its ends are the quantiles of Beta(above, images - above + 1) and Beta(above + 1, images - above): the laws of the
    rates at the two scores between which a threshold with so many scores above it lies.
    """
    tail = (1 - CONFIDENCE) / 2
    low = 0.0 if above == 0 else find_root(lambda x: _at_least(above, images, x) - tail)
    high = 1.0 if above == images else find_root(lambda x: _at_least(above + 1, images, x) - (1 - tail))
    return low, high


def threshold_summary(thresholds: Thresholds) -> str:
    """What the thresholds promise, as one plain sentence."""
    asked, (low, high) = thresholds.false_alarm_rate, thresholds.interval
    expect = f"expect between {low:.1%} and {high:.1%} of good parts refused (95 % interval)"
    if thresholds.chosen:
        text = f"the threshold was chosen by a person; by {thresholds.images} good images {expect}"
    elif thresholds.promised:
        text = f"the threshold is set for {asked:.2%} false alarms on {thresholds.images} good images: {expect}"
    else:
        needed, best = math.ceil(1 / asked - 1e-9) - 1, 1 / (thresholds.images + 1)
        text = (
            f"{thresholds.images} good images are too few to promise {asked:.2%} false alarms by counting "
            f"({needed} are needed, and {best:.1%} is the least they can promise): {expect}; "
            "the threshold is extrapolated from the tail of their scores"
        )
        if thresholds.tail_interval is not None:
            text += ", which expects {:.2%} to {:.1%}".format(*thresholds.tail_interval)
    if thresholds.outliers:
        found = plural(thresholds.outliers, "image with an outlying score", "images with outlying scores")
        text += f"; {found} {are(thresholds.outliers)} not counted: good parts?"
    return text


def _bound(values: Array, rate: float) -> tuple[float, tuple[float, float] | None]:
    """The threshold for one kind of value, and the tail's interval of its rate where it is extrapolated."""
    ordered = np.sort(values)
    n = len(ordered)
    if can_promise(n, rate):
        rank = min(n, math.ceil((n + 1) * (1 - rate) - 1e-9))
        return _above(float(ordered[rank - 1]), ordered), None
    tail = fit_tail(ordered)
    threshold = _above(tail.quantile(rate), ordered)
    return threshold, tail.interval(threshold, CONFIDENCE)


def _above(threshold: float, ordered: Array) -> float:
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


def find_root(function: Callable[[float], float]) -> float:
    """The root of a non-decreasing function on [0, 1]."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if function(middle) > 0 else (middle, high)
    return (low + high) / 2
