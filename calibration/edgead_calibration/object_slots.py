"""Finds the objects that every good picture has, and what places and sizes are worth when they are matched.

Every good picture with the usual number of objects is matched with a typical one, then with the mean of what was
matched. What distances and areas cost follows from how much matched objects move and change size: fixed places weigh
much, poured parts little. Objects that look alike are of one kind, whatever their slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead.ops.descriptors import Vectors, unit
from edgead.ops.matching import score_pairs
from edgead.ops.transport import assign

CANDIDATES, OTHERS = 12, 40  # images that may be the typical one, and those it is compared with
ROUNDS = 4
FIRST = (1.0, 0.2)  # what places and areas cost at first
STEADY = (0.03, 0.05)  # sides and logarithms of areas that are always allowed for
PAIRS = 300  # of good images, from which costs are taken
CONFUSED = 0.15  # of the objects of two slots look most like one of the other slot: they are of one kind
Indices = NDArray[np.intp]
Side = tuple[Vectors, Vectors, Vectors]  # descriptors and boxes of length 1, places


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Of every image, the slot of each of its objects; and what a distance and an area cost."""

    slots: list[Indices]  # (S,) each
    place: float
    area: float


def find_slots(images: Sequence[Side], seed: int) -> Slots:
    """The slots of good images with as many objects each."""
    random = np.random.default_rng(seed)
    place, area = FIRST
    prototype = _typical(images, random, place, area)
    slots: list[Indices] = []
    for _ in range(ROUNDS):
        slots = [_assigned(prototype, one, place, area) for one in images]
        ordered = [tuple(part[np.argsort(found)] for part in one) for one, found in zip(images, slots, strict=True)]
        described, boxes, places = (np.stack(parts) for parts in zip(*ordered, strict=True))
        middle = places.mean(axis=0)
        middle[:, 2] = np.exp(np.log(places[:, :, 2]).mean(axis=0))
        prototype = unit(described.mean(axis=0)), unit(boxes.mean(axis=0)), middle
        place, area = _costs(described, boxes, places, random)
    return Slots(slots, place, area)


def merge_slots(boxes: Vectors, slots: Indices, images: Indices) -> Indices:
    """The kind of every slot, numbered from 0 by the slots: those whose objects look most like one another's.

    `boxes` (M, D), of length 1, are all objects, of the `slots` (M,) and `images` (M,).
    """
    count = int(slots.max()) + 1
    confused = np.zeros((count, count))
    for row in range(len(boxes)):
        alike = boxes @ boxes[row]
        alike[images == images[row]] = -np.inf
        if np.isfinite(alike).any():
            confused[slots[row], slots[int(alike.argmax())]] += 1
    shares = confused / np.maximum(confused.sum(axis=1, keepdims=True), 1)
    kinds = np.arange(count)
    for one in range(count):
        for other in range(one):
            if (shares[one, other] + shares[other, one]) / 2 > CONFUSED:
                kinds[kinds == kinds[one]] = kinds[other]
    return np.asarray(np.unique(kinds, return_inverse=True)[1])


def _typical(images: Sequence[Side], random: np.random.Generator, place: float, area: float) -> Side:
    """The image whose objects fit those of others best."""
    candidates = random.permutation(len(images))[:CANDIDATES]
    others = random.permutation(len(images))[:OTHERS]

    def fit(index: int) -> float:
        return sum(_total(images[index], images[other], place, area) for other in others)

    return images[max(candidates, key=fit)]


def _total(one: Side, other: Side, place: float, area: float) -> float:
    scores = score_pairs(one, other, place, area)
    pairs = assign(-scores.astype(np.float64))
    return float(scores[pairs[:, 0], pairs[:, 1]].sum())


def _assigned(prototype: Side, one: Side, place: float, area: float) -> Indices:
    """The slot of every object of one image."""
    pairs = assign(-score_pairs(one, prototype, place, area).astype(np.float64))
    return pairs[:, 1]


def _costs(described: Vectors, boxes: Vectors, places: Vectors, random: np.random.Generator) -> tuple[float, float]:
    """What places and areas cost: as much, at their usual differences, as appearances do at theirs. All (N, S, .)."""
    count = len(places)
    if count < 2:
        return FIRST
    one = random.integers(count, size=PAIRS)
    other = (one + random.integers(1, count, size=PAIRS)) % count
    alike = (np.einsum("nsc,nsc->ns", described[one], described[other])
             + np.einsum("nsc,nsc->ns", boxes[one], boxes[other])) / 2  # fmt: skip
    apart = np.linalg.norm(places[one, :, :2] - places[other, :, :2], axis=2)
    ratio = np.abs(np.log(places[one, :, 2] / places[other, :, 2]))
    unlike = float((1 - alike).mean())
    return unlike / (float(apart.mean()) + STEADY[0]), unlike / (float(ratio.mean()) + STEADY[1])
