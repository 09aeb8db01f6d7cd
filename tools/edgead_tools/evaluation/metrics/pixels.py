"""Computes pixel metrics of a test set of any size: exact while that fits into memory, close to exact from then on.

Pixels are counted by score. A float32's bits, read as a number, are in the order of the floats, so the table of counts
has a row for every score that occurs; where there are too many of them, the last bit of all scores is dropped and
neighbors share a row. That keeps the scores' relative precision whatever their range and whatever their outliers, as
bins of equal width would not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError
from edgead.types import MapF32, Mask
from edgead_tools.evaluation.metrics.curve import F64, Best, Curve, require_both, require_finite

FPR_LIMIT = 0.3  # AUPRO's, as MVTec's evaluation has it
SPRO_LIMIT = 0.05  # the limit at which papers quote AU-sPRO
CELLS = 2**23  # numbers in the table of counts: 64 MiB
PENDING = 2**22  # pixels that are counted together

Keys = NDArray[np.uint32]


def pixel_auroc(pairs: Iterable[tuple[MapF32, Mask]]) -> float:
    """AUROC over the pixels of all maps (H, W) and masks (H, W) pooled. Raises DataError."""
    return PixelScores.of(pairs).curve().auroc()


def aupro(pairs: Iterable[tuple[MapF32, Mask]], limit: float = FPR_LIMIT) -> float:
    """Area under the per-region overlap up to a false-positive rate, 1 for perfect maps. Raises DataError."""
    return PixelScores.of(pairs).curve().area(limit)


class PixelScores:
    """Maps and masks of one test side, gathered image by image; any metric may be read at any time."""

    def __init__(self, cells: int = CELLS) -> None:
        self._cells = cells
        self._kinds: dict[str, int] = {}  # to the first of the kind's columns: good pixels, anomalous ones, weights
        self._keys = np.empty(0, np.uint32)  # ascending
        self._counts: F64 = np.zeros((1, 0))  # (columns, keys); the first column is of good images
        self._shift = 0  # bits dropped
        self._waiting: list[tuple[int, Keys, F64 | None]] = []  # column, keys, weights of a defect's pixels
        self._pixels = 0  # that wait

    @classmethod
    def of(cls, pairs: Iterable[tuple[MapF32, Mask]]) -> PixelScores:
        pixels = cls()
        for anomaly_map, mask in pairs:
            pixels.add(anomaly_map, mask)
        return pixels

    def add(self, anomaly_map: MapF32, mask: Mask, kind: str | None = None, weights: F64 | None = None) -> None:
        """Take in one map (H, W) with its mask (H, W), True where defect.

        `kind` names the image's defect; an image of none belongs to every kind. `weights` (H, W) is what a pixel adds
        to the coverage; by default one over its region's size, which makes the curve's area AUPRO. Raises DataError
        for unequal shapes and for scores that are not finite.
        """
        if anomaly_map.shape != mask.shape:
            raise DataError(f"a map of {anomaly_map.shape} cannot be compared with a mask of {mask.shape}")
        require_finite(anomaly_map)
        mask = mask.astype(np.bool_)
        if kind is None and mask.any():
            kind = ""
        column = 0 if kind is None else self._kinds.setdefault(kind, 1 + 3 * len(self._kinds))
        keys = _keys(anomaly_map)
        self._waiting.append((column, keys[~mask], None))
        if mask.any():
            weights = region_weights(mask) if weights is None else weights
            self._waiting.append((column + 1, keys[mask], weights[mask]))
        self._pixels += mask.size
        if self._pixels >= PENDING:
            self._count()

    def curve(self, kinds: Sequence[str] | None = None) -> Curve:
        """The curve of the good images and those of `kinds`, or of all. Raises DataError without both classes."""
        self._count()
        first = self._columns(kinds)
        columns = self._counts[:, ::-1]  # highest score first
        anomalous, weight = (columns[[place + step for place in first]].sum(axis=0) for step in (1, 2))
        good = columns[[0, *first]].sum(axis=0)
        require_both(anomalous.sum(), good.sum())
        used = np.flatnonzero(anomalous)
        good_at = np.cumsum(good)
        thresholds = _scores(self._keys[::-1][used] << np.uint32(self._shift))
        above = good_at[used] - good[used]
        hits, coverage = np.cumsum(anomalous)[used], np.cumsum(weight)[used]
        return Curve(thresholds.astype(np.float64), above, good_at[used], hits, coverage, float(good_at[-1]))

    def has_both(self, kinds: Sequence[str] | None = None) -> bool:
        """Whether there are pixels of defects among the images of `kinds`, or of all, and pixels of none."""
        self._count()
        first = self._columns(kinds)
        defective = self._counts[[place + 1 for place in first]].any()
        return bool(defective and self._counts[[0, *first]].any())

    def _columns(self, kinds: Sequence[str] | None) -> list[int]:
        """The first columns of those kinds that there are; of all where None."""
        return [place for kind, place in self._kinds.items() if kinds is None or kind in kinds]

    def auroc(self) -> float:
        return self.curve().auroc()

    def aupro(self, limit: float = FPR_LIMIT) -> float:
        """The per-region overlap's area up to a false-positive rate of `limit`; regions touch at corners too."""
        return self.curve().area(limit)

    def average_precision(self) -> float:
        return self.curve().average_precision()

    def f1_max(self) -> Best:
        return self.curve().f1_max()

    def _count(self) -> None:
        """Move what waits into the table, dropping bits until it has the size it may have."""
        columns = 1 + 3 * len(self._kinds)
        if not self._waiting:
            return
        tallies = list(_tallied(self._waiting, self._shift))
        keys = _distinct(np.sort(np.concatenate([self._keys, *(found for _, found, _ in tallies)])))
        dropped = 0
        while keys.size * columns > self._cells and keys.size > 1:
            keys, dropped = _distinct(keys >> np.uint32(1)), dropped + 1
        counts = np.zeros((columns, keys.size))
        places = np.searchsorted(keys, self._keys >> np.uint32(dropped))
        for column, old in enumerate(self._counts):
            counts[column] = np.bincount(places, old, keys.size)
        for column, found, added in tallies:
            counts[column] += np.bincount(np.searchsorted(keys, found >> np.uint32(dropped)), added, keys.size)
        self._keys, self._counts, self._shift = keys, counts, self._shift + dropped
        self._waiting, self._pixels = [], 0


def _tallied(waiting: list[tuple[int, Keys, F64 | None]], shift: int) -> Iterable[tuple[int, Keys, F64]]:
    """(column, distinct keys, what they add) of the pixels that wait; a defect's fill the column of weights too."""
    for column in sorted({column for column, *_ in waiting}):
        keys = np.concatenate([found for at, found, _ in waiting if at == column]) >> np.uint32(shift)
        weights = [part for at, _, part in waiting if at == column and part is not None]
        if not weights:
            distinct, counts = np.unique(keys, return_counts=True)
            yield column, distinct, counts.astype(np.float64)
            continue
        distinct, places = np.unique(keys, return_inverse=True)
        yield column, distinct, np.bincount(places).astype(np.float64)
        yield column + 1, distinct, np.asarray(np.bincount(places, np.concatenate(weights)), np.float64)


def _distinct(ascending: Keys) -> Keys:
    """The same without repetitions (np.unique would hash them: eighty times slower than sorting)."""
    return np.asarray(ascending[np.append(True, ascending[1:] != ascending[:-1])[: len(ascending)]])


def _keys(scores: MapF32) -> Keys:
    """Numbers in the order of the scores: a float32's own bits, turned round where it is negative."""
    bits = (np.asarray(scores, np.float32) + np.float32(0)).view(np.uint32)  # the sum has one zero, not two
    return np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))


def _scores(keys: Keys) -> MapF32:
    """The inverse of `_keys`."""
    return np.where(keys >> 31, keys & np.uint32((1 << 31) - 1), ~keys).view(np.float32)


def region_weights(mask: Mask) -> F64:
    """For each pixel of `mask` (H, W), one over the size of its 8-connected region; 0 outside."""
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels.ravel(), minlength=count).astype(np.float64)
    shares = 1.0 / np.maximum(sizes, 1.0)
    shares[0] = 0.0
    return np.asarray(shares[labels])


def saturated_weights(anomaly_map: MapF32, defects: Iterable[tuple[Mask, int]]) -> F64:
    """What each pixel adds to the saturated overlap of the defects (mask (H, W), saturation area in pixels).

    sPRO(t) = min(hits / area, 1) (Bergmann et al., "Beyond Dents and Scratches", IJCV 2022, eq. 1). Whatever t is, the
    pixels that count first are the defect's `area` highest scores: each weighs 1 / area, all others nothing.
    """
    weights = np.zeros(anomaly_map.shape)
    for mask, area in defects:
        places = np.flatnonzero(mask)
        scores = anomaly_map.ravel()[places]
        highest = np.argpartition(scores, len(scores) - area)[len(scores) - area :]
        weights.ravel()[places[highest]] += 1 / area
    return weights
