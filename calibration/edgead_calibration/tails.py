"""Fits the upper tail of good parts' scores: a generalized Pareto law of the excesses over a high score.

Peaks over threshold (Coles, An Introduction to Statistical Modeling of Extreme Values, 2001, chapter 4): above a high
score u the excess x follows P(X > u + x | X > u) = (1 + shape x / scale)^(-1 / shape), whatever the law below u. Few
good images leave shape and scale uncertain, so neither is chosen: their posterior on a grid is kept, under a prior of
the shape that holds light to heavy tails and a scale-free prior of the scale, with a likelihood of bounded excesses.
The expected rate at a score is the posterior's mean, its quantiles are the interval, and a threshold for a rate is
where the rate's median lies.

Scores of one part are no news of others. Each part counts once, and each of its scores as a share of that: a composite
likelihood whose weights sum to the number of parts (Ribatet, Cooley and Davison, Bayesian inference from composite
likelihoods, 2012).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError

Array = NDArray[np.float64]

MINIMUM = 3  # scores below which no tail can be fitted
LEAST, SHARE, MOST = 20, 0.1, 0.5  # excesses: at least so many, or that share of the scores, but at most half of them
SHAPE_PRIOR = (0.0, 0.15)  # mean and deviation: an exponential tail is 0, a normal law's about -0.2, a heavy one 0.3
OUTLIER = 0.05  # probability that the largest of as many good parts reaches a score called an outlier
MOST_OUTLIERS = 0.125  # share of the images that may be called outliers
GAP = 0.5  # of the mean excess: nearer to the next smaller score than this no score is an outlier
EXCESS = 1e-3  # probability that good parts alone put so many scores above the law of those below
BODY = 0.5  # share of the scores below that tell this law: their upper half
CUTS = 16  # numbers of scores that are looked at as an excess
_POINTS = 64  # at which a law is compared with scores

SHAPES = np.linspace(-0.425, 0.875, 27)  # none is exactly 0
_SCALES = np.exp(np.linspace(np.log(0.15), np.log(6.0), 32))  # in units of the mean excess


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """A fitted tail. Rates are the shares of good parts that score above a value."""

    start: float  # the score u that the excesses are counted from
    unit: float  # the mean excess, in which scales are measured
    share: float  # of good parts above `start`, as expected from (count + 1) / (images + 1)
    count: float  # parts above `start`
    images: int  # parts in all
    weights: Array  # (shapes, scales), the posterior; sums to 1

    @property
    def shape(self) -> float:
        """The posterior mean of the shape: below 0 the tail ends, above 0 it is heavier than exponential."""
        return float(self.weights.sum(axis=1) @ SHAPES)

    def rate(self, score: float) -> float:
        """The expected rate above a score that is at least `start`."""
        return self.share * float((self.weights * _survival((score - self.start) / self.unit)).sum())

    def median(self, score: float) -> float:
        """The rate above a score that is as likely too small as too large."""
        return self._rates(score, [0.5])[0]

    def interval(self, score: float, confidence: float = 0.95) -> tuple[float, float]:
        """The central interval of the rate above a score that is at least `start`."""
        low, high = self._rates(score, [(1 - confidence) / 2, (1 + confidence) / 2])
        return low, high

    def quantile(self, rate: float) -> float:
        """The score above which the rate is as likely larger as smaller than `rate`; `start` where that is no smaller
        than `share`. The median and not the mean: of few scores the mean is ruled by the heaviest tails that they do
        not exclude, and good parts whose tail is light would hide defects behind it."""
        low, high = 0.0, 1.0
        while self.median(self.start + high * self.unit) > rate and high < 1e6:
            low, high = high, 2 * high
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self.median(self.start + middle * self.unit) > rate else (low, middle)
        return self.start + high * self.unit

    def _rates(self, score: float, shares: Sequence[float]) -> list[float]:
        """The posterior's quantiles of the rate above a score."""
        rates = self.share * _survival((score - self.start) / self.unit).ravel()
        order = np.argsort(rates)
        ends = np.searchsorted(np.cumsum(self.weights.ravel()[order]), shares).clip(max=len(rates) - 1)
        return [float(rate) for rate in rates[order][ends]]


def fit_tail(scores: Sequence[float] | Array, parts: Sequence[int] = ()) -> Tail:
    """The tail of finite scores, of at least `MINIMUM` parts; raises DataError for fewer. `parts` numbers the part that
    each is of; without it each is of another."""
    values = np.asarray(scores, np.float64)
    n = len(set(parts)) if len(parts) else len(values)
    if n < MINIMUM:
        raise DataError(f"a tail needs at least {MINIMUM} scores of good images, there are {n}: give more good images")
    order = np.argsort(-values, kind="stable")
    ordered, weights = values[order], share_of_part(parts, len(values))[order]
    most = max(1, min(int(MOST * n), max(LEAST, round(SHARE * n))))
    taken = min(int(np.searchsorted(np.cumsum(weights), most - 1e-9)) + 1, len(ordered) - 1)
    start, weights = float(ordered[taken]), weights[:taken]
    count = float(weights.sum())
    excesses = ordered[:taken] - start
    unit = float(excesses @ weights) / count
    if unit <= 1e-12 * max(1.0, abs(start)):  # all alike
        unit, excesses = 1e-9 * max(1.0, abs(start)), np.ones(taken)
    else:
        excesses = excesses / unit
    return Tail(start, unit, (count + 1) / (n + 1), count, n, _posterior(excesses, weights))


def share_of_part(parts: Sequence[int], scores: int) -> Array:
    """What each score counts, (scores,): 1 over the number of scores of its part; 1 where no parts are told."""
    if not len(parts):
        return np.ones(scores)
    _, number, count = np.unique(np.asarray(parts), return_inverse=True, return_counts=True)
    return np.asarray(1 / count[number], np.float64)


def find_outliers(scores: Sequence[float] | Array, parts: Sequence[int] = (), *, by_number: bool = True) -> list[int]:
    """Indices of the scores that do not belong to the tail of the others, largest first; of an eighth of the parts at
    most. `parts` is as `fit_tail` takes it.

    From many to few, the largest scores are set aside together and the smallest of them is held against the tail of
    the rest: they are outliers if the largest of as many good parts would reach it with a probability below `OUTLIER`.
    Setting them aside together keeps several bad parts from hiding one another.

    Where none are by the expected probability, several are by its median: the expected one is ruled by the heaviest
    tails that few scores do not exclude, and no such tail leaves a gap below several of its largest.

    Where no gap tells them, their number may (`_excess`): bad parts of all degrees leave none. That is not looked at
    without `by_number`, of scores of which the highest were raised after they had been picked: there are always too
    many of them.
    """
    values, numbers = np.asarray(scores, np.float64), np.asarray(parts)
    n = len(set(parts)) if len(parts) else len(values)
    order = np.argsort(-values, kind="stable")
    ordered, shares = values[order], np.cumsum(share_of_part(parts, len(values))[order])
    if n < 2 * MINIMUM:
        return []
    most = max(1, int(np.searchsorted(shares, MOST_OUTLIERS * n + 1e-9, side="right")))
    several = 0
    for aside in range(most, 0, -1):
        if not _is_apart(ordered, aside):
            continue
        left = numbers[order[aside:]].tolist() if len(numbers) else ()
        tail, smallest = fit_tail(ordered[aside:], left), float(ordered[aside - 1])
        if n * tail.rate(smallest) < OUTLIER:
            return [int(index) for index in order[:aside]]
        if aside > 1 and n * tail.median(smallest) < OUTLIER:
            several = max(several, aside)
    if not several and by_number:
        several = _excess(ordered, share_of_part(parts, len(values))[order], most)
    return [int(index) for index in order[:several]]


def _excess(ordered: Array, weights: Array, most: int) -> int:
    """How many of the largest of descending scores are more than the law of the others allows; 0 where that
    may be chance.

    The law is that of the upper half of the scores below a cut, fitted to them alone: a generalized Pareto law that is
    truncated there. It says how many good parts lie above the cut. Where their number would reach what was seen with a
    probability below `EXCESS`, so many are an excess that the share of bad ones among them is as large as it gets:
    another score is taken in while it is more likely bad than good.
    """
    counted, found, gained = np.cumsum(weights), 0, 0.0
    for cut in sorted({max(1, round(most * step / CUTS)) for step in range(1, CUTS + 1)}):
        law = _truncated(ordered[cut:], weights[cut:])
        if law is None:
            continue
        below, rates, posterior = law
        above = float(counted[cut - 1])
        expected = below * float((posterior * rates / (1 - rates)).sum())
        if above - 2 * expected > gained and _reached(above, below, rates, posterior) < EXCESS:
            found, gained = cut, above - 2 * expected
    return found if found < most else 0  # a share beyond what may be called strange is another kind of part


def _truncated(ordered: Array, weights: Array) -> tuple[float, Array, Array] | None:
    """The law of the upper half of descending scores, of which none lies above the first: how many parts they are, the
    rate of that half above the first for every shape and scale, and the posterior. None of scores that are all alike.
    """
    taken = min(int(np.searchsorted(np.cumsum(weights), BODY * weights.sum())) + 1, len(ordered) - 1)
    excesses, counts = ordered[:taken] - ordered[taken], weights[:taken]
    unit = float(excesses @ counts) / float(counts.sum()) if taken else 0.0
    if unit <= 1e-12 * max(1.0, abs(float(ordered[0]))):
        return None
    starts = np.unique(np.linspace(0, taken, _POINTS, endpoint=False).astype(np.intp))
    masses = np.add.reduceat(counts, starts)
    points = np.add.reduceat(excesses * counts, starts) / masses / unit
    rates = np.clip(_survival(float(excesses[0]) / unit), 1e-12, 1 - 1e-9)
    posterior = _posterior(points, masses, -masses.sum() * np.log1p(-rates))
    return float(counts.sum()), rates, posterior


def _reached(above: float, below: float, rates: Array, posterior: Array) -> float:
    """The probability that at least so many parts lie above a value while `below` lie under it (negative binomial)."""
    fewer = np.arange(math.floor(above))
    ways = np.array([math.lgamma(below + k) - math.lgamma(below) - math.lgamma(k + 1) for k in fewer])
    logs = ways + fewer * np.log(rates)[..., None] + below * np.log1p(-rates)[..., None]
    return float((posterior * (1 - np.minimum(1, np.exp(logs).sum(axis=2)))).sum())


def _is_apart(ordered: Array, aside: int) -> bool:
    """Whether a gap stands below the `aside` largest of descending scores: a cheap test before the tail is fitted."""
    rest = ordered[aside:]
    count = max(1, min(int(MOST * len(rest)), LEAST))
    return bool(ordered[aside - 1] - rest[0] > GAP * (rest[:count].mean() - rest[min(count, len(rest) - 1)]))


def _survival(excess: float) -> Array:
    """P(X > excess) for every shape and scale, (shapes, scales); `excess` is in units of the mean excess."""
    base = 1 + SHAPES[:, None] * max(0.0, excess) / _SCALES[None, :]
    return np.asarray(np.where(base > 0, np.maximum(base, 1e-300) ** (-1 / SHAPES[:, None]), 0.0))


def _posterior(excesses: Array, counts: Array, further: Array | float = 0.0) -> Array:
    """The posterior weights (shapes, scales) for excesses in units of their mean, which count so much each; `further`
    is added to their log-likelihood."""
    base = 1 + SHAPES[:, None, None] * excesses[None, None, :] / _SCALES[None, :, None]
    inside = (base > 0).all(axis=2)
    logs = np.log(np.maximum(base, 1e-300)) @ counts
    mean, deviation = SHAPE_PRIOR
    log_prior = -0.5 * ((SHAPES - mean) / deviation) ** 2
    log_weights = log_prior[:, None] - counts.sum() * np.log(_SCALES) - (1 + 1 / SHAPES[:, None]) * logs
    log_weights = log_weights + further
    log_weights = np.where(inside, log_weights, -np.inf)
    weights = np.exp(log_weights - log_weights.max())
    return np.asarray(weights / weights.sum())
