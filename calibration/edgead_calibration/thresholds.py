"""Fits thresholds to good images alone, for a false-alarm rate, with what that number of images can promise.

n scores of good images as new parts would have them (`conformal`) can promise no rate below 1 / (n + 1): that often a
new part exceeds the largest of them, whatever the distribution of scores (order statistics, on which conformal
prediction rests). Where a lower rate is asked for, the threshold is set for that one, and `promised` is false: set for
a rate that nobody can have seen it would let defects pass. With `extrapolate` it is set for the rate all the same.

In the upper tail the threshold is where the fitted tail (`tails`) has its median for the rate, also where counting
could place it: one or two largest scores vary far more than the law of the largest twenty
(`benchmarks/results/*/threshold-rules.json`). It is never so low that the scores above it contradict the rate.

With r scores below a threshold the rate is distributed as Beta(n - r, r + 1) to Beta(n - r + 1, r), from which the
interval is taken (`interval_at`). Where several images show one part, n are the different parts, and each image is a
share of its part (`tails`). Scores that do not belong to the tail of the others are not counted, and how many
they are is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgead.bundle import Thresholds
from edgead.errors import DataError, UsageError
from edgead.wording import are, plural
from edgead_calibration.tails import MINIMUM, find_outliers, fit_tail, share_of_part

CONFIDENCE = 0.95

Array = NDArray[np.float64]


def fit_thresholds(
    scores: Sequence[float],
    maxima: Sequence[float],
    false_alarm_rate: float,
    margin: tuple[float, float] = (0.0, 0.0),
    *,
    parts: Sequence[int] = (),
    extrapolate: bool = False,
) -> Thresholds:
    """Thresholds for raw image scores and raw map maxima of the same good images.

    `false_alarm_rate` in (0, 0.5] is the share of good parts that may be refused; too few images to promise it set the
    threshold for `least_rate`, or with `extrapolate` for the rate asked for. The pixel threshold keeps the same promise
    about regions: at most that share of good images shows one. `margin` is the uncertainty of scores and maxima
    (`conformal.Corrected`), which widens the interval; `parts` numbers the part that each image shows, all different
    without it. Raises DataError for fewer than `tails.MINIMUM` images
    or scores that are not finite, UsageError for a rate outside its range.
    """
    if not 0 < false_alarm_rate <= 0.5:
        raise UsageError(f"the false-alarm rate must lie in (0, 0.5], not {false_alarm_rate}")
    if len(scores) < MINIMUM:
        raise DataError(f"a threshold needs at least {MINIMUM} good images, there are {len(scores)}: give more")
    if not (np.isfinite(scores).all() and np.isfinite(maxima).all()):
        raise DataError("a score of a good image is not a finite number: the network is damaged, build it again")
    usual, usual_maxima, outliers = without_outliers(scores, maxima, parts)
    numbers = parts_without(parts, outliers)
    counted = len(set(numbers)) if numbers else len(usual)
    promised = can_promise(counted, false_alarm_rate)
    aimed = false_alarm_rate if promised or extrapolate else least_rate(counted)
    image, tail_interval = _bound(usual, aimed, numbers)
    pixel, _ = _bound(usual_maxima, aimed, numbers if len(numbers) == len(usual_maxima) else ())
    return Thresholds(
        image=image,
        image_center=float(np.median(usual)),
        pixel=pixel,
        pixel_center=float(np.median(usual_maxima)) if np.ptp(usual_maxima) > 0 else pixel - 1.0,
        false_alarm_rate=false_alarm_rate,
        images=len(usual),
        interval=_stated(usual, image, margin[0], numbers, promised=promised),
        promised=promised,
        pixel_interval=_stated(usual_maxima, pixel, margin[1], numbers, promised=promised),
        tail_interval=tail_interval,
        outliers=len(outliers),
        aimed_rate=aimed,
        parts=0 if counted == len(usual) else counted,
    )


def without_outliers(
    scores: Sequence[float], maxima: Sequence[float], parts: Sequence[int] = ()
) -> tuple[Array, Array, list[int]]:
    """Scores and maxima of the good images where both belong to the tail of the others', and the indices of the rest,
    those with the largest scores first."""
    alike = len(maxima) == len(scores)
    found = list(dict.fromkeys([*find_outliers(scores, parts), *find_outliers(maxima, parts)])) if alike else []
    usual, usual_maxima = (np.delete(np.asarray(values, np.float64), found) for values in (scores, maxima))
    return usual, usual_maxima, found


def parts_without(parts: Sequence[int], outliers: Sequence[int]) -> list[int]:
    """The parts' numbers of the images that are no outliers; none where no parts are told."""
    gone = set(outliers)
    return [number for index, number in enumerate(parts) if index not in gone]


def can_promise(images: int, false_alarm_rate: float) -> bool:
    """Whether the largest of that many scores already is a threshold with the asked-for expected rate."""
    return least_rate(images) <= false_alarm_rate * (1 + 1e-9)


def least_rate(images: int) -> float:
    """The least expected false-alarm rate that so many good images can promise: how often a new part exceeds them all.
    At most 0.5, the largest rate that may be asked for."""
    return min(0.5, 1 / (images + 1))


def interval_at(scores: Array, threshold: float, margin: float = 0.0, parts: Sequence[int] = ()) -> tuple[float, float]:
    """95 % interval of the false-alarm rate of a threshold, by counting how many of the scores lie above it, or of the
    different parts.

    Scores that may be off by `margin` are counted as if they were all lower for the lower end, and all higher for the
    upper end. So is a part of which some images lie above.
    """
    shares = share_of_part(parts, len(scores))
    fewest, most = (float(shares[scores > threshold + shift].sum()) for shift in (margin, -margin))
    counted = round(float(shares.sum()))
    return rate_interval(counted, math.floor(fewest + 1e-9))[0], rate_interval(counted, math.ceil(most - 1e-9))[1]


def _stated(
    scores: Array, threshold: float, margin: float, parts: Sequence[int], *, promised: bool
) -> tuple[float, float]:
    """The interval to state. Of few images the statistics without a fold are worse than those of all, so that their
    scores are rather too high: then it begins at 0."""
    low, high = interval_at(scores, threshold, margin, parts if len(parts) == len(scores) else ())
    return (low if promised else 0.0), high


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
        text = f"the threshold was chosen by a person; by {_images(thresholds)} {expect}"
    elif thresholds.promised:
        text = f"the threshold is set for {asked:.2%} false alarms on {_images(thresholds)}: {expect}"
    else:
        text = f"{_what_few_promise(thresholds)}: {expect}"
        if thresholds.tail_interval is not None:
            text += ", {:.2%} to {:.1%} by the tail of their scores".format(*thresholds.tail_interval)
    if thresholds.outliers:
        found = plural(thresholds.outliers, "image with an outlying score", "images with outlying scores")
        text += f"; {found} {are(thresholds.outliers)} not counted: good parts?"
    return text


def _images(thresholds: Thresholds) -> str:
    """How many good images a threshold rests on, and of how many different parts where these are fewer."""
    images = plural(thresholds.images, "good image")
    return f"{images} of about {plural(thresholds.parts, 'different part')}" if thresholds.parts else images


def _what_few_promise(thresholds: Thresholds) -> str:
    """That there are too few good images for the rate asked for, and for which one the threshold is set."""
    asked = thresholds.false_alarm_rate
    needed, least = math.ceil(1 / asked - 1e-9) - 1, least_rate(thresholds.counted)
    few = f"{_images(thresholds)} are too few to promise {asked:.2%} false alarms ({needed} are needed)"
    if thresholds.aimed_rate > asked * (1 + 1e-9):
        return f"{few}, so the threshold is set for {least:.1%}, the least they can promise"
    return (
        f"{few}, and {least:.1%} is the least they can promise; the threshold is extrapolated to {asked:.2%} from the "
        "tail of their scores"
    )


def _bound(values: Array, rate: float, parts: Sequence[int]) -> tuple[float, tuple[float, float] | None]:
    """The threshold of that rate for one kind of value, and the tail's interval of its rate where it lies in that."""
    order = np.argsort(values)
    ordered, tail = values[order], fit_tail(values, parts)
    below = np.cumsum(share_of_part(parts, len(values))[order])  # parts up to each value

    def least(count: float) -> float:
        """The least value up to which so many parts lie."""
        return float(ordered[min(int(np.searchsorted(below, count - 1e-9)), len(ordered) - 1)])

    if rate >= tail.share:
        return _above(least(max(1, math.ceil((tail.images + 1) * (1 - rate) - 1e-9))), ordered), None
    threshold = _above(max(tail.quantile(rate), least(tail.images - _most_above(tail.images, rate))), ordered)
    return threshold, tail.interval(threshold, CONFIDENCE)


def _most_above(images: int, rate: float) -> int:
    """How many of so many scores may lie above a threshold before they contradict that rate."""
    above = math.floor(rate * images)
    while above + 1 < images and rate_interval(images, above + 1)[0] <= rate:
        above += 1
    return above


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
