"""Intervals against scipy, the definitions written slowly, and what they must hold whatever the scores."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from edgead.errors import DataError
from edgead_tools.evaluation.metrics import auroc_interval, rate_interval

few = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12)


def slow_delong(good: list[float], kinds: list[list[float]]) -> tuple[float, float]:
    """The AUROC and its variance from the kernel of every pair."""

    def kernel(bad: float, reference: float) -> float:
        return 1.0 if bad > reference else 0.5 if bad == reference else 0.0

    def variance_of_mean(values: list[float]) -> float:
        mean = sum(values) / len(values)
        return sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)

    value = sum(sum(kernel(b, g) for b, g in product(bad, good)) / len(bad) / len(good) for bad in kinds) / len(kinds)
    of_good = [sum(sum(kernel(b, g) for b in bad) / len(bad) for bad in kinds) / len(kinds) for g in good]
    variance = variance_of_mean(of_good)
    for bad in kinds:
        variance += variance_of_mean([sum(kernel(b, g) for g in good) / len(good) for b in bad]) / len(kinds) ** 2
    return value, variance


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


@given(st.lists(few, min_size=2, max_size=3), st.lists(few, min_size=1, max_size=1))
@settings(max_examples=60, deadline=None)
def test_an_aurocs_interval_holds_it(kinds: list[list[float]], good: list[list[float]]) -> None:
    for chosen in (kinds, kinds[:1]):
        value, low, high = auroc_interval(good[0], *chosen)
        assert 0 <= low <= value + 1e-12
        assert value - 1e-12 <= high <= 1
        assert low < high
        singles = [roc_auc_score([0] * len(good[0]) + [1] * len(bad), [*good[0], *bad]) for bad in chosen]
        assert value == pytest.approx(np.mean(singles), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kinds", [1, 2])
def test_the_interval_is_delongs(seed: int, kinds: int) -> None:
    rng = np.random.default_rng(seed)
    good = [float(x) for x in np.round(rng.normal(0, 1, 30), 1)]
    bad = [[float(x) for x in np.round(rng.normal(1, 2, 20 + 9 * kind), 1)] for kind in range(kinds)]
    value, low, high = auroc_interval(good, *bad)
    expected, variance = slow_delong(good, bad)
    assert value == pytest.approx(expected, abs=1e-12)
    assert low == pytest.approx(max(0.0, expected - 1.959963984540054 * math.sqrt(variance)), abs=1e-9)
    assert high == pytest.approx(min(1.0, expected + 1.959963984540054 * math.sqrt(variance)), abs=1e-9)


@pytest.mark.parametrize(("good", "bad"), [(3, 3), (20, 60), (200, 500)])
def test_classes_apart_have_an_interval_that_narrows_with_their_number(good: int, bad: int) -> None:
    value, low, high = auroc_interval(np.zeros(good), np.ones(bad))
    assert (value, high) == (1, 1)
    # Newcombe's fifth method at the edge: |1 - low| = z * sqrt(V(low))
    others = (good + bad) / 2 - 1
    spread = low * (1 - low) * (1 + others * ((1 - low) / (2 - low) + low / (1 + low))) / (good * bad)
    assert 1 - low == pytest.approx(1.959963984540054 * math.sqrt(spread), abs=1e-9)
    assert 1 - low < 3 / math.sqrt(min(good, bad))
    assert auroc_interval(np.ones(bad), np.zeros(good))[1:] == (0, pytest.approx(1 - low))


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth = 0.5 * (1 + math.erf(1.2 / 2))  # of normal scores 1.2 apart
    held = 0
    for _ in range(400):
        _, low, high = auroc_interval(rng.normal(0, 1, 40), rng.normal(1.2, 1, 60))
        held += low <= truth <= high
    assert 0.91 <= held / 400 <= 0.98


def test_a_class_that_is_missing_and_scores_that_are_none() -> None:
    with pytest.raises(DataError, match="2 good and 0 anomalous"):
        auroc_interval([1, 2], [])
    with pytest.raises(DataError, match="0 good and 2 anomalous"):
        auroc_interval([], [1, 2])
    with pytest.raises(DataError, match="not a finite"):
        auroc_interval([1, math.nan], [1, 2])
