"""Logical synthetic anomalies: an item is copied with its labels, whole, to another place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead_tools.data.augment import jitter
from edgead_tools.data.logical import OUTSIDE, corner_ground, find_items, jitter_scene, paste_items

SIDE = 64
COLORS = np.array([(20, 20, 20), (40, 160, 200), (200, 90, 30)], np.uint8)


def part() -> tuple[np.ndarray, np.ndarray]:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[8:16, 8:20] = 1
    labels[40:52, 40:46] = 2
    labels[30, 30] = 2  # too small to be an item
    return COLORS[labels], labels


def test_items_are_the_pieces_of_every_class() -> None:
    _, labels = part()
    items = find_items(labels)
    assert [(int(item.mask.sum()), item.x, item.y) for item in items] == [(96, 13.5, 11.5), (72, 42.5, 45.5)]
    labels[8:16, 14] = 0
    assert len(find_items(labels)) == 3


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_pixels_and_labels_go_together(seed: int) -> None:
    image, labels = part()
    pasted, painted = paste_items(image, labels, find_items(labels), np.random.default_rng(seed))
    changed = painted != labels
    assert changed.any()
    assert set(np.unique(painted)) <= {0, 1, 2}
    same = (pasted == image).all(axis=2)
    assert same[~changed & (painted == labels) & (labels == 0)].all()
    inside = changed & (painted > 0)
    colors = pasted[inside].astype(int)
    assert (np.abs(colors - COLORS[painted[inside]]) <= 180).all()
    exact = (colors == COLORS[painted[inside]]).all(axis=1).mean()
    assert exact > 0.5  # at its edge a turned item mixes with its ground
    assert np.array_equal(image, part()[0])
    assert np.array_equal(labels, part()[1])


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_a_copy_is_nearly_whole_and_somewhere_else(seed: int) -> None:
    image, labels = part()
    items = find_items(labels)[:1]
    _, painted = paste_items(image, labels, items, np.random.default_rng(seed), nearest=0.3)
    copies = (painted == 1) & (labels != 1)
    assert copies.sum() >= (1 - OUTSIDE[0]) * 96 * 0.8
    y, x = np.nonzero(copies)
    assert np.hypot(x - 13.5, y - 11.5).max() > 0.3 * SIDE - 8


def test_without_items_nothing_is_pasted() -> None:
    image, labels = part()
    pasted, painted = paste_items(image, labels, [], np.random.default_rng(0))
    assert np.array_equal(pasted, image)
    assert np.array_equal(painted, labels)


def test_where_no_place_is_far_enough_nothing_is_pasted() -> None:
    image, labels = part()
    pasted, _ = paste_items(image, labels, find_items(labels), np.random.default_rng(0), nearest=2.0)
    assert np.array_equal(pasted, image)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_shaken_labels_stay_labels_and_stay_on_their_items(seed: int) -> None:
    image, labels = part()
    moved, shaken = jitter_scene(image, labels, np.random.default_rng(seed))
    assert (moved.shape, moved.dtype, shaken.shape, shaken.dtype) == (image.shape, np.uint8, labels.shape, np.uint8)
    assert set(np.unique(shaken)) <= {0, 1, 2}
    assert (shaken != labels).mean() < 0.05


def test_shaking_moves_and_lights() -> None:
    image, labels = part()
    changed = [jitter_scene(image, labels, np.random.default_rng(seed)) for seed in range(12)]
    assert any(not np.array_equal(one, labels) for _, one in changed)
    assert any(not np.array_equal(one, image) and np.array_equal(other, labels) for one, other in changed)


@pytest.mark.parametrize("seed", [0, 2, 3, 4])
def test_jitter_changes_one_thing_by_a_fifth_at_most(seed: int) -> None:
    image = np.random.default_rng(9).integers(60, 180, (8, 8, 3)).astype(np.uint8)
    changed = jitter(image, np.random.default_rng(seed))
    assert changed.shape == image.shape
    assert 0 < np.abs(changed.astype(int) - image).max() <= 0.2 * 180 + 1


def test_the_ground_reaches_a_corner_or_the_middle_of_a_side() -> None:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[10:50, 10:50] = 1
    labels[20:30, 20:30] = 0  # a hole in the part
    ground = corner_ground(labels)
    assert ground[0, 0]
    assert ground[SIDE - 1, SIDE // 2]
    assert not ground[25, 25]
    assert not ground[12, 12]


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_by_the_published_rule_less_than_half_of_the_first_item_lands_on_the_ground(seed: int) -> None:
    labels = np.full((SIDE, SIDE), 2, np.uint8)
    labels[:, 40:] = 0
    labels[8:16, 8:20] = 1
    ground = corner_ground(labels)
    items = [item for item in find_items(labels) if labels[int(item.y), int(item.x)] == 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgead_tools.data.logical.SECOND", 0.0)
        image = COLORS[labels]
        _, painted = paste_items(image, labels, items, np.random.default_rng(seed), ground=ground)
    assert (painted[:, 40:] == 1).sum() < 0.5 * 96 + 12  # a turned item covers a few cells more


def test_an_item_that_would_lie_on_the_ground_is_not_pasted() -> None:
    image, labels = part()
    ground = np.ones(labels.shape, np.bool_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgead_tools.data.logical.SECOND", 0.0)
        _, painted = paste_items(image, labels, find_items(labels), np.random.default_rng(0), ground=ground)
    assert np.array_equal(painted, labels)
