"""Chooses the good images that represent the line when ranges are set, and warns where they cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edgead.bundle import InputSpec
from edgead.ops import to_batch
from edgead.types import ImageU8

TILES = 400  # tiles, at most, that ranges are observed on
ENOUGH = 16  # images below which ranges depend on which they are
T = TypeVar("T")
Features = NDArray[np.float32]  # (N, columns), one row an image


def choose(features: Features, count: int, seed: int) -> list[int]:
    """The rows of a coreset of at most `count`: begun at random, each next one the farthest from all taken.

    The greedy k-center algorithm (Gonzalez 1985), which is within a factor two of the best cover. In ascending order.
    """
    total = len(features)
    if total <= count:
        return list(range(total))
    taken = [int(np.random.default_rng(seed).integers(total))]
    nearest = _distances(features, features[taken[0]])
    while len(taken) < count:
        taken.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, _distances(features, features[taken[-1]]))
    return sorted(taken)


def warnings(chosen: Features, others: Features) -> Iterator[str]:
    """What is wrong with a set of calibration images, beside other good images of the line, in plain sentences."""
    if len(chosen) < ENOUGH:
        yield f"{len(chosen)} images set the ranges and at least {ENOUGH} should: give more good images"
    if len(chosen) < 3 or not len(others):
        return
    gaps = np.array([np.delete(_distances(chosen, row), index).min() for index, row in enumerate(chosen)])
    far = sum(float(_distances(chosen, row).min()) > 1.5 * float(gaps.max()) for row in others)
    if far > max(1, len(others) // 10):
        yield (
            f"{far} of {len(others)} other good images are unlike every image that sets the ranges: these show one "
            "side of the line only; give images of every light and every batch"
        )


def inputs_of(images: Sequence[ImageU8], spec: InputSpec) -> list[NDArray[np.float32]]:
    """What the graph is given of images, (1, 3, H, W) each. Of frames in tiles it is as many tiles of each as `TILES`
    allow, one by one; all in one, (T, 3, H, W), where the graph must have them together."""
    batches = (to_batch(image, spec) for image in images)
    if spec.tiles is None or spec.tiles.apart:
        return list(batches)
    each = max(1, min(spec.batch, TILES // max(1, len(images))))
    step = spec.batch // each
    return [
        np.ascontiguousarray(batch[(index + number * step) % spec.batch][None])
        for index, batch in enumerate(batches)
        for number in range(each)
    ]


def digest(image: ImageU8) -> str:
    """SHA-256 of an image's size and pixels, 16 hex digits of it."""
    return hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()[:16]


def evenly_spaced(items: Sequence[T], count: int) -> Sequence[T]:
    """At most `count` of the items, evenly spread over them."""
    return items if len(items) <= count else [items[index * len(items) // count] for index in range(count)]


def _distances(features: Features, row: Features) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(features.astype(np.float64) - row, axis=1))
