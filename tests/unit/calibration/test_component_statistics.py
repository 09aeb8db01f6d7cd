"""Statistics of component histograms: finite and sensible where a covariance has no inverse, and fair scales."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import DataError
from edgead.ops.components import ComponentStatistics, count_components, distance, judge_components
from edgead_calibration.components import (
    FLOOR,
    GRAIN,
    fit_components,
    left_out_distances,
    published_statistics,
    shrunk_statistics,
    trimmed,
    usual_scale,
)

Fit = pytest.mark.parametrize("fit", [shrunk_statistics, published_statistics])


def shares(count: int = 60, seed: int = 0) -> np.ndarray:
    """Histograms of four classes: two that vary, one that is what those leave (collinear), one that never is there."""
    random = np.random.default_rng(seed)
    first, second = 0.3 + 0.02 * random.normal(size=count), 0.2 + 0.01 * random.normal(size=count)
    return np.stack([first, second, 0.9 - first - second, np.zeros(count)], axis=1)


def away(rows: np.ndarray, row: list[float], fit: object) -> float:
    statistics = fit(rows)  # type: ignore[operator]
    assert isinstance(statistics, ComponentStatistics)
    return distance(np.float32(row), statistics)


@Fit
def test_absent_constant_and_collinear_classes_have_finite_statistics(fit: object) -> None:
    for rows in (shares(), np.tile(shares(1), (9, 1)), shares(2), np.zeros((5, 4))):
        statistics = fit(rows)  # type: ignore[operator]
        for array in (statistics.mean, statistics.deviation, statistics.factor):
            assert array.dtype == np.float32
            assert np.isfinite(array).all()
        assert (statistics.deviation > 0).all()
        assert np.isfinite(distance(np.float32([1, 0, 0, 0]), statistics))


def test_a_class_that_never_is_there_is_noticed_and_does_not_drown_the_rest() -> None:
    usual = away(shares(), list(shares()[0]), shrunk_statistics)
    appears = away(shares(), [0.3, 0.2, 0.39, 0.01], shrunk_statistics)
    assert usual < 4
    assert 4 * usual < appears < 100


def test_the_distance_is_stable_against_the_noise_of_measuring() -> None:
    """Two cells more or less of a component are no other part, though no good part differs along that direction."""
    usual = away(shares(), [0.3, 0.2, 0.4, 0.0], shrunk_statistics)
    moved = away(shares(), [0.3 + GRAIN / 4, 0.2, 0.4, GRAIN / 4], shrunk_statistics)
    assert abs(moved - usual) < 1


def test_with_many_images_it_is_mahalanobis_of_the_covariance_and_the_noise() -> None:
    random = np.random.default_rng(1)
    rows = 0.25 + random.normal(size=(4000, 3)) @ (0.02 * random.normal(size=(3, 3)))
    statistics = shrunk_statistics(rows)
    covariance = np.cov(rows.T) + np.diag((FLOOR * rows.mean(axis=0)) ** 2)
    for row in rows[:20]:
        expected = np.sqrt((row - rows.mean(axis=0)) @ np.linalg.inv(covariance) @ (row - rows.mean(axis=0)))
        assert distance(np.float32(row), statistics) == pytest.approx(expected, rel=0.02)


def test_the_published_statistics_are_the_pseudo_inverse_where_it_exists() -> None:
    random = np.random.default_rng(2)
    rows = 0.25 + random.normal(size=(200, 3)) @ (0.02 * random.normal(size=(3, 3)))
    inverse = np.linalg.pinv(np.cov(rows.T))
    statistics = published_statistics(rows)
    for row in rows[:20]:
        expected = np.sqrt((row - rows.mean(axis=0)) @ inverse @ (row - rows.mean(axis=0)))
        assert distance(np.float32(row), statistics) == pytest.approx(expected, rel=0.01)


def test_left_out_distances_are_what_new_images_have() -> None:
    """Of few images, the distances from statistics they were fitted to are too small."""
    random = np.random.default_rng(3)
    rows = 0.25 + 0.02 * random.normal(size=(20, 8))
    new = 0.25 + 0.02 * random.normal(size=(400, 8))
    statistics = shrunk_statistics(rows)
    own = np.mean([distance(np.float32(row), statistics) for row in rows])
    fresh = np.mean([distance(np.float32(row), statistics) for row in new])
    left_out = left_out_distances(rows, shrunk_statistics).mean()
    assert own < 0.9 * fresh
    assert left_out == pytest.approx(fresh, rel=0.12)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40))
@settings(deadline=None)
def test_the_trimmed_scale_is_its_definition(values: list[float]) -> None:
    found = trimmed(np.array(values))
    low, high = np.quantile(values, 0.2), np.quantile(values, 0.8)
    inner = [value for value in values if low < value < high]
    inner = inner if len(inner) >= 2 else values
    deviation = float(np.std(inner))
    assert found.center == pytest.approx(float(np.mean(inner)), abs=1e-9)
    assert found.spread == (pytest.approx(deviation) if deviation >= 1e-3 else 1.0)


def test_a_strange_image_among_the_good_ones_does_not_widen_the_scale() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert trimmed(np.append(values, 1e6)).spread < 2 * trimmed(values).spread


def labels(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(4)
    maps = []
    for _ in range(count):
        one = np.zeros((32, 32), np.uint8)
        x = int(random.integers(2, 6))
        one[4 : 10 + int(random.integers(2)), x : x + 6] = 1
        one[20:26, 20 : 26 + int(random.integers(2))] = 2
        maps.append(one)
    return maps


def test_a_fitted_spec_holds_its_statistics_as_members() -> None:
    maps = labels(30)
    scores = np.random.default_rng(5).normal(3, 0.5, 30)
    fitted = fit_components(("ground", "bolt", "nut"), maps, list(scores), [False] * 30)
    assert [(one.rows, one.columns) for one in fitted.spec.histograms] == [(1, 1), (2, 2)]
    assert set(fitted.members) == {one.statistics for one in fitted.spec.histograms}
    assert (fitted.spec.height, fitted.spec.width) == (32, 32)
    assert fitted.spec.structural == trimmed(scores)


def test_scales_come_from_the_images_kept_aside_where_they_are_enough() -> None:
    maps, scores = labels(60), [0.0] * 30 + list(np.linspace(10, 11, 30))
    kept = fit_components(("ground", "bolt", "nut"), maps, scores, [False] * 30 + [True] * 30)
    assert kept.spec.structural == trimmed(np.linspace(10, 11, 30))


@pytest.mark.parametrize(("usual", "rank"), [(0.9, 55), (0.95, 58), (1.0, 60)])
def test_what_most_good_images_reach_counts_alike(usual: float, rank: int) -> None:
    names, maps = ("ground", "bolt", "nut"), labels(60)
    plain = fit_components(names, maps, [0.0] * 60, [False] * 60).spec
    floored = fit_components(names, maps, [0.0] * 60, [False] * 60, usual=usual).spec
    assert plain.least is None
    total = np.zeros(60)
    for one in plain.histograms:
        rows = np.stack([count_components(cells, 3, one.rows, one.columns).ravel() for cells in maps])
        total += [one.scale.apply(value) for value in left_out_distances(rows.astype(np.float64), shrunk_statistics)]
    assert floored.least == pytest.approx(plain.logical.apply(float(np.sort(total)[rank - 1])))


def test_few_images_kept_aside_widen_the_scale_of_those_that_were_learned() -> None:
    values, aside = np.append(np.random.default_rng(0).normal(0, 0.1, 40), [3.0, 4.0]), [False] * 40 + [True] * 2
    learned = trimmed(values)
    found = usual_scale(values, aside)
    assert found.center == learned.center
    assert found.spread == pytest.approx(np.sqrt(np.mean((np.array([3.0, 4.0]) - learned.center) ** 2)))
    assert usual_scale(values, [False] * 42) == learned


def test_one_image_is_too_few() -> None:
    with pytest.raises(DataError, match="at least two"):
        fit_components(("ground", "bolt", "nut"), labels(1), [0.0], [False])


def test_a_weight_stretches_the_logical_branch_from_what_is_usual_on() -> None:
    maps, names = labels(30), ("ground", "bolt", "nut")
    plain = fit_components(names, maps, list(np.linspace(0, 1, 30)), [False] * 30, usual=0.9)
    heavy = plain.weighted(2.0)
    logits = np.stack([(maps[0] == number).astype(np.float32) for number in range(3)])
    logits[:, :8] = np.roll(logits[:, :8], 1, axis=0)  # a composition that none of them has
    (_, before), (_, after) = (judge_components(logits, 0.5, one.components) for one in (plain, heavy))
    assert plain.spec.least is not None
    assert before.logical > plain.spec.least
    assert after.logical == pytest.approx(2 * before.logical)
    assert after.structural == before.structural
    assert heavy.spec.least == pytest.approx(2 * plain.spec.least)
    assert np.allclose(heavy.logical, 2 * plain.logical)
