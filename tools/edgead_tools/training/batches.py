"""Draws images by epochs: each once, in random order, before any is drawn again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def epoch_batch(images: NDArray[np.uint8], step: int, size: int, seed: int) -> NDArray[np.uint8]:
    """The batch of a step, `size` of the images (N, H, W, 3), which may be a memory map.

    The batches of all steps, 0 and up, are one row of epochs, each with all images in an order of its own, cut into
    `size` at a time: a batch may begin in one epoch and end in the next. Which images they are depends on the number of
    images, step, size and seed alone, so that a resumed training draws what it would have drawn.
    """
    epochs, places = np.divmod(np.arange(step * size, (step + 1) * size), len(images))
    orders = {epoch: np.random.default_rng((seed, epoch)).permutation(len(images)) for epoch in epochs.tolist()}
    return images[[orders[epoch][place] for epoch, place in zip(epochs.tolist(), places.tolist(), strict=True)]]
