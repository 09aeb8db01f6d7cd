"""Metrics against scikit-learn, scipy, slow plain versions, and the reference cases of the specification."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from edgead.errors import DataError
from edgead_tools.evaluation.metrics import (
    PixelScores,
    aupro,
    average_precision,
    f1_max,
    image_auroc,
    pixel_auroc,
    region_weights,
)

Pairs = list[tuple[NDArray[np.float32], NDArray[np.bool_]]]
Ranking = tuple[NDArray[np.float64], NDArray[np.bool_]]


def blobs(seed: int, *, levels: int = 0, images: int = 4, size: int = 20) -> Pairs:
    """Maps that rise over random boxes; the first image is good; `levels` above 0 makes ties."""
    rng = np.random.default_rng(seed)
    pairs: Pairs = []
    for index in range(images):
        mask = np.zeros((size, size), np.bool_)
        for _ in range(3 if index else 0):
            y, x = rng.integers(0, size - 5, 2)
            mask[y : y + rng.integers(1, 5), x : x + rng.integers(1, 5)] = True
        anomaly_map = rng.normal(size=mask.shape) + mask
        pairs.append(((np.round(anomaly_map * levels) if levels else anomaly_map).astype(np.float32), mask))
    return pairs


def regions_of(mask: NDArray[np.bool_]) -> list[set[tuple[int, int]]]:
    """8-connected regions by flooding, pixel by pixel."""
    left, regions = {(int(y), int(x)) for y, x in np.argwhere(mask)}, []
    while left:
        region, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            edge += near
        regions.append(region)
    return regions


def slow_aupro(pairs: Pairs, limit: float) -> float:
    """The definition, threshold by threshold."""
    points = {(0.0, 0.0), (1.0, 1.0)}
    all_regions = [(anomaly_map, region) for anomaly_map, mask in pairs for region in regions_of(mask)]
    for threshold in np.unique([anomaly_map for anomaly_map, _ in pairs]):
        false = sum(int(np.sum((m >= threshold) & ~mask)) for m, mask in pairs)
        overlaps = [np.mean([m[place] >= threshold for place in region]) for m, region in all_regions]
        points.add((false / sum(int(np.sum(~mask)) for _, mask in pairs), float(np.mean(overlaps))))
    area = 0.0
    ordered = sorted(points)
    for (x0, y0), (x1, y1) in pairwise(ordered):
        if x0 < limit and x1 > x0:
            end = min(x1, limit)
            area += (end - x0) * (y0 + (y0 + (y1 - y0) * (end - x0) / (x1 - x0))) / 2
    return area / limit


@st.composite
def rankings(draw: st.DrawFn) -> Ranking:
    """Scores with many ties, and labels of which both kinds occur."""
    size = draw(st.integers(2, 40))
    scores = draw(st.lists(st.integers(-5, 5), min_size=size, max_size=size))
    labels = draw(st.lists(st.booleans(), min_size=size - 2, max_size=size - 2))
    return np.array(scores, np.float64), np.array([True, False, *labels])


def test_a_perfect_map_scores_one() -> None:
    pairs = [(mask.astype(np.float32), mask) for _, mask in blobs(0)]
    pixels = PixelScores.of(pairs)
    assert [pixels.auroc(), pixels.aupro(), pixels.average_precision(), pixels.f1_max().value] == [1, 1, 1, 1]
    assert image_auroc([0, 0, 1], [0, 0, 1]) == 1
    assert pixels.f1_max().threshold == 1


def test_a_constant_map_scores_as_chance() -> None:
    pairs = [(np.full(mask.shape, 0.7, np.float32), mask) for _, mask in blobs(1)]
    assert pixel_auroc(pairs) == 0.5
    assert image_auroc([3, 3, 3], [0, 1, 1]) == 0.5
    assert aupro(pairs) == pytest.approx(0.15, abs=1e-12)
    assert average_precision([3, 3, 3, 3], [0, 1, 0, 0]) == 0.25


def test_every_region_counts_the_same_whatever_its_size() -> None:
    mask = np.zeros((60, 60), np.bool_)
    mask[:20, :50] = True  # 1000 pixels
    mask[40, :10] = True  # 10 pixels
    anomaly_map = np.zeros(mask.shape, np.float32)
    anomaly_map[:20, :50] = 1
    # the curve stands at 0.5 from the start and rises in one line to (1, 1)
    assert aupro([(anomaly_map, mask)]) == pytest.approx(0.5 + 0.5 * 0.3 / 2, abs=1e-12)
    assert region_weights(mask).sum() == pytest.approx(2)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    mask = np.eye(5, dtype=np.bool_)
    assert np.allclose(region_weights(mask), np.eye(5) / 5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [0, 2], ids=["distinct", "ties"])
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_aupro_is_the_definition(seed: int, levels: int, limit: float) -> None:
    pairs = blobs(seed, levels=levels, images=3, size=12)
    assert aupro(pairs, limit) == pytest.approx(slow_aupro(pairs, limit), abs=1e-9)


@given(rankings())
@settings(max_examples=100, deadline=None)
def test_rankings_agree_with_scikit_learn(ranking: Ranking) -> None:
    scores, labels = ranking
    assert image_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-9)
    precision, recall, _ = precision_recall_curve(labels, scores)
    best = f1_max(scores, labels)
    assert best.value == pytest.approx(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12)), abs=1e-9)
    chosen = scores >= best.threshold
    assert 2 * np.sum(chosen & labels) / (np.sum(chosen) + np.sum(labels)) == pytest.approx(best.value)


@pytest.mark.parametrize("levels", [0, 3])
def test_pooled_pixels_agree_with_scikit_learn(levels: int) -> None:
    pairs = blobs(5, levels=levels, images=6, size=40)
    scores, labels = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    pixels = PixelScores.of(pairs)
    assert pixels.auroc() == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert pixels.average_precision() == pytest.approx(average_precision_score(labels, scores), abs=1e-9)


@given(rankings())
@settings(max_examples=50, deadline=None)
def test_only_the_order_of_scores_matters(ranking: Ranking) -> None:
    scores, labels = ranking
    for metric in (image_auroc, average_precision, lambda s, y: f1_max(s, y).value):
        assert metric(np.exp(scores) * 3 - 7, labels) == metric(scores, labels)


@given(rankings())
@settings(max_examples=50, deadline=None)
def test_swapping_labels_mirrors_the_auroc(ranking: Ranking) -> None:
    scores, labels = ranking
    assert image_auroc(scores, ~labels) == pytest.approx(1 - image_auroc(scores, labels), abs=1e-12)
    assert image_auroc(-scores, labels) == pytest.approx(1 - image_auroc(scores, labels), abs=1e-12)


def test_the_largest_of_equally_good_thresholds_is_taken() -> None:
    assert f1_max([4, 3, 2, 1], [1, 0, 0, 1]) == (pytest.approx(2 / 3), 4)


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([1.0, 2.0], [True, True], "0 good and 2 anomalous"),
        ([1.0, 2.0], [False, False], "2 good and 0 anomalous"),
        ([1.0, float("nan")], [True, False], "not a finite"),
        ([1.0, 2.0], [True], "do not go with"),
    ],
)
def test_scores_that_cannot_be_judged_are_refused(scores: list[float], labels: list[bool], words: str) -> None:
    for metric in (image_auroc, average_precision, f1_max):
        with pytest.raises(DataError, match=words):
            metric(scores, labels)


def test_pixel_scores_need_masks_of_the_maps_size_and_both_kinds() -> None:
    pixels = PixelScores()
    with pytest.raises(DataError, match="cannot be compared"):
        pixels.add(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.bool_))
    with pytest.raises(DataError, match="needs both"):
        pixels.auroc()
    pixels.add(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.bool_))
    with pytest.raises(DataError, match="6 good and 0 anomalous"):
        pixels.aupro()
