"""Good pictures whose composition is altered: an item less fills its place, an item more touches no other."""

from __future__ import annotations

import numpy as np

from edgead_tools.data.compositions import doubled, removed
from edgead_tools.data.logical import find_items

GROUND, PART = 90, 200
PLACES = ((20, 20), (70, 90))


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Two squares of 16 pixels on a ground of 128, and their labels."""
    image, labels = np.full((128, 128, 3), GROUND, np.uint8), np.zeros((128, 128), np.uint8)
    for number, (y, x) in enumerate(PLACES, start=1):
        image[y : y + 16, x : x + 16] = PART
        labels[y : y + 16, x : x + 16] = number
    return image, labels


def test_a_removed_item_leaves_the_ground() -> None:
    image, labels = scene()
    found = removed(image, find_items(labels), np.random.default_rng(0))
    assert found is not None
    left = [bool((found[y : y + 16, x : x + 16] == PART).all()) for y, x in PLACES]
    assert sorted(left) == [False, True]
    y, x = PLACES[left.index(False)]
    assert np.abs(found[y : y + 16, x : x + 16].astype(int) - GROUND).max() <= 5


def test_a_doubled_item_touches_none_and_all_others_stay() -> None:
    image, labels = scene()
    for seed in range(8):
        found = doubled(image, labels, find_items(labels), np.random.default_rng(seed))
        assert found is not None
        assert (found == PART).all(2).sum() == 3 * 16 * 16
        assert (found[labels > 0] == PART).all()


def test_where_nothing_can_be_altered_nothing_is() -> None:
    image, labels = scene()
    random = np.random.default_rng(0)
    assert removed(image, [], random) is None
    assert doubled(image, labels, [], random) is None
    full = np.ones_like(labels)
    assert doubled(image, full, find_items(full), random) is None
