"""Probability of detection by size, from planted defects that were found or not.

The hit/miss model of MIL-HDBK-1823A (2009, appendix G): the logit of the probability is linear in the logarithm of the
size. The likelihood is taken over a grid of a90, the size found in 90 % of cases, and the slope; what is said with 95 %
confidence are the extremes over the parameters whose likelihood-ratio statistic does not exceed the limit, as Cheng and
Iles (1983) draw bands. That holds as well where small and large defects separate without an overlap, where a slope has
no finite estimate.

A size is not all that decides: faint defects may be missed whatever their size. So there are curves of the faint and of
the strong ones beside those of each kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgead.bundle import Detection, DetectionCurve, Manifest, PlantedDefect
from edgead.errors import DataError

Array = NDArray[np.float64]

MINIMUM = 10  # planted defects without which no curve is fitted
LIMIT = 2.706  # the 90 % quantile of chi squared with one degree of freedom: 95 % on one side
FEW = 15  # defects at which the limit is doubled: of few, likelihood ratios spread wider than chi squared (simulated)
POINTS = 12  # sizes at which a stored curve is given
ALL = "all"  # the name of the curve of every kind together
FAINT = 30.0  # gray levels below which a change is called faint
BEYOND = 1.5  # of the logarithm of the size, past the smallest and the largest that was planted
_LOGIT_90 = float(np.log(9))
_SLOPES = np.geomspace(0.3, 40, 48)  # logits for each factor e of the size


@dataclass(frozen=True, slots=True, eq=False)
class HitMissFit:
    """The likelihood of hits and misses over a grid of a90 and slopes."""

    log_a90: Array  # (A,), rising
    ratio: Array  # (A, S): twice the log-likelihood below the largest
    sizes: tuple[float, float]  # the smallest and the largest that was planted
    limit: float  # of the ratio, within which 95 % confidence takes the parameters

    @property
    def a90(self) -> float | None:
        """The size found in 90 % of cases; None where that is larger than what was planted."""
        return self._size(int(np.unravel_index(np.argmin(self.ratio), self.ratio.shape)[0]))

    @property
    def a90_95(self) -> float | None:
        """The size of which 95 % confidence says that 90 % are found; None where no planted size reaches it."""
        last = int(np.flatnonzero((self.ratio <= self.limit).any(axis=1)).max())
        return self._size(min(last + 1, len(self.log_a90) - 1))  # the next of the grid: never too small a size

    def probability(self, sizes: Array) -> tuple[Array, Array, Array]:
        """The probability of detection at each size, and its lower and upper 95 % limits (each one-sided)."""
        inside = self.ratio <= self.limit
        near = np.argwhere(inside | np.roll(inside, 1, axis=0) | np.roll(inside, -1, axis=0))
        best = np.unravel_index(np.argmin(self.ratio), self.ratio.shape)
        curves = _probability(self.log_a90[near[:, 0], None], _SLOPES[near[:, 1], None], np.log(sizes)[None])
        center = _probability(self.log_a90[best[0]], _SLOPES[best[1]], np.log(sizes))
        return center, curves.min(axis=0), curves.max(axis=0)

    def _size(self, index: int) -> float | None:
        size = float(np.exp(self.log_a90[index]))
        return size if size <= self.sizes[1] * (1 + 1e-9) else None


def fit_hits(sizes: Sequence[float], hits: Sequence[bool]) -> HitMissFit:
    """The fit to planted defects of those sizes (above 0); raises DataError for fewer than `MINIMUM`."""
    if len(sizes) < MINIMUM:
        raise DataError(f"a probability of detection needs at least {MINIMUM} planted defects, there are {len(sizes)}")
    logs, found = np.log(np.asarray(sizes, np.float64)), np.asarray(hits, np.bool_)
    log_a90 = np.linspace(logs.min() - BEYOND, logs.max() + BEYOND, 161)
    signs = np.where(found, -1.0, 1.0)
    likelihood = np.empty((len(log_a90), len(_SLOPES)))
    for index, slope in enumerate(_SLOPES):
        logits = _LOGIT_90 + slope * (logs[None] - log_a90[:, None])
        likelihood[:, index] = -np.logaddexp(0, signs * logits).sum(axis=1)
    ends = float(np.exp(logs.min())), float(np.exp(logs.max()))
    return HitMissFit(log_a90, 2 * (likelihood.max() - likelihood), ends, LIMIT * (1 + FEW / len(logs)))


def detection_at(planted: Sequence[PlantedDefect], frame: tuple[int, int], threshold: float) -> Detection:
    """What of the planted defects a raw image threshold finds, by size: for all together, for faint and for strong
    ones, and for each kind."""
    kinds = list(dict.fromkeys(one.kind for one in planted))
    by_contrast = {
        f"under {FAINT:.0f} gray levels": [one for one in planted if one.contrast < FAINT],
        f"{FAINT:.0f} gray levels or more": [one for one in planted if one.contrast >= FAINT],
    }
    if min(map(len, by_contrast.values())) < MINIMUM:
        by_contrast = {}
    groups = {ALL: list(planted)} | by_contrast | {kind: [one for one in planted if one.kind == kind] for kind in kinds}
    curves = tuple(_curve(kind, group, threshold) for kind, group in groups.items() if len(group) >= MINIMUM)
    return Detection(frame=frame, planted=tuple(planted), curves=curves)


def with_detection(manifest: Manifest) -> Manifest:
    """The manifest whose probability of detection holds for its FP32 network's threshold, as it is now."""
    if manifest.detection is None:
        return manifest
    known, threshold = manifest.detection, manifest.artifact("fp32").thresholds.image
    return msgspec.structs.replace(manifest, detection=detection_at(known.planted, known.frame, threshold))


def _curve(kind: str, planted: Sequence[PlantedDefect], threshold: float) -> DetectionCurve:
    fit = fit_hits([one.size for one in planted], [one.score > threshold for one in planted])
    sizes = np.geomspace(*fit.sizes, POINTS)
    found, low, high = (tuple(values.round(4).tolist()) for values in fit.probability(sizes))
    return DetectionCurve(
        kind=kind,
        planted=len(planted),
        found=sum(one.score > threshold for one in planted),
        a90=fit.a90,
        a90_95=fit.a90_95,
        sizes=tuple(sizes.round(6).tolist()),
        probability=found,
        low=low,
        high=high,
    )


def _probability(log_a90: Array | float, slope: Array | float, log_size: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-(_LOGIT_90 + slope * (log_size - log_a90)))))
