"""The Gaussian at every position against the explicit inverse of its covariance."""

from __future__ import annotations

import numpy as np
import pytest

from edgead.ops.measuring import mahalanobis


def explicit(query: np.ndarray, counterparts: np.ndarray, epsilon: float) -> np.ndarray:
    found = []
    for position in range(len(query)):
        samples = counterparts[:, position].astype(np.float64)
        away = query[position] - samples.mean(axis=0)
        centered = samples - samples.mean(axis=0)
        covariance = centered.T @ centered / max(1, len(samples) - 1) + epsilon * np.eye(len(away))
        found.append(np.sqrt(away @ np.linalg.inv(covariance) @ away))
    return np.array(found)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("epsilon", [0.01, 1.0])
def test_closed_forms_are_the_explicit_inverse(count: int, epsilon: float) -> None:
    random = np.random.default_rng(count)
    query = random.normal(0, 1, (7, 40)).astype(np.float32)
    counterparts = random.normal(0, 1, (count, 7, 40)).astype(np.float32)
    found = mahalanobis(query, counterparts, epsilon)
    np.testing.assert_allclose(found, explicit(query, counterparts, epsilon), rtol=1e-3)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_equal_features_are_at_distance_0_and_never_no_number(count: int) -> None:
    query = np.full((4, 152), 30, np.float32)
    found = mahalanobis(query, np.repeat(query[None], count, axis=0))
    assert found.tolist() == [0, 0, 0, 0]


def test_what_lies_between_two_counterparts_is_nearer_than_beside_them() -> None:
    counterparts = np.zeros((2, 1, 8), np.float32)
    counterparts[1, 0, 0] = 2
    beside, between = np.zeros((1, 8), np.float32), np.zeros((1, 8), np.float32)
    between[0, 0], beside[0, :2] = 1.9, (1, 0.9)
    assert mahalanobis(between, counterparts)[0] < 0.2 * mahalanobis(beside, counterparts)[0]
