"""Computes curves over all thresholds, exactly, in numpy. Higher scores are stranger; label True is anomalous.

Every metric is a reading of one `Curve`: how many good and how much anomalous weight lie above and at each
score that an anomalous item has. Good-only scores in between change no area, so that is all there is to keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgead.errors import DataError

F64 = NDArray[np.float64]
Scores = NDArray[np.floating[Any]]


class Best(NamedTuple):
    """The best F1 any threshold gives, and the largest such threshold: positive is `score >= threshold`."""

    value: float
    threshold: float


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """Counts at the distinct scores of anomalous items, highest score first, (K,) each."""

    thresholds: F64
    good_above: F64  # good items with a score > threshold
    good_at: F64  # good items with a score >= threshold
    hits: F64  # anomalous items with a score >= threshold
    coverage: F64  # the same, each item counting its weight
    good: float  # all good items

    def auroc(self) -> float:
        """The probability that an anomalous item outranks a good one, ties counting half."""
        items = np.diff(self.hits, prepend=0.0)
        outranked = self.good - (self.good_above + self.good_at) / 2
        return float(items @ outranked / (self.hits[-1] * self.good))

    def average_precision(self) -> float:
        """The mean over anomalous items of the precision at their score."""
        items = np.diff(self.hits, prepend=0.0)
        return float(items @ (self.hits / (self.hits + self.good_at)) / self.hits[-1])

    def f1_max(self) -> Best:
        """The best of 2PR / (P + R) over all thresholds, the largest threshold of equals."""
        f1 = 2 * self.hits / (self.hits + self.good_at + self.hits[-1])
        best = int(np.argmax(f1))
        return Best(float(f1[best]), float(self.thresholds[best]))

    def area(self, limit: float) -> float:
        """The area under weighted coverage over the false-positive rate from 0 to `limit`, divided by `limit`."""
        weight = np.minimum(self.coverage / self.coverage[-1], 1.0)
        rates = np.stack([self.good_above, self.good_at], axis=1).ravel() / self.good
        heights = np.stack([np.concatenate([[0.0], weight[:-1]]), weight], axis=1).ravel()
        x = np.concatenate([[0.0], rates, [1.0]])
        y = np.concatenate([[0.0], heights, [1.0]])
        inside = int(np.searchsorted(x, limit, side="right"))
        if inside < len(x):
            share = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
            y_limit = y[inside - 1] + share * (y[inside] - y[inside - 1])
            x, y = np.append(x[:inside], limit), np.append(y[:inside], y_limit)
        return float(np.sum(np.diff(x) * (y[1:] + y[:-1])) / 2 / limit)


def image_auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Area under the ROC curve of image scores (N,) with labels (N,), True anomalous. Raises DataError."""
    return _image_curve(scores, labels).auroc()


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Average precision of scores (N,) with labels (N,), without interpolation. Raises DataError."""
    return _image_curve(scores, labels).average_precision()


def f1_max(scores: ArrayLike, labels: ArrayLike) -> Best:
    """The best F1 of scores (N,) with labels (N,): an oracle's, as they choose the threshold. Raises DataError."""
    return _image_curve(scores, labels).f1_max()


def _image_curve(scores: ArrayLike, labels: ArrayLike) -> Curve:
    values, is_anomalous = np.asarray(scores, np.float64), np.asarray(labels).astype(np.bool_)
    if values.ndim != 1 or values.shape != is_anomalous.shape:
        raise DataError(f"scores of {values.shape} do not go with labels of {is_anomalous.shape}")
    require_finite(values)
    anomalous = values[is_anomalous]
    return _curve(values[~is_anomalous], anomalous, np.ones(len(anomalous)))


def _curve(good: Scores, anomalous: Scores, weights: F64) -> Curve:
    require_both(len(anomalous), len(good))
    good = np.sort(good)
    order = np.argsort(anomalous, kind="stable")[::-1]
    ranked = anomalous[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)  # of each run of equal scores
    thresholds = ranked[last]
    return Curve(
        thresholds.astype(np.float64),
        (len(good) - np.searchsorted(good, thresholds, side="right")).astype(np.float64),
        (len(good) - np.searchsorted(good, thresholds, side="left")).astype(np.float64),
        (last + 1).astype(np.float64),
        np.cumsum(weights[order])[last],
        float(len(good)),
    )


def require_both(anomalous: float, good: float) -> None:
    """Raise DataError unless there are good and anomalous items."""
    if not (anomalous and good):
        raise DataError(f"{good:.0f} good and {anomalous:.0f} anomalous: a metric needs both")


def require_finite(scores: Scores) -> None:
    """Raise DataError for a score that is not a number, or infinite."""
    if not np.isfinite(scores).all():
        raise DataError("a score is not a finite number")
