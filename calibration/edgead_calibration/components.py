"""Fits the statistics of component histograms over good parts, with which `edgead.ops.components` measures distances.

Good parts are few, and their histograms are nearly collinear: a class that is absent or constant has no variance, and
what one class gains at an edge its neighbor loses. A bare (pseudo-)inverse of the covariance then ignores directions
that no good part showed, so that a class which is never there may appear unnoticed, and weighs others by millions.
So: the covariance is shrunk toward its diagonal, the more the fewer parts there are, and to every variance is added
that of a measurement: `FLOOR` of the class's mean area, and at least `GRAIN` of a cell. Its eigenvalues are then
bounded from below, and U = diag(eigenvalues^-1/2) V^T is a plain matrix in FP32.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgead.bundle import ComponentSpec, HistogramSpec, Scale
from edgead.errors import DataError
from edgead.ops.components import Components, ComponentStatistics, count_components, distance
from edgead.types import Labels

FLOOR = 0.05  # of a component's mean area: what segmenting it twice may differ by
GRAIN = 0.0005  # of a cell's area
TRIM = (0.2, 0.8)  # quantiles between which values say what is usual (CSAD, 3.2)
ENOUGH = 20  # images kept aside, from which quantiles can be taken
NARROWEST = 1e-3  # a spread below it says nothing, and 1 is taken
Rows = NDArray[np.float64]  # (images, D)


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A component spec whose histograms have statistics, and these as members of the bundle."""

    spec: ComponentSpec
    members: dict[str, bytes]
    statistics: tuple[ComponentStatistics, ...]
    logical: NDArray[np.float64]  # of the good images, scaled by the spec
    structural: NDArray[np.float64]

    @property
    def components(self) -> Components:
        """What judges a frame."""
        return Components(self.spec, self.statistics)

    def weighted(self, weight: float) -> Fitted:
        """The same with a logical branch that counts so many times as much beside the structural one."""
        scale = self.spec.logical
        logical = Scale(center=scale.center, spread=scale.spread / weight)
        least = None if self.spec.least is None else weight * self.spec.least
        spec = msgspec.structs.replace(self.spec, logical=logical, least=least)
        return replace(self, spec=spec, logical=weight * self.logical)


def fit_components(
    names: Sequence[str],
    labels: Sequence[Labels],
    map_scores: Sequence[float],
    aside: Sequence[bool],
    *,
    grids: Sequence[int] = (1, 2),
    fit: Callable[[Rows], ComponentStatistics] | None = None,
    usual: float | None = None,
) -> Fitted:
    """The spec and its statistics from the label maps (H, W) and the fused maps' scores of good images.

    `aside` says which images the networks have not learned from (`usual_scale`).
    `grids` are the cells a side of each histogram. `fit` is `shrunk_statistics` if not given. `usual` is the quantile
    of good parts' logical values up to which all are alike (`ComponentSpec.least`); None counts all as they are. Raises
    DataError for fewer than two images.
    """
    if len(labels) < 2:
        raise DataError("statistics of components need at least two good images")
    fit = fit or shrunk_statistics
    height, width = labels[0].shape
    histograms, members, statistics, total = [], {}, [], np.zeros(len(labels))
    for side in grids:
        rows = np.stack([count_components(one, len(names), side, side).ravel() for one in labels]).astype(np.float64)
        member = f"components/{side}x{side}.npy"
        statistics.append(fit(rows))
        members[member] = _npy(statistics[-1])
        distances = left_out_distances(rows, fit)
        scale = trimmed(distances)
        total += (distances - scale.center) / scale.spread
        histograms.append(HistogramSpec(rows=side, columns=side, statistics=member, scale=scale))
    logical = usual_scale(total, aside)
    structural = usual_scale(np.asarray(map_scores, np.float64), aside)
    spec = ComponentSpec(
        names=tuple(names),
        height=height,
        width=width,
        histograms=tuple(histograms),
        logical=logical,
        structural=structural,
        least=None if usual is None else logical.apply(_reached(total, usual)),
    )
    scores = np.array([structural.apply(score) for score in map_scores])
    return Fitted(spec, members, tuple(statistics), np.array([logical.apply(one) for one in total]), scores)


def shrunk_statistics(rows: Rows) -> ComponentStatistics:
    """Mean, deviation and whitening factor of histograms (images, D), well-conditioned whatever they are."""
    count, entries = rows.shape
    mean = rows.mean(axis=0)
    covariance = np.cov(rows.T, ddof=1).reshape(entries, entries)
    variance = np.diag(covariance).copy()
    share = entries / (entries + count)  # of the diagonal alone
    covariance = (1 - share) * covariance + share * np.diag(variance)
    measured = np.maximum(FLOOR * mean, GRAIN) ** 2
    values, vectors = np.linalg.eigh(covariance + np.diag(measured))
    values = np.maximum(values, measured.min())
    factor = vectors.T / np.sqrt(values)[:, None]
    deviation = np.sqrt(variance + measured)
    return ComponentStatistics(mean.astype(np.float32), deviation.astype(np.float32), factor.astype(np.float32))


def published_statistics(rows: Rows) -> ComponentStatistics:
    """The same with the published pseudo-inverse of the covariance (CSAD, 3.2), as a factor with a ridge of 1e-6 of the
    mean variance instead of a bare inverse."""
    mean = rows.mean(axis=0)
    entries = len(mean)
    covariance = np.cov(rows.T, ddof=1).reshape(entries, entries)
    ridge = max(1e-6 * float(np.trace(covariance)) / entries, 1e-12)
    values, vectors = np.linalg.eigh(covariance)
    factor = vectors.T / np.sqrt(np.maximum(values, 0) + ridge)[:, None]
    deviation = np.sqrt(np.diag(covariance) + ridge)
    return ComponentStatistics(mean.astype(np.float32), deviation.astype(np.float32), factor.astype(np.float32))


def left_out_distances(rows: Rows, fit: Callable[[Rows], ComponentStatistics], folds: int = 5) -> NDArray[np.float64]:
    """Every image's distance from the others: of each fifth, from statistics of the other four.

    Distances of the very images that a covariance was fitted to are too small, the more so the fewer they are.
    """
    folds = min(folds, len(rows))
    found = np.zeros(len(rows))
    for fold in range(folds):
        inside = np.arange(len(rows)) % folds == fold
        others = rows[~inside] if (~inside).sum() >= 2 else rows
        statistics = fit(others)
        found[inside] = [distance(row.astype(np.float32), statistics) for row in rows[inside]]
    return found


def trimmed(values: NDArray[np.float64]) -> Scale:
    """Mean and standard deviation of what lies strictly between the 20 % and the 80 % quantile; of all where that is
    less than two values. A spread below 0.001 is taken as 1."""
    low, high = np.quantile(values, TRIM)
    inner = values[(values > low) & (values < high)]
    inner = inner if len(inner) >= 2 else values
    spread = float(inner.std())
    return Scale(center=float(inner.mean()), spread=spread if spread >= NARROWEST and math.isfinite(spread) else 1.0)


def usual_scale(values: NDArray[np.float64], aside: Sequence[bool]) -> Scale:
    """Where a branch's values of good images lie. Networks have learned by heart what the others say of those they were
    trained on, so the scale is that of the images kept aside; where they are fewer than `ENOUGH`, that of all images,
    but at least as wide as those kept aside are away from its center."""
    kept = values[np.asarray(aside, np.bool_)]
    if len(kept) >= ENOUGH:
        return trimmed(kept)
    scale = trimmed(values)
    away = float(np.sqrt(np.mean((kept - scale.center) ** 2))) if len(kept) else 0.0
    return Scale(center=scale.center, spread=max(scale.spread, away))


def _reached(values: NDArray[np.float64], share: float) -> float:
    """What a new value reaches with the probability 1 - share at most: of few values the largest."""
    rank = min(len(values), math.ceil((len(values) + 1) * share))
    return float(np.sort(values)[rank - 1])


def _npy(statistics: ComponentStatistics) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate([[statistics.mean, statistics.deviation], statistics.factor]).astype(np.float32))
    return buffer.getvalue()
