"""Metrics over a whole test side, exact, in numpy. Higher scores are stranger; label True is anomalous.

Every metric is a reading of one `Curve`: how many good and how much anomalous weight lie above and at each
score that an anomalous item has. Good-only scores in between change no area, so that is all there is to keep.
Pixel metrics gather in `PixelScores`, which holds all pixels until there are too many and counts in bins from
then on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgead.errors import DataError
from edgead.types import MapF32, Mask

F64 = NDArray[np.float64]
Scores = NDArray[np.floating[Any]]

FPR_LIMIT = 0.3  # AUPRO's, as the official evaluation has it
EXACT_PIXELS = 2**24  # 256 maps of 256 x 256; 64 MiB of scores
BINS = 2**17  # at least half of them lie between the smallest and the largest score


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


def pixel_auroc(pairs: Iterable[tuple[MapF32, Mask]]) -> float:
    """AUROC over the pixels of all maps (H, W) and masks (H, W) pooled. Raises DataError."""
    return PixelScores.of(pairs).auroc()


def aupro(pairs: Iterable[tuple[MapF32, Mask]], limit: float = FPR_LIMIT) -> float:
    """Area under the per-region overlap up to a false-positive rate, 1 for perfect maps. Raises DataError."""
    return PixelScores.of(pairs).aupro(limit)


class PixelScores:
    """Maps and masks of one test side, gathered one by one; any metric may be read at any time.

    Up to `exact` pixels the metrics are exact. Beyond, scores are counted in BINS equal bins between the
    smallest and the largest seen, and memory stops growing.
    """

    def __init__(self, exact: int = EXACT_PIXELS) -> None:
        self._exact = exact
        self._count = 0
        self._good: list[Scores] = []
        self._anomalous: list[Scores] = []
        self._weights: list[F64] = []
        self._bins: _Bins | None = None

    @classmethod
    def of(cls, pairs: Iterable[tuple[MapF32, Mask]]) -> PixelScores:
        pixels = cls()
        for anomaly_map, mask in pairs:
            pixels.add(anomaly_map, mask)
        return pixels

    def add(self, anomaly_map: MapF32, mask: Mask) -> None:
        """Take in one map (H, W) with its mask (H, W), True where defect. Raises DataError for unequal shapes."""
        if anomaly_map.shape != mask.shape:
            raise DataError(f"a map of {anomaly_map.shape} cannot be compared with a mask of {mask.shape}")
        _require_finite(anomaly_map)
        mask = mask.astype(np.bool_)
        self._good.append(anomaly_map[~mask])
        self._anomalous.append(anomaly_map[mask])
        self._weights.append(region_weights(mask)[mask])
        self._count += mask.size
        if self._count > self._exact:
            self._fold()

    def auroc(self) -> float:
        return self._curve().auroc()

    def aupro(self, limit: float = FPR_LIMIT) -> float:
        """The per-region overlap's area up to a false-positive rate of `limit`; regions touch at corners too."""
        return self._curve().area(limit)

    def average_precision(self) -> float:
        return self._curve().average_precision()

    def f1_max(self) -> Best:
        return self._curve().f1_max()

    def _fold(self) -> None:
        """Move what is held into the bins, image by image."""
        held = zip(self._good, self._anomalous, self._weights, strict=True)
        self._good, self._anomalous, self._weights = [], [], []
        for good, anomalous, weights in held:
            low = float(min(part.min() for part in (good, anomalous) if part.size))
            high = float(max(part.max() for part in (good, anomalous) if part.size))
            if self._bins is None:
                self._bins = _Bins(low, high)
            self._bins.cover(low, high)
            self._bins.count(good, anomalous, weights)

    def _curve(self) -> Curve:
        return self._bins.curve() if self._bins else _curve(*self._held())

    def _held(self) -> tuple[Scores, Scores, F64]:
        """Scores of good pixels, of anomalous pixels, and the weights of the latter."""
        if not self._good:
            return np.empty(0), np.empty(0), np.empty(0)
        return np.concatenate(self._good), np.concatenate(self._anomalous), np.concatenate(self._weights)


class _Bins:
    """Counts of good and anomalous pixels, and the weight of the latter, in equal bins that grow by doubling."""

    def __init__(self, low: float, high: float) -> None:
        self.low = low
        self.width = max(high - low, abs(low) * 1e-9, 1e-30) / BINS
        self.counts = np.zeros((3, BINS))  # good, anomalous, weight

    def cover(self, low: float, high: float) -> None:
        """Double the range, merging neighbours, until both scores lie in it."""
        while low < self.low or high > self.low + BINS * self.width:
            merged = self.counts.reshape(3, BINS // 2, 2).sum(axis=2)
            empty = np.zeros_like(merged)
            if low < self.low:
                self.low -= BINS * self.width
                self.counts = np.concatenate([empty, merged], axis=1)
            else:
                self.counts = np.concatenate([merged, empty], axis=1)
            self.width *= 2

    def count(self, good: Scores, anomalous: Scores, weights: F64) -> None:
        places = [self._place(good), self._place(anomalous), self._place(anomalous)]
        for row, (place, weight) in enumerate(zip(places, (None, None, weights), strict=True)):
            self.counts[row] += np.bincount(place, weight, minlength=BINS)

    def _place(self, scores: Scores) -> NDArray[np.int64]:
        places = (np.asarray(scores, np.float64) - self.low) / self.width
        return np.clip(places.astype(np.int64), 0, BINS - 1)

    def curve(self) -> Curve:
        good, anomalous, weight = np.cumsum(self.counts[:, ::-1], axis=1)
        _require_both(anomalous[-1], good[-1])
        used = np.flatnonzero(self.counts[1, ::-1])
        edges = np.asarray(self.low + self.width * np.arange(BINS)[::-1], np.float64)  # the lower ones
        above = np.concatenate([[0.0], good])[used]
        return Curve(edges[used], above, good[used], anomalous[used], weight[used], float(good[-1]))


def region_weights(mask: Mask) -> F64:
    """For each pixel of `mask` (H, W), one over the size of its 8-connected region; 0 outside."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels.ravel(), minlength=count).astype(np.float64)
    shares = 1.0 / np.maximum(sizes, 1.0)
    shares[0] = 0.0
    return np.asarray(shares[labels])


def rate_interval(events: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval for the rate behind `events` out of `trials`; (0, 1) for no trials."""
    if not 0 <= events <= trials:
        raise ValueError(f"{events} events cannot come from {trials} trials")
    tail = (1 - confidence) / 2
    low = 0.0 if events == 0 else _rate_at(events - 1, trials, 1 - tail)
    high = 1.0 if events == trials else _rate_at(events, trials, tail)
    return low, high


def _rate_at(events: int, trials: int, probability: float) -> float:
    """The rate at which at most `events` of `trials` have that probability, by bisection."""
    successes = np.arange(events + 1)
    ways = np.array([math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in successes])
    low, high = 0.0, 1.0
    for _ in range(60):
        rate = (low + high) / 2
        at_most = np.exp(ways + successes * math.log(rate) + (trials - successes) * math.log1p(-rate)).sum()
        low, high = (rate, high) if at_most > probability else (low, rate)
    return (low + high) / 2


def _image_curve(scores: ArrayLike, labels: ArrayLike) -> Curve:
    values, is_anomalous = np.asarray(scores, np.float64), np.asarray(labels).astype(np.bool_)
    if values.ndim != 1 or values.shape != is_anomalous.shape:
        raise DataError(f"scores of {values.shape} do not go with labels of {is_anomalous.shape}")
    _require_finite(values)
    anomalous = values[is_anomalous]
    return _curve(values[~is_anomalous], anomalous, np.ones(len(anomalous)))


def _curve(good: Scores, anomalous: Scores, weights: F64) -> Curve:
    _require_both(len(anomalous), len(good))
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


def _require_both(anomalous: float, good: float) -> None:
    if not (anomalous and good):
        raise DataError(f"{good:.0f} good and {anomalous:.0f} anomalous: a metric needs both")


def _require_finite(scores: Scores) -> None:
    if not np.isfinite(scores).all():
        raise DataError("a score is not a finite number")
