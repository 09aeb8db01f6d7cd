"""Metrics against scikit-learn, scipy, slow plain versions, and the reference cases of the specification."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from edgead.errors import DataError
from edgead_tools.metrics import (
    PixelScores,
    aupro,
    average_precision,
    f1_max,
    image_auroc,
    pixel_auroc,
    rate_interval,
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


@pytest.mark.parametrize("seed", range(3))
def test_binned_metrics_are_close_to_the_exact_ones(seed: int) -> None:
    pairs = blobs(seed, images=8, size=48)
    exact, binned = PixelScores.of(pairs), PixelScores(exact=3 * 48 * 48)
    for scale, (anomaly_map, mask) in enumerate(pairs, 1):
        binned.add(anomaly_map, mask)
        assert sum(len(part) for part in binned._good) <= 3 * 48 * 48, f"memory grows at image {scale}"
    assert binned._bins is not None
    assert binned.auroc() == pytest.approx(exact.auroc(), abs=1e-4)
    assert binned.aupro() == pytest.approx(exact.aupro(), abs=1e-4)
    assert binned.average_precision() == pytest.approx(exact.average_precision(), abs=1e-3)
    assert binned.f1_max().value == pytest.approx(exact.f1_max().value, abs=1e-3)


def test_bins_grow_to_later_scores_in_both_directions() -> None:
    mask = np.array([[True, False]])
    pixels = PixelScores(exact=0)
    for low, high in ((0.0, 1.0), (-50.0, 2.0), (-1.0, 900.0)):
        pixels.add(np.array([[high, low]], np.float32), mask)
    assert pixels.auroc() == 1
    assert pixels._bins is not None
    assert pixels._bins.counts[:2].sum() == 6


@pytest.mark.parametrize(("events", "trials"), [(0, 1), (0, 50), (1, 1), (3, 10), (7, 200), (199, 200), (40, 5000)])
@pytest.mark.parametrize("confidence", [0.95, 0.99])
def test_the_interval_of_a_rate_is_clopper_and_pearsons(events: int, trials: int, confidence: float) -> None:
    tail = (1 - confidence) / 2
    low, high = rate_interval(events, trials, confidence)
    assert low == pytest.approx(beta.ppf(tail, events, trials - events + 1) if events else 0, abs=1e-9)
    assert high == pytest.approx(beta.ppf(1 - tail, events + 1, trials - events) if events < trials else 1, abs=1e-9)


@given(st.integers(0, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
@settings(max_examples=50, deadline=None)
def test_an_interval_holds_its_rate_and_mirrors(counts: tuple[int, int]) -> None:
    events, trials = counts
    low, high = rate_interval(events, trials)
    assert 0 <= low <= (events / trials if trials else 0.5) <= high <= 1
    assert rate_interval(trials - events, trials) == (pytest.approx(1 - high), pytest.approx(1 - low))


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="6 events cannot come from 5"):
        rate_interval(6, 5)


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
