"""Estimates scores of good images as new parts would have them: out of fold, without what training made of them.

What is fitted after the training (statistics, memories, scales) is fitted again without each fold's images, and the
fold's images are judged with that: cross-conformal prediction (Vovk, Cross-conformal predictors, 2015), the plain form
of CV+ (Barber et al., Predictive inference with the jackknife+, 2021). The networks themselves are trained once. What
an image gains from having been trained on is measured between images that were and images that were not, and added:
a shift and a stretch, both damped by their own uncertainty, neither below nothing.

What holds: scores of images kept from the training are exchangeable with those of new parts up to the difference of
one fold in the statistics, so that a rate counted in them obeys the Beta law of order statistics. Scores of images
trained on obey it as far as a shift and a stretch describe what training did to them; `margin` is the uncertainty of
that, and an interval that counts within it on both sides covers the true rate as often as it says
(`benchmarks/threshold_simulation.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
BLOCK = 8  # neighbours in the order of their names, which may show one part, that stay in one fold
MINIMUM = 4  # images of each kind without which nothing is corrected
UPPER = (0.5, 0.9)  # quantiles between which the spread is taken: what lies above may be strange
NORMAL_SPREAD = 0.557  # mean distance from the median between them under a normal law, in standard deviations
MEDIAN_ERROR = 1.2533  # standard error of a median, in standard deviations times n^-1/2
SPREAD_ERROR = 1.6  # that of the logarithm of a spread
WIDE = 1.5  # standard errors; fewer than the 1.96 of 95 %, since counting leaves out its own 2.5 % at either end
FAR = 2.0  # standard deviations from the typical score at which a threshold is expected
MOST_STRETCH = 3.0

Array = NDArray[np.float64]


def assign_folds(images: int, folds: int = FOLDS, groups: Sequence[int] = ()) -> NDArray[np.intp]:
    """The fold, 0..folds - 1, of each image: short runs of neighbours, dealt out in turn, so that every fold holds
    images from everywhere in the list. With a number of the `groups` that show one part for each image, a group is in
    one fold, and folds, no more than groups, have about as many images each."""
    if not len(groups):
        block = max(1, min(BLOCK, images // (2 * folds)))
        return np.asarray((np.arange(images) // block) % folds, np.intp)
    _, group, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    held, fold = np.zeros(min(folds, len(sizes))), np.empty(len(sizes), np.intp)
    for largest in np.argsort(-sizes, kind="stable"):
        fold[largest] = held.argmin()
        held[fold[largest]] += sizes[largest]
    return fold[group]


@dataclass(frozen=True, slots=True, eq=False)
class Corrected:
    """Scores of good images as if none had been trained on, in the order given."""

    scores: Array
    shift: float  # what the typical score of a trained-on image gained
    stretch: float  # by how much the spread of the others is wider, at least 1
    margin: float  # what scores at a threshold may be off by: `WIDE` standard errors of the correction


def correct_optimism(scores: Sequence[float] | Array, seen: Sequence[bool] | NDArray[np.bool_]) -> Corrected:
    """Out-of-fold scores, those of images that were trained on (`seen`) corrected to the others' center and spread.

    Center and spread are the median and the interquartile range, so that a few strange images move neither. With fewer
    than `MINIMUM` images on either side nothing is corrected.
    """
    values = np.asarray(scores, np.float64)
    mask = np.asarray(seen, np.bool_)
    known, new = values[mask], values[~mask]
    if len(known) < MINIMUM or len(new) < MINIMUM:
        return Corrected(values.copy(), 0.0, 1.0, 0.0)
    center, spread = float(np.median(known)), max(_upper_deviation(values), 1e-12)
    parts = float(np.sqrt(1 / len(known) + 1 / len(new)))
    shift = _damped(float(np.median(new)) - center, MEDIAN_ERROR * parts * spread)
    ratio = max(_upper_deviation(new), 1e-3 * spread) / max(_upper_deviation(known), 1e-3 * spread)
    stretch = float(np.exp(min(_damped(float(np.log(ratio)), SPREAD_ERROR * parts), np.log(MOST_STRETCH))))
    corrected = values.copy()
    corrected[mask] = center + shift + stretch * (known - center)
    error = np.hypot(MEDIAN_ERROR, FAR * SPREAD_ERROR) * parts * spread
    return Corrected(corrected, shift, stretch, WIDE * float(error) * len(known) / len(values))


def carry_over(scores: Sequence[float], before: Sequence[float], after: Sequence[float]) -> tuple[Array, float]:
    """Scores of one network as another gives them, by center and spread of the same images in both (`before` and
    `after`, in pairs), and by how much a difference of scores grows."""
    first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    growth = float(second.std() / first.std()) if len(first) > 1 and first.std() > 0 and second.std() > 0 else 1.0
    return second.mean() + growth * (np.asarray(scores, np.float64) - first.mean()), growth


def _upper_deviation(values: Array) -> float:
    """The standard deviation that the upper half tells: its mean distance from the median, without the largest."""
    low, high = np.quantile(values, UPPER)
    inside = values[(values >= low) & (values <= high)]
    return float(inside.mean() - low) / NORMAL_SPREAD


def _damped(difference: float, error: float) -> float:
    """A difference as far as it stands out of its error; never below 0, since nothing is worse for being known."""
    return difference**3 / (difference**2 + error**2) if difference > 0 else 0.0
