"""Computes the logical branch: are the components there, in the usual amounts and places (CSAD, 3.2, 5 and 14).

logits -> the label of every cell -> how much of each component lies in each cell of a grid -> the Mahalanobis distance
from good parts, all for one frame at a time: a histogram over a batch would mix parts. The background is no entry, so
the entries of a cell do not sum to one; what stays collinear all the same is the concern of whoever fits the statistics
(edgead_calibration.components), whose factor is a plain matrix here. Distances are FP32 and cannot be the root of
something negative.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.bundle.draft import Model
from edgead.bundle.manifest import ComponentSpec, HistogramSpec
from edgead.errors import BundleError, EngineError
from edgead.ops.places import place_in_words
from edgead.types import Branches, Deviation, Labels, MapF32

COMPONENTS = "components"  # the output of the graph that has the logits
NO_NUMBER = "a class logit is no number: the network fails on this frame"
NOTABLE = 3.0  # standard deviations of an entry from the mean that are worth words
Histogram = NDArray[np.float32]  # (rows, columns, K - 1): each component's share of each cell, 0..1


@dataclass(frozen=True, slots=True, eq=False)
class ComponentStatistics:
    """One histogram over good parts, float32; D entries."""

    mean: MapF32  # (D,)
    deviation: MapF32  # (D,): the standard deviation of each entry, above 0
    factor: MapF32  # (R, D)


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """The spec with the statistics of its histograms, in their order."""

    spec: ComponentSpec
    statistics: tuple[ComponentStatistics, ...]


def load_components(bundle: Model) -> Components | None:
    """The logical branch of a bundle, or None where it has none; raises BundleError for statistics that do not fit."""
    spec = bundle.manifest.fusion.components
    if spec is None:
        return None
    entries = len(spec.names) - 1
    return Components(spec, tuple(_statistics(bundle, one, entries) for one in spec.histograms))


def judge_components(logits: MapF32, map_score: float, components: Components) -> tuple[float, Branches]:
    """The raw image score and its branches, from one frame's logits (K, h, w) and the score of its fused map.

    Raises EngineError for a logit that is no number: it would count as some class, and the part as whole.
    """
    if np.isnan(logits.max()):
        raise EngineError(NO_NUMBER)
    spec = components.spec
    labels = label_cells(logits, spec.height, spec.width)
    histograms = [count_components(labels, len(spec.names), one.rows, one.columns) for one in spec.histograms]
    distances = [distance(one, fitted) for one, fitted in zip(histograms, components.statistics, strict=True)]
    return judge_histograms(labels, histograms, distances, map_score, components)


def judge_histograms(
    labels: Labels,
    histograms: Sequence[Histogram],
    distances: Sequence[float],
    map_score: float,
    components: Components,
) -> tuple[float, Branches]:
    """`judge_components` from what was counted: the labels, and each histogram with its distance, in their order."""
    spec = components.spec
    total, found = 0.0, []
    for one, histogram, far, fitted in zip(spec.histograms, histograms, distances, components.statistics, strict=True):
        total += one.scale.apply(far)
        found += _deviations(histogram, fitted, spec.names[1:])
    logical, structural = spec.logical.apply(total), spec.structural.apply(map_score)
    if spec.least is not None:
        logical = max(logical, spec.least)
    return logical + structural, Branches(logical, structural, labels, _notable(found))


def label_cells(logits: MapF32, height: int, width: int) -> Labels:
    """The index of the largest logit at every cell, (height, width) uint8; of equal ones the first.

    `logits` (K, h, w) are interpolated bilinearly (half-pixel centers, edges replicated) before they are compared.
    """
    if logits.shape[1:] != (height, width):
        logits = np.stack([cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) for plane in logits])
    best, labels = logits[0], np.zeros((height, width), np.uint8)
    for index, plane in enumerate(logits[1:], start=1):  # three times as fast as np.argmax over the first axis
        np.copyto(labels, np.uint8(index), where=plane > best)
        best = np.maximum(best, plane)
    return labels


def count_components(labels: Labels, classes: int, rows: int, columns: int) -> Histogram:
    """Each component's share of the cells of a grid, (rows, columns, classes - 1) float32; `classes` with background.

    `labels` (H, W) must divide evenly into the grid.
    """
    height, width = labels.shape[0] // rows, labels.shape[1] // columns
    cells = labels.reshape(rows, height, columns, width).swapaxes(1, 2).reshape(rows, columns, -1)
    counts = [[np.bincount(cell, minlength=classes)[1:] for cell in row] for row in cells]
    return np.asarray(counts, np.float32) / np.float32(height * width)


def distance(histogram: Histogram, statistics: ComponentStatistics) -> float:
    """The Mahalanobis distance ||U (v - mean)|| of a histogram (rows, columns, K - 1) from good parts, 0 or more."""
    return float(np.linalg.norm(statistics.factor @ (histogram.ravel() - statistics.mean)))


def _deviations(histogram: Histogram, statistics: ComponentStatistics, names: Sequence[str]) -> list[Deviation]:
    rows, columns, _ = histogram.shape
    shares = histogram.ravel()
    sizes = (shares - statistics.mean) / statistics.deviation
    where = product(range(rows), range(columns), names)
    return [
        Deviation(name, place_in_words(row, column, rows, columns), float(share), float(usual), float(size))
        for (row, column, name), share, usual, size in zip(where, shares, statistics.mean, sizes, strict=True)
    ]


def _notable(found: Sequence[Deviation]) -> tuple[Deviation, ...]:
    """Of each component the strongest lack and the strongest surplus, where they are notable; the strongest first."""
    strongest: dict[tuple[str, bool], Deviation] = {}
    for one in sorted(found, key=lambda one: -abs(one.size)):  # stable: of equal ones the coarser grid's
        if abs(one.size) > NOTABLE:
            strongest.setdefault((one.component, one.size > 0), one)
    return tuple(strongest.values())


def _statistics(bundle: Model, spec: HistogramSpec, entries: int) -> ComponentStatistics:
    size = spec.rows * spec.columns * entries
    raw = bundle.read(spec.statistics)
    try:
        values = np.load(io.BytesIO(raw), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BundleError(f"'{spec.statistics}' cannot be read: {error}; build the bundle again") from error
    if not isinstance(values, np.ndarray) or values.dtype != np.float32 or values.ndim != 2 or len(values) < 3:
        raise BundleError(f"'{spec.statistics}' holds no float32 statistics (2 + R, D): build the bundle again")
    if values.shape[1] != size or not np.isfinite(values).all() or not (values[1] > 0).all():
        raise BundleError(f"'{spec.statistics}' does not hold {size} finite entries: build the bundle again")
    if not values[2:].any():
        raise BundleError(f"the factor in '{spec.statistics}' is 0: no part would differ; build the bundle again")
    return ComponentStatistics(values[0], values[1], np.ascontiguousarray(values[2:]))
