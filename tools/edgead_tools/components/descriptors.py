"""Describes what an item looks like, whatever its rotation (CSAD, 6.3).

The item is cut out by its mask, brought to one size and described by the pretrained network's deep features, meaned
over the image and over its turns. Its real size, which bringing it to one size forgets, is added: a long and a short
screw look alike otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from edgead.types import ImageU8, Mask
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.methods.lite import lite_tensor

SIDE = 65  # pixels of the cut-out; the diagonal of the item's smallest rectangle has as many
BATCH = 64
SIZE = 1.0  # weight of the size's logarithm against the features, which have length 1


def crop(image: ImageU8, mask: Mask, turns: int) -> NDArray[np.uint8]:
    """The item (turns, SIDE, SIDE, 3) on black, turned about its middle and of one size."""
    points = cv2.findNonZero(mask.astype(np.uint8))
    (x, y), (across, down), _ = cv2.minAreaRect(points)
    scale = SIDE / max(float(np.hypot(across + 1, down + 1)), 1.0)
    alone = np.where(mask[:, :, None], image, 0).astype(np.uint8)
    pictures = []
    for index in range(turns):
        matrix = cv2.getRotationMatrix2D((x, y), 360.0 * index / turns, scale)
        matrix = matrix + np.array([[0, 0, (SIDE - 1) / 2 - x], [0, 0, (SIDE - 1) / 2 - y]])
        pictures.append(cv2.warpAffine(alone, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR))
    return np.stack(pictures)


@torch.no_grad()
def item_descriptors(
    network: EfficientNetLite, items: Sequence[tuple[ImageU8, Mask]], turns: int
) -> NDArray[np.float32]:
    """A vector (C + 1,) of every item: its features at unit length, then the weighted logarithm of its size.

    `network` has the last block as its only tap.
    """
    device = str(next(network.parameters()).device)
    step = max(1, BATCH // turns)
    found = []
    for start in range(0, len(items), step):
        pictures = [crop(image, mask, turns) for image, mask in items[start : start + step]]
        (tap,) = network(lite_tensor(np.concatenate(pictures), device)).values()
        found.append(tap.mean((2, 3)).reshape(len(pictures), turns, -1).mean(1).cpu().numpy())
    features = np.concatenate(found)
    features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    areas = np.array([mask.mean() for _, mask in items])
    return np.concatenate([features, SIZE * 0.5 * np.log(areas)[:, None]], axis=1).astype(np.float32)
