"""Descriptors of objects: the three forms against plain float64 versions, and features in their boxes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgead.ops.descriptors import align, describe, interpolate, pool, unit


def plain(pooled: np.ndarray, form: str) -> np.ndarray:
    """The formulas as they are printed, object by object."""
    f = pooled.astype(np.float64)
    if form == "gmp":
        return f
    softmax = np.exp(f) / np.exp(f).sum(axis=1, keepdims=True)
    gate = 1 / (1 + np.exp(-f * softmax))
    mixed = np.zeros((len(f), len(f)))
    for i in range(len(f)):
        for j in range(len(f)):
            if i != j:
                mixed[i, j] = max(0, f[i] @ f[j] / np.linalg.norm(f[i]) / np.linalg.norm(f[j]))
        mixed[i] /= mixed[i].sum() + 1e-6
    return mixed @ gate if form == "literal" else f * gate + 0.1 * mixed @ (f * gate)


@pytest.mark.parametrize("form", ["literal", "gmp", "gated"])
@pytest.mark.parametrize("count", [1, 2, 9])
def test_forms_are_the_plain_ones(form: str, count: int) -> None:
    pooled = np.random.default_rng(count).normal(1, 2, (count, 30)).astype(np.float32)
    np.testing.assert_allclose(describe(pooled, form), plain(pooled, form), rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]


def test_one_object_alone_has_a_descriptor_but_in_the_printed_form() -> None:
    pooled = np.random.default_rng(0).normal(0, 1, (1, 8)).astype(np.float32)
    assert np.abs(describe(pooled, "gated")).max() > 0.1
    assert not describe(pooled, "literal").any()


def test_no_object_has_none() -> None:
    for form in ("literal", "gmp", "gap", "gated"):
        assert describe(np.empty((0, 5), np.float32), form).shape == (0, 5)  # type: ignore[arg-type]


def test_features_are_pooled_inside_the_mask_alone() -> None:
    features = np.full((2, 4, 4), -3, np.float32)
    features[0, 0, 0], features[1, 3, 3] = 9, -1
    mask = np.zeros((1, 4, 4), np.bool_)
    mask[0, 2:, 2:] = True
    assert pool(features, mask, "gated").tolist() == [[-3, -1]]  # not 0, what lies around
    assert pool(features, mask, "gap").tolist() == [[-3, -2.5]]


def test_unit_vectors_have_length_1_and_nothing_stays_nothing() -> None:
    found = unit(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0]])


def test_interpolation_is_opencvs() -> None:
    plane = np.random.default_rng(0).normal(0, 1, (5, 8, 6)).astype(np.float32)
    expected = np.stack([cv2.resize(one, (24, 32), interpolation=cv2.INTER_LINEAR) for one in plane])
    np.testing.assert_allclose(interpolate([plane[:2], plane[2:]], 32, 24), expected, atol=1e-5)


def test_a_box_has_what_is_inside_the_mask_wherever_the_object_lies() -> None:
    features, mask = np.zeros((3, 20, 20), np.float32), np.zeros((20, 20), np.bool_)
    object_ = np.random.default_rng(0).normal(0, 1, (3, 6, 6)).astype(np.float32)
    found = []
    for top, left in ((2, 3), (11, 9)):
        features[...], mask[...] = 7, False
        features[:, top : top + 6, left : left + 6] = object_
        mask[top : top + 6, left : left + 6] = True
        found.append(align(features, mask, 6))
    np.testing.assert_allclose(found[0], object_, atol=1e-6)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
