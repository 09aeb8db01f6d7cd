"""Runs the whole stage: from good images to label maps of their components."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgead.errors import UsageError, nearest
from edgead.types import Mask
from edgead_tools.backbones.efficientnet_lite import load_efficientnet_lite
from edgead_tools.backbones.sam import load_prompted_sam
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.components.classes import ComponentLabels, group
from edgead_tools.components.descriptors import item_descriptors
from edgead_tools.components.foreground import propose
from edgead_tools.components.refine import refine
from edgead_tools.components.sam_masks import find_everything

LAST_BLOCK = 15
NONE: Mapping[int, list[Mask]] = MappingProxyType({})
MaskSource = Literal["foreground", "mobile-sam", "sam-vit-h"]
SOURCES: tuple[MaskSource, ...] = get_args(MaskSource)
Masks = Iterable[list[Mask]]
Propose = Callable[[NDArray[np.uint8]], Masks]  # images (N, H, W, 3) -> masks (H, W) of each: the seam


@dataclass(frozen=True, slots=True)
class Search:
    """How much is looked at to find components."""

    images: int = 60  # at most: classes need no more, and each costs a second; 0: all
    turns: int = 8  # of every item when it is described


def find_components(
    images: NDArray[np.uint8],
    state: Mapping[str, Tensor],
    seed: int,
    *,
    proposals: Propose | None = None,
    masks: Mapping[int, list[Mask]] = NONE,
    search: Search = Search(),
) -> ComponentLabels:
    """Label maps of good images (N, H, W, 3) uint8 BGR, which may be a memory map; indices are those of `images`.

    `state` are the published weights of EfficientNet-Lite0. `proposals` gives masks where others than
    `components.foreground`'s are wanted; where there are `masks` of some of the images, only these are looked at.
    Raises DataError where the images have no components in common.
    """
    random = np.random.default_rng(seed)
    able = np.array(sorted(masks)) if masks else np.arange(len(images))
    chosen = np.sort(random.choice(able, min(search.images or len(able), len(able)), replace=False))
    some = np.stack([images[index] for index in chosen])
    with torch.no_grad():
        if masks:
            found: Masks = (masks[int(index)] for index in chosen)
        elif proposals is not None:
            found = proposals(some)
        else:
            found = propose(load_efficientnet_lite(state, taps=(2, 4, 10)), some, seed)
        items = [refine(masks) for masks in found]
        pairs = [(image, mask) for image, masks in zip(some, items, strict=True) for mask in masks]
        network = load_efficientnet_lite(state, taps=(LAST_BLOCK,))
        descriptors = item_descriptors(network, pairs, search.turns) if pairs else np.empty((0, 1), np.float32)
    grouped = group(items, descriptors)
    return ComponentLabels(
        grouped.names,
        {int(chosen[index]): one for index, one in grouped.labels.items()},
        tuple(index for index in range(len(images)) if index not in {int(chosen[i]) for i in grouped.labels}),
    )


def source_named(name: str) -> MaskSource:
    """The source of that name; raises UsageError naming the nearest."""
    for source in SOURCES:
        if source == name:
            return source
    raise UsageError(f"components are not found in '{name}': {nearest(name, SOURCES)}")


def choose_proposals(source: MaskSource, weights: Path | None, device: str, *, given: bool) -> Propose | None:
    """What `find_components` takes of that source; None is its own. `weights` is SAM's file, or a folder that has it.

    Raises UsageError where masks or label maps are `given` already, WeightsError where SAM's weights are missing.
    """
    if source == "foreground":
        return None
    if given:
        raise UsageError(f"the folder components says what the components are: take it away, or ask no {source}")
    sam = load_prompted_sam(load_state(find(source, weights)), source).to(device)
    return partial(find_everything, sam)
