"""Alterations change a place of a good image and nothing else, and the same draws change it alike."""

from __future__ import annotations

import boards
import numpy as np
import pytest

from edgead_tools.data.alterations import ALTERATIONS, Alteration

SIZE = 128


def altered(alter: Alteration, seed: int) -> tuple[np.ndarray, np.ndarray]:
    image = boards.board(0, SIZE)
    return image, alter(image, boards.board(1, SIZE), np.random.default_rng(seed))


@pytest.mark.parametrize("alter", ALTERATIONS)
def test_a_place_is_changed_and_the_rest_stays(alter: Alteration) -> None:
    before = boards.board(0, SIZE)
    changed = []
    for seed in range(12):
        image, after = altered(alter, seed)
        assert (image == before).all()  # the image itself stays
        assert (after.dtype, after.shape) == (np.uint8, image.shape)
        changed.append(np.abs(after.astype(int) - image).max(2) > 8)
    assert np.mean([one.any() for one in changed]) > 0.8
    assert all(one.mean() < 0.4 for one in changed)


@pytest.mark.parametrize("alter", ALTERATIONS)
def test_the_same_draws_alter_alike(alter: Alteration) -> None:
    np.testing.assert_array_equal(altered(alter, 3)[1], altered(alter, 3)[1])
    assert (altered(alter, 3)[1] != altered(alter, 4)[1]).any()
