"""Sees the objects of a picture: masks from what the network says of every cell, and features inside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.bundle.matching import MatchingSpec, ProposalSpec
from edgead.ops.components import COMPONENTS, label_cells
from edgead.ops.descriptors import Features, Vectors, align, describe, interpolate, pool
from edgead.ops.everything import Finder
from edgead.ops.proposals import class_masks, cut_out, find_pieces, separate
from edgead.types import ImageU8, MapF32, Mask

SPECK = 0.0005  # of the picture: what is smaller is nothing, whatever the limits
OPENED = 3  # pixels: what is thinner is left of what scenery was taken from


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The objects of one picture, from top to bottom and from left to right; M may be 0."""

    places: NDArray[np.float32]  # (M, 3): x and y of every object's center of mass and its area, shares of the picture
    masks: NDArray[np.bool_]  # (M, h, w), on the grid of the features; none is empty
    levels: tuple[MapF32, ...]  # the features as the graph gives them, (c, h, w) each
    described: Vectors  # (M, C): descriptors, before the mean is taken from them
    boxes: Vectors  # (M, C * box * box): the features in each object's box

    def features(self, height: int, width: int) -> Features:
        """(C, height, width), computed anew at each call."""
        return interpolate(list(self.levels), height, width)

    def reduced(self, height: int, width: int) -> Scene:
        """The scene with its features on a coarse grid alone."""
        return replace(self, levels=(self.features(height, width),))

    @property
    def labels(self) -> NDArray[np.uint8]:
        """(h, w): the number of the object, from 1, that each cell belongs to."""
        painted = np.zeros(self.masks.shape[1:], np.uint8)
        for number, mask in enumerate(self.masks, start=1):
            painted[mask] = number
        return painted

    def key(self, height: int, width: int) -> NDArray[np.float16]:
        """What images are compared by: the features on a coarse grid, (C * height * width,)."""
        return self.features(height, width).astype(np.float16).ravel()


def find_masks(
    image: ImageU8, outputs: Mapping[str, MapF32], spec: ProposalSpec, scenery: Mask | None = None,
    finder: Finder | None = None,
) -> list[Mask]:  # fmt: skip
    """The masks (H, W) of everything that may be an object, in an image (H, W, 3) at the network's size; `finder` is
    that of a source which is not the graph's."""
    if finder is not None:
        return finder(image)
    masks = stand_out(image, outputs[COMPONENTS], spec)
    if scenery is not None:
        masks = [remove_scenery(mask, scenery) for mask in masks]
    return find_pieces(masks, SPECK, spec.gap, spec.bridge)


def stand_out(image: ImageU8, logits: MapF32, spec: ProposalSpec) -> list[Mask]:
    """What stands out against the ground in one mask (H, W), or a mask of every class, from logits (K, h, w)."""
    if spec.source == "classes":
        return class_masks(label_cells(logits, *image.shape[:2]), spec.classes)
    labels = label_cells(logits, *logits.shape[1:])
    return [cut_out(image, np.isin(labels, spec.ground), [labels == kind for kind in spec.ground])]


def remove_scenery(mask: Mask, scenery: Mask) -> Mask:
    """The mask (H, W) without scenery, and without the thin rest that this leaves."""
    kernel = np.ones((OPENED, OPENED), np.uint8)
    return np.asarray(cv2.morphologyEx((mask & ~scenery).view(np.uint8), cv2.MORPH_OPEN, kernel) > 0)


def see(masks: Sequence[Mask], outputs: Mapping[str, MapF32], spec: MatchingSpec) -> Scene:
    """The scene that masks and the network's outputs of one frame show."""
    proposals = separate(masks, spec.proposals.smallest, spec.proposals.largest)
    levels = tuple(outputs[name] for name in spec.features)
    features = interpolate(list(levels), spec.height, spec.width)
    cells = np.zeros((len(proposals), spec.height, spec.width), np.bool_)
    boxes = np.empty((len(proposals), len(features) * spec.box**2), np.float32)
    for index, one in enumerate(proposals):
        cells[index] = _on_grid(one.mask, spec.height, spec.width)
        boxes[index] = align(features, cells[index], spec.box).ravel()
    described = describe(pool(features, cells, spec.descriptor), spec.descriptor)
    places = np.array([(one.x, one.y, one.area) for one in proposals], np.float32).reshape(-1, 3)
    return Scene(places, cells, levels, described, boxes)


def _on_grid(mask: Mask, height: int, width: int) -> Mask:
    """The cells that a mask covers by half, or the one it covers most."""
    shares = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    covered = shares >= 0.5
    return np.asarray(covered if covered.any() else shares == shares.max())
