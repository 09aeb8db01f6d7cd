"""Batches by epochs: each image once before any comes again, whatever the sizes, and the same from the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgead_tools.training.batches import epoch_batch


def numbered(count: int) -> NDArray[np.uint8]:
    """Images whose only pixel is their number."""
    return np.repeat(np.arange(count, dtype=np.uint8)[:, None, None, None], 3, axis=3)


@pytest.mark.parametrize(("size", "count"), [(8, 21), (8, 8), (8, 3), (2, 5), (1, 4)])
def test_every_epoch_has_each_image_once(size: int, count: int) -> None:
    epochs, images = 6, numbered(count)
    batches = [epoch_batch(images, step, size, seed=0) for step in range(-(-epochs * count // size))]
    assert {batch.shape for batch in batches} == {(size, 1, 1, 3)}
    row = np.concatenate(batches)[:, 0, 0, 0].tolist()
    for epoch in range(epochs):
        assert sorted(row[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    images = numbered(50)
    first, again, next_epoch = (epoch_batch(images, step, 50, seed=0) for step in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, next_epoch)
    assert not np.array_equal(first, epoch_batch(images, 0, 50, seed=1))
    assert not np.array_equal(first, images)
