"""Alters what a good picture is made of, to judge by it what counts components: an item taken away, or one too many.

Each item that is there still looks right. Items are moved nowhere: where parts may lie anywhere, that would be good.
"""

from __future__ import annotations

import cv2
import numpy as np

from edgead.types import ImageU8, Labels, Mask
from edgead_tools.data.logical import Item

TRIES = 50  # places of a copy
MARGIN = 3  # pixels around an item of 256: its edge, and the shade beside it

Random = np.random.Generator


def removed(image: ImageU8, items: list[Item], random: Random) -> ImageU8 | None:
    """One item filled by what surrounds it; None where there is none."""
    if not items:
        return None
    gone = _wider(items[int(random.integers(len(items)))].mask)
    return np.asarray(cv2.inpaint(image, gone.astype(np.uint8), 3, cv2.INPAINT_TELEA), np.uint8)


def doubled(image: ImageU8, labels: Labels, items: list[Item], random: Random) -> ImageU8 | None:
    """One item a second time, as it lies, where no other is; None where no such place is found."""
    if not items:
        return None
    mask = _wider(items[int(random.integers(len(items)))].mask)
    rows, columns = np.nonzero(mask)
    height, width = mask.shape
    taken = _wider(labels > 0)
    for _ in range(TRIES):
        down = int(random.integers(-rows.min(), height - rows.max()))
        across = int(random.integers(-columns.min(), width - columns.max()))
        if not taken[rows + down, columns + across].any():
            pasted = image.copy()
            pasted[rows + down, columns + across] = image[rows, columns]
            return pasted
    return None


def _wider(mask: Mask) -> Mask:
    margin = max(1, round(MARGIN * min(mask.shape) / 256))
    kernel = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return np.asarray(cv2.dilate(mask.astype(np.uint8), kernel) > 0)
