"""Proposes masks of everything in an image: SAM is prompted at a grid of points, and its confident masks are used.

Source: Segment Anything (arXiv 2304.02643, appendix B) and its published mask generator, whose defaults these are.
Every point gives three masks, a part to the whole; kept is what SAM rates high and what hardly changes with the
threshold it is cut at. Of masks with nearly the same box the highest rated stays. Pieces and holes too small to be
meant are removed.

Against the published generator: pictures are brought to the encoder's square input (those of a build are square
already); logits are interpolated to the picture's size once, not by way of the encoder's input; specks are counted in
shares of the picture; and there are no zoomed-in crops, off by default there too. Compared with segment-anything 1.0 on
weights of noise; the published weights have not been tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgead.types import Mask
from edgead_tools.backbones.sam import SIDE, PromptedSam, tensor_from

Boxes = NDArray[np.int64]  # (N, 4): left, top, right, bottom in pixels, the last two outside
Found = tuple[NDArray[np.uint8], float]  # a mask's pixels as packed bits, and its rating


@dataclass(frozen=True, slots=True)
class Everything:
    """How masks are asked for and which are kept."""

    points: int = 32  # a side of the grid
    rated: float = 0.88  # the least IoU that SAM thinks a mask has
    stable: float = 0.95  # the least stability
    offset: float = 1.0  # of the logits, up and down, by which stability is measured
    alike: float = 0.7  # IoU of two boxes above which they are of one thing
    speck: float = 1e-4  # of the picture: pieces and holes that are smaller are removed; 100 pixels at 1024
    batch: int = 32  # points at a time, 19 MB each at 1024; the published 64 give the same masks
    side: int = SIDE  # of the encoder's input, a multiple of 16


def find_everything(sam: PromptedSam, images: NDArray[np.uint8], how: Everything | None = None) -> Iterator[list[Mask]]:
    """Masks (H, W) of every one of the images (N, H, W, 3) uint8 BGR, the highest rated first; they may overlap.

    On the device `sam` is on.
    """
    how = how or Everything()
    for image in images:
        yield _everything(sam, np.ascontiguousarray(image), how)


@torch.no_grad()
def _everything(sam: PromptedSam, image: NDArray[np.uint8], how: Everything) -> list[Mask]:
    device = next(sam.parameters()).device
    shape = image.shape[:2]
    large = cv2.resize(image, (how.side, how.side), interpolation=cv2.INTER_LINEAR)
    embedding = sam.encoder(tensor_from(torch.from_numpy(large)[None].to(device)))
    points = grid(how.points) + np.float32(0.5 / how.side)  # half a pixel, as SAM was taught
    found: list[Found] = []
    for start in range(0, len(points), how.batch):
        logits, ratings = sam(embedding, torch.from_numpy(points[start : start + how.batch]).to(device))
        found.extend(_sure(logits, ratings, shape, how))
    masks = [_unpacked(bits, shape) for bits, _ in _different(found, shape, how)]
    return _without_specks(masks, how)


def _sure(logits: Tensor, ratings: Tensor, shape: tuple[int, int], how: Everything) -> Iterator[Found]:
    """The masks among (P, 3, h, w) that are rated high and stable, one at a time at the picture's size."""
    for point, number in (ratings > how.rated).nonzero().tolist():
        one = functional.interpolate(logits[point, number][None, None], shape, mode="bilinear", align_corners=False)
        values = one[0, 0].cpu().numpy()
        if stability(values, how.offset) >= how.stable:
            yield np.packbits(values > 0), float(ratings[point, number])


def _different(found: list[Found], shape: tuple[int, int], how: Everything) -> list[Found]:
    boxes = np.array([box_of(_unpacked(bits, shape)) for bits, _ in found], np.int64).reshape(-1, 4)
    return [found[index] for index in suppress(boxes, np.array([rating for _, rating in found]), how.alike)]


def _without_specks(masks: list[Mask], how: Everything) -> list[Mask]:
    """The masks cleaned; of those that are alike now, one that was clean before stays."""
    cleaned = [remove_specks(mask, how.speck * mask.size) for mask in masks]
    same = [float(np.array_equal(*pair)) for pair in zip(masks, cleaned, strict=True)]
    boxes = np.array([box_of(mask) for mask in cleaned], np.int64).reshape(-1, 4)
    return [cleaned[index] for index in sorted(suppress(boxes, np.array(same), how.alike))]


def grid(points: int) -> NDArray[np.float32]:
    """The centers of points x points cells, (points^2, 2): x and y in 0..1, row by row."""
    line = (np.arange(points, dtype=np.float32) + 0.5) / points
    x, y = np.meshgrid(line, line)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def stability(logits: NDArray[np.float32], offset: float) -> float:
    """The IoU of the masks cut at `offset` above and below the threshold 0; 0 where both are empty."""
    wide = int(np.count_nonzero(logits > -offset))
    return int(np.count_nonzero(logits > offset)) / wide if wide else 0.0


def box_of(mask: Mask) -> tuple[int, int, int, int]:
    """The box around a mask that is not empty."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return x, y, x + width, y + height


def suppress(boxes: Boxes, scores: NDArray[np.float64], most: float) -> list[int]:
    """Which boxes stay, best first: each in turn, of equal ones the first, removes those it overlaps by an IoU above
    `most`."""
    order = np.argsort(-scores, kind="stable")
    kept = []
    while len(order):
        first, order = int(order[0]), order[1:]
        kept.append(first)
        order = order[_ious(boxes[first], boxes[order]) <= most]
    return kept


def _ious(box: NDArray[np.int64], others: Boxes) -> NDArray[np.float64]:
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.maximum(sides, 0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    return np.asarray(common / (areas - common))


def remove_specks(mask: Mask, least: float) -> Mask:
    """The mask without holes, then without pieces, of fewer than `least` pixels (eight neighbors touch); its largest
    piece stays."""
    filled = mask | _small_pieces(~mask, least)
    specks = _small_pieces(filled, least)
    if np.array_equal(specks, filled):
        count, labels, stats, _ = cv2.connectedComponentsWithStats(filled.astype(np.uint8), connectivity=8)
        return np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())) if count > 1 else filled
    return filled & ~specks


def _small_pieces(mask: Mask, least: float) -> Mask:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] < least
    small[0] = False  # what is not the mask
    return np.asarray(small[labels])


def _unpacked(bits: NDArray[np.uint8], shape: tuple[int, int]) -> Mask:
    return np.unpackbits(bits, count=shape[0] * shape[1]).astype(np.bool_).reshape(shape)
