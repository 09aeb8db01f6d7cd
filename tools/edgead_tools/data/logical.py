"""Makes logical synthetic anomalies (LSA; CSAD, 7): an item of a labeled image copied to another place of it.

The segmentation network so sees items where good parts never have them, and learns what they look like instead of where
they lie. The item's pixels and its labels go together. Labels are warped by nearest neighbor; where no place is found
within the tries, nothing is pasted.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edgead.types import ImageU8, Labels, Mask

SMALLEST = 0.001  # of the image's area, of an item
TRIES = 50
POINTS = 1000  # places drawn from
MARGIN = 0.1  # of the side, where no item's middle is put
OUTSIDE = (0.5, 0.1)  # share of the item that may fall outside of the picture: of the first paste and of the second
SECOND = 0.5  # share of pictures with a second paste
ON_GROUND = (0.5, 0.9)  # share of the item that may lie on the ground, where a rule asks for it: as published
PUBLISHED_TRIES = 500


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One connected piece of a label map."""

    mask: Mask
    x: float  # of its bounding box's middle, pixels
    y: float


def find_items(labels: Labels) -> list[Item]:
    """The connected pieces (of four neighbors) of every class, above the background and `SMALLEST`."""
    items = []
    for number in range(1, int(labels.max()) + 1):
        count, pieces, stats, _ = cv2.connectedComponentsWithStats((labels == number).astype(np.uint8), connectivity=4)
        for piece in range(1, count):
            x, y, width, height, area = (int(value) for value in stats[piece])
            if area >= SMALLEST * labels.size:
                items.append(Item(np.asarray(pieces == piece), x + (width - 1) / 2, y + (height - 1) / 2))
    return items


def corner_ground(labels: Labels) -> Mask:
    """The ground around a part: what has no label and is connected to a corner of the picture or the middle of a side,
    the eight points from which the published code asks SAM for the background."""
    _, pieces = cv2.connectedComponents((labels == 0).astype(np.uint8), connectivity=4)
    bottom, right = labels.shape[0] - 1, labels.shape[1] - 1
    rows, columns = (0, bottom // 2, bottom), (0, right // 2, right)
    points = [(y, x) for y in rows for x in columns if (y, x) != (rows[1], columns[1])]
    touched = {int(pieces[point]) for point in points} - {0}
    return np.asarray(np.isin(pieces, list(touched)))


def paste_items(
    image: ImageU8,
    labels: Labels,
    items: list[Item],
    random: np.random.Generator,
    *,
    nearest: float = 0.2,
    ground: Mask | None = None,
) -> tuple[ImageU8, Labels]:
    """A new picture (H, W, 3) and label map (H, W) with one item more, or two, each turned at will.

    `nearest` is the least way between an item's place and its copy's, of the side; further places are likelier. With a
    `ground` (H, W) the published rule holds: less than `ON_GROUND` of an item may lie on it.
    """
    pasted, relabeled = image.copy(), labels.copy()
    if items:
        order = random.permutation(len(items))
        for count in range(1 + (random.random() < SECOND)):
            item = items[order[count % len(items)]]
            matrix = _place(item, labels.shape, random, nearest, count, ground)
            if matrix is not None:
                _paste(image, labels, item, matrix, pasted, relabeled)
    return pasted, relabeled


def _place(
    item: Item, shape: tuple[int, ...], random: np.random.Generator, nearest: float, count: int, ground: Mask | None
) -> np.ndarray | None:
    """The warp to a place that the rule of the paste of that number, 0 or 1, allows, or None."""
    height, width = shape
    points = random.uniform(MARGIN, 1 - MARGIN, (POINTS, 2))
    away = ((points - (item.x / width, item.y / height)) ** 2).sum(axis=1)
    weight = np.where(away >= nearest**2, away, 0.0)
    if weight.sum() == 0:
        return None
    area = float(item.mask.sum())
    tries = TRIES if ground is None else PUBLISHED_TRIES
    for target in random.choice(POINTS, tries, p=weight / weight.sum()):
        matrix = cv2.getRotationMatrix2D((item.x, item.y), float(random.integers(360)), 1.0)
        shift = points[target] * (width, height) - (item.x, item.y)
        matrix = matrix + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
        warped = _warped(item.mask, matrix)
        if ground is None:
            allowed = warped.sum() > (1 - OUTSIDE[count]) * area
        else:
            allowed = warped.any() and (warped & ground).sum() < ON_GROUND[count] * area
        if allowed:
            return np.asarray(matrix)
    return None


def _paste(image: ImageU8, labels: Labels, item: Item, matrix: np.ndarray, pasted: ImageU8, relabeled: Labels) -> None:
    height, width = labels.shape
    place = _warped(item.mask, matrix)
    moved = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    pasted[place] = moved[place]
    relabeled[place] = labels[item.mask].max()


def _warped(mask: Mask, matrix: np.ndarray) -> Mask:
    height, width = mask.shape
    moved = cv2.warpAffine(mask.astype(np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST)
    return np.asarray(moved > 0)


SHIFT = 0.01  # of the side, and of the size
TURN = 2.0  # degrees
LIGHT = 0.05  # of brightness and contrast


def jitter_scene(image: ImageU8, labels: Labels, random: np.random.Generator) -> tuple[ImageU8, Labels]:
    """A new picture and label map, moved, turned and lit a little differently; black and background come in."""
    height, width = labels.shape
    if random.random() < 0.5:
        turn, zoom = random.uniform(-TURN, TURN), random.uniform(1 - SHIFT, 1 + SHIFT)
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, zoom)
        right, down = random.uniform(-SHIFT, SHIFT, 2)
        matrix = matrix + np.array([[0, 0, right * width], [0, 0, down * height]])
        image = np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)
        labels = np.asarray(cv2.warpAffine(labels, matrix, (width, height), flags=cv2.INTER_NEAREST), np.uint8)
    if random.random() < 0.5:
        contrast, brightness = random.uniform(1 - LIGHT, 1 + LIGHT), 255 * random.uniform(-LIGHT, LIGHT)
        image = np.asarray(cv2.addWeighted(image, contrast, image, 0.0, brightness), np.uint8)
    return image, labels
