"""Proposes objects: masks of what lies on the ground, or of connected pieces of classes, on the device.

The network says of every cell which cluster of features or which class it belongs to. Where some clusters are ground
for sure, each pixel elsewhere is compared with the color of the ground around it: what lies `CONTRAST` deviations of
the ground away is an object's, which follows its edge to the pixel and holds in any light.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.types import ImageU8, Labels, Mask

CONTRAST = 3.0  # of an object against the ground, in deviations of the ground's own color
NOISE = 3.0  # gray levels: the least deviation of a ground's color
NEAR, FAR = 0.04, 0.16  # of the side: how far around a pixel the ground is looked at, and where there is none so near
DISTRUST = 1e-3  # weight of ground that is far against ground that is near
PRESENT = 0.02  # of what is so far around a pixel that must be of a kind of ground for it to lie near
COARSER = 4
LARGEST = 0.95  # of the picture's side, of an object's bounding box
RIM = 2  # cells
ON_RIM = 0.25  # of an object's cells that may lie on the picture's rim: more is the frame around the picture
SAME = 0.9  # IoU from which two masks are one
MOST = 64  # objects of one picture, the largest
Cells = NDArray[np.bool_]  # (h, w)


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """One object: where it is, in shares of the picture's width and height, and its mask (h, w)."""

    mask: Mask
    x: float  # of the mask's center of mass, 0..1
    y: float
    area: float  # share of the picture

    @classmethod
    def of(cls, mask: Mask) -> Proposal:
        """The proposal of a mask that is not empty."""
        height, width = mask.shape
        rows, columns = np.nonzero(mask)
        x, y = (columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height
        return cls(mask, float(x), float(y), len(rows) / mask.size)


def cut_out(image: ImageU8, ground: Cells, kinds: Sequence[Cells] = ()) -> Mask:
    """Which pixels of an image (H, W, 3) are objects, (H, W), given which cells are ground for sure.

    Where the ground is of several `kinds`, a pixel is one of the kinds that lie near it or none: the mean of two kinds
    looks like neither.
    """
    height, width = image.shape[:2]
    colors = cv2.cvtColor(cv2.GaussianBlur(image, (3, 3), 0), cv2.COLOR_BGR2LAB).astype(np.float32)
    sure = _enlarged(cv2.erode(ground.astype(np.uint8), np.ones((3, 3), np.uint8)), height, width)
    open_to_doubt = _enlarged(cv2.dilate((~ground).astype(np.uint8), np.ones((3, 3), np.uint8)), height, width) > 0
    if not sure.any():
        return np.zeros((height, width), np.bool_)
    weight = sure.astype(np.float32)
    away = colors - _mean_around(colors, weight)[0]
    for kind in kinds:
        of_kind = weight * _enlarged(kind.astype(np.uint8), height, width)
        mean, near = _mean_around(colors, of_kind)
        other = colors - mean
        nearer = (near > PRESENT) & ((other**2).sum(axis=2) < (away**2).sum(axis=2))
        np.copyto(away, other, where=nearer[:, :, None])
    spread = np.sqrt((away**2 * weight[:, :, None]).sum((0, 1)) / weight.sum())
    distance = np.sqrt(((away / np.maximum(spread, NOISE)) ** 2).mean(axis=2))
    items = ((distance > CONTRAST) & open_to_doubt).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    cleaned = cv2.morphologyEx(cv2.morphologyEx(items, cv2.MORPH_CLOSE, kernel), cv2.MORPH_OPEN, kernel)
    return np.asarray(cleaned > 0)


def class_masks(labels: Labels, classes: int) -> list[Mask]:
    """One mask (h, w) of every class but the background, 0."""
    return [labels == number for number in range(1, classes)]


def find_pieces(masks: Iterable[Mask], smallest: float, gap: float = 0.0, bridge: float = 0.0) -> list[Mask]:
    """Connected pieces (of four neighbors) of masks (H, W) that cover at least `smallest` of the picture, are not
    nearly as wide or high as it, and do not lie along its rim.

    Pieces of one mask that are nearer than `gap` sides of the picture are one, and one that holds together by nothing
    wider than `bridge` sides is several.
    """
    whole = [piece for mask in masks for piece in _pieces(mask, smallest, gap)]
    return [part for piece in whole for part in _parted(piece, smallest, bridge)] if bridge else whole


def separate(masks: Sequence[Mask], smallest: float, largest: float) -> list[Proposal]:
    """Masks (H, W) without duplicates, larger ones without the smaller ones in them, of an area within the limits.

    The order of the masks makes no difference: objects come from top to bottom and from left to right. Of more than
    `MOST` the largest are taken.
    """
    ordered = sorted(masks, key=lambda mask: (int(mask.sum()), mask.tobytes()))
    taken: list[Mask] = []
    union = np.zeros_like(ordered[0]) if ordered else np.zeros((0, 0), np.bool_)
    for index, mask in enumerate(ordered):
        if any(_iou(mask, other) >= SAME for other in ordered[index + 1 :]):
            continue
        rest = mask & ~union
        union |= mask
        if max(1.0, smallest * mask.size) <= np.count_nonzero(rest) <= largest * mask.size:
            taken.append(rest)
    found = [Proposal.of(mask) for mask in taken[-MOST:]]
    return sorted(found, key=lambda one: (one.y, one.x))


def _pieces(mask: Mask, smallest: float, gap: float) -> Iterable[Mask]:
    height, width = mask.shape
    reach = round(gap * min(mask.shape))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach + 1, reach + 1))
    joined = cv2.dilate(mask.view(np.uint8), kernel)
    count, labels = cv2.connectedComponents(joined, connectivity=4)
    labels = np.where(mask, labels, 0)
    areas = np.bincount(labels.ravel(), minlength=count)
    for label in range(1, count):
        area = int(areas[label])
        if area < max(1.0, smallest * mask.size):
            continue
        piece = np.asarray(labels == label)
        _, _, across, down = cv2.boundingRect(piece.view(np.uint8))
        if across >= LARGEST * width or down >= LARGEST * height:
            continue
        if area - np.count_nonzero(piece[RIM:-RIM, RIM:-RIM]) <= ON_RIM * area:
            yield piece


def _parted(piece: Mask, smallest: float, bridge: float) -> list[Mask]:
    """A piece (H, W) cut at its bridges, if two parts or more are large enough without them."""
    reach = round(bridge * min(piece.shape))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach + 1, reach + 1))
    cores = cv2.erode(piece.view(np.uint8), kernel)
    count, labels = cv2.connectedComponents(cores, connectivity=4)
    areas = np.bincount(labels.ravel(), minlength=count)[1:]
    large = 1 + np.flatnonzero(areas >= max(1.0, smallest * piece.size))
    if len(large) < 2:
        return [piece]
    away = np.stack([cv2.distanceTransform((labels != one).view(np.uint8), cv2.DIST_L2, 5) for one in large])
    nearest = away.argmin(axis=0)
    return [piece & (nearest == index) for index in range(len(large))]


def _iou(one: Mask, other: Mask) -> float:
    common, both = int(np.count_nonzero(one & other)), int(np.count_nonzero(one | other))
    return common / max(1, both)


def _mean_around(
    colors: NDArray[np.float32], weight: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean color of the ground around every pixel, (H, W, 3), from further away where there is none near, and which
    share of all around it is ground, (H, W).

    It changes slowly, so it is computed on a quarter of the pixels each way.
    """
    height, width = weight.shape
    small = (max(1, width // COARSER), max(1, height // COARSER))
    both = np.concatenate([colors * weight[:, :, None], weight[:, :, None]], axis=2)
    shrunk = cv2.resize(both, small, interpolation=cv2.INTER_AREA)
    near, far = (cv2.GaussianBlur(shrunk, (0, 0), radius * max(small)) for radius in (NEAR, FAR))
    total = near + DISTRUST * far
    mean = total[:, :, :3] / np.maximum(total[:, :, 3:], 1e-9)
    large = (cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in (mean, far[:, :, 3]))
    found, share = (np.asarray(one, np.float32) for one in large)
    return found, share


def _enlarged(cells: Any, height: int, width: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
