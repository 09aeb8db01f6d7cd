"""Refines proposed masks to items that do not overlap (CSAD, 6.2)."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from edgead.types import Mask

SMALLEST = 0.001  # of the image's area
LARGEST = 0.95  # of the image's side, of an item's bounding box
COVERED = 0.9  # of a mask, by what was kept before it: it says nothing new
RIM = 2  # pixels
ON_RIM = 0.25  # of an item's pixels that may lie on the picture's rim: more is the frame around the picture


def refine(masks: Iterable[Mask]) -> list[Mask]:
    """Connected pieces (of four neighbors) of all masks (H, W), small ones first, each without what was kept before.

    Dropped are pieces below `SMALLEST`, nearly as wide or high as the image, along its rim, or already covered.
    """
    pieces = sorted((piece for mask in masks for piece in _pieces(mask)), key=lambda piece: int(piece.sum()))
    kept: list[Mask] = []
    union: Mask | None = None
    for piece in pieces:
        if union is None:
            union = np.zeros_like(piece)
        if int((piece & union).sum()) >= COVERED * int(piece.sum()):
            continue
        rest = piece & ~union
        if rest.sum() >= SMALLEST * rest.size:
            kept.append(rest)
            union |= piece
    return kept


def _pieces(mask: Mask) -> Iterable[Mask]:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    height, width = mask.shape
    inside = np.zeros_like(mask)
    inside[RIM:-RIM, RIM:-RIM] = True
    for label in range(1, count):
        _, _, across, down, area = (int(value) for value in stats[label])
        if area < SMALLEST * mask.size or across >= LARGEST * width or down >= LARGEST * height:
            continue
        piece = np.asarray(labels == label)
        if int((piece & ~inside).sum()) <= ON_RIM * area:
            yield piece
