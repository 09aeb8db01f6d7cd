"""Matching by optimal transport and by assignment, against plain versions in float64."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from edgead.ops.transport import assign, match_hungarian, match_sinkhorn, sinkhorn


def plain_sinkhorn(scores: np.ndarray, dustbin: float, iterations: int) -> np.ndarray:
    """The same without logarithms, in float64."""
    rows, columns = scores.shape
    full = np.full((rows + 1, columns + 1), dustbin, np.float64)
    full[:rows, :columns] = scores
    kernel = np.exp(full)
    mu = np.append(np.ones(rows), columns) / (rows + columns)
    nu = np.append(np.ones(columns), rows) / (rows + columns)
    u, v = np.ones(rows + 1), np.ones(columns + 1)
    for _ in range(iterations):
        u = mu / (kernel @ v)
        v = nu / (kernel.T @ u)
    return u[:, None] * kernel * v * (rows + columns)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (9, 9), (16, 12), (3, 20)])
def test_sinkhorn_is_the_plain_one(shape: tuple[int, int]) -> None:
    scores = np.random.default_rng(0).normal(0, 3, shape).astype(np.float32)
    found = sinkhorn(scores, 0.5, 50)
    np.testing.assert_allclose(found, plain_sinkhorn(scores, 0.5, 50), atol=1e-4, rtol=1e-3)


def test_marginals_are_kept_to_1e_4_and_large_scores_overflow_nothing() -> None:
    scores = np.random.default_rng(1).uniform(-1, 1, (16, 11)).astype(np.float32)
    for factor in (1, 4):
        plan = sinkhorn(scores * np.float32(factor), 0.0, 100)
        np.testing.assert_allclose(plan[:-1].sum(axis=1), 1, atol=1e-4)
        np.testing.assert_allclose(plan[:, :-1].sum(axis=0), 1, atol=1e-4)
        np.testing.assert_allclose(plan[-1].sum(), 11, atol=1e-3)
    assert np.isfinite(sinkhorn(scores * np.float32(1e4), 0.0, 50)).all()


def test_what_is_alike_is_matched_and_the_rest_goes_to_the_dustbin() -> None:
    scores = np.full((3, 4), -5, np.float32)
    scores[0, 2] = scores[2, 0] = 5
    expected = [[0, 2], [2, 0]]
    assert match_sinkhorn(scores, 0.0).tolist() == expected
    assert match_hungarian(scores, 0.0).tolist() == expected


def test_the_order_of_objects_makes_no_difference() -> None:
    random = np.random.default_rng(2)
    scores = random.normal(0, 2, (6, 7)).astype(np.float32)
    rows, columns = random.permutation(6), random.permutation(7)
    for match in (match_sinkhorn, match_hungarian):
        plain = {(int(row), int(column)) for row, column in match(scores, 0.3)}
        turned = match(scores[rows][:, columns], 0.3)
        assert {(int(rows[row]), int(columns[column])) for row, column in turned} == plain
        assert plain


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (5, 3), (6, 6)])
def test_an_assignment_is_the_cheapest_of_all(shape: tuple[int, int]) -> None:
    for seed in range(20):
        costs = np.random.default_rng(seed).normal(0, 1, shape)
        pairs = assign(costs)
        assert len(pairs) == min(shape)
        assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
        wide = costs if shape[0] <= shape[1] else costs.T
        least = min(
            sum(wide[row, column] for row, column in enumerate(chosen))
            for chosen in permutations(range(wide.shape[1]), len(wide))
        )
        assert costs[pairs[:, 0], pairs[:, 1]].sum() == pytest.approx(least)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_matches_nothing(shape: tuple[int, int]) -> None:
    for match in (match_sinkhorn, match_hungarian):
        assert match(np.empty(shape, np.float32), 0.0).shape == (0, 2)
