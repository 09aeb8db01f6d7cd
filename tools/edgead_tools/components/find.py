"""The whole stage: from good images to label maps of their components."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgead.types import Mask
from edgead_tools.components.classes import ComponentLabels, group
from edgead_tools.components.descriptors import describe
from edgead_tools.components.foreground import propose
from edgead_tools.components.refine import refine
from edgead_tools.nets.efficientnet_lite import load_efficientnet_lite

LOOKED_AT = 60  # images: classes need no more, and each costs a second
TURNS = 8
LAST_BLOCK = 15
Masks = Iterable[list[Mask]]
Propose = Callable[[NDArray[np.uint8]], Masks]  # images (N, H, W, 3) -> masks (H, W) of each: the seam


def find_components(
    images: NDArray[np.uint8], state: Mapping[str, Tensor], seed: int, *, proposals: Propose | None = None
) -> ComponentLabels:
    """Label maps of good images (N, H, W, 3) uint8 BGR, which may be a memory map; indices are those of `images`.

    `state` are the published weights of EfficientNet-Lite0. `proposals` gives masks where others than
    `components.foreground`'s are wanted. Raises DataError where the images have no components in common.
    """
    random = np.random.default_rng(seed)
    chosen = np.sort(random.choice(len(images), min(LOOKED_AT, len(images)), replace=False))
    some = np.stack([images[index] for index in chosen])
    with torch.no_grad():
        found = (
            proposals(some)
            if proposals is not None
            else propose(load_efficientnet_lite(state, taps=(2, 4, 10)), some, seed)
        )
        items = [refine(masks) for masks in found]
        pairs = [(image, mask) for image, masks in zip(some, items, strict=True) for mask in masks]
        network = load_efficientnet_lite(state, taps=(LAST_BLOCK,))
        descriptors = describe(network, pairs, TURNS) if pairs else np.empty((0, 1), np.float32)
    grouped = group(items, descriptors)
    return ComponentLabels(
        grouped.names,
        {int(chosen[index]): one for index, one in grouped.labels.items()},
        tuple(index for index in range(len(images)) if index not in {int(chosen[i]) for i in grouped.labels}),
    )
