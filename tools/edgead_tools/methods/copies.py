"""Remembers good images in more of what they could have shown: copies that are turned, placed or lit differently.

A cell of 1/16 sees a part at steps of 16 pixels: few images show an edge at few of the places at which it can lie in a
cell, and a good part whose edge lies elsewhere is far from all of them. Copies that are moved by up to half a cell, and
turned, zoomed and lit a little, fill what is between. They are left out with their image wherever that is, and cost a
part on the line nothing. `ENOUGH` images have about as many patches as the regions hold, and parts that move have one
bank that few images fill. There copies would take the places of real patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from edgead.types import ImageU8
from edgead.wording import are, plural
from edgead_tools.data.augment import nudged
from edgead_tools.layers.memory_map import find_places
from edgead_tools.methods import TrainingImages
from edgead_tools.methods.lite import lite_tensor

ENOUGH = 50  # good images that need no copies
MOST_VARIED = 4  # copies of an image
HALF_A_CELL = 8.0  # pixels
DEGREES = 2.0  # by which they are turned, either way

Change = Callable[[ImageU8, int, np.random.Generator], ImageU8]  # an image, the number of its copy, draws -> the copy


def good_image(images: TrainingImages, index: int) -> ImageU8:
    """An image by its number among those to train on and then those to calibrate with."""
    first = len(images.train)
    return np.asarray(images.train[index] if index < first else images.calibration[index - first])


def copied_batches(
    images: TrainingImages, copies: int, change: Change, seed: int, device: str, size: int
) -> Iterator[Tensor]:
    """All images, changed, then all of them again, as often as `copies` says; the trunk's input."""
    random = np.random.default_rng(seed)
    for copy in range(copies):
        for start in range(0, images.count, size):
            rows = range(start, min(images.count, start + size))
            yield lite_tensor(np.stack([change(good_image(images, row), copy, random) for row in rows]), device)


def varied(image: ImageU8, copy: int, random: np.random.Generator) -> ImageU8:
    """A part that was placed or lit a little differently."""
    return nudged(image, random, pixels=HALF_A_CELL, degrees=DEGREES)


def varied_copies(answer: bool | None, images: int, *, still: bool) -> int:
    """How many varied copies of each of so many images are remembered: where `answer` is None, of few images of parts
    that lie still."""
    if answer is False or (answer is None and not (still and images < ENOUGH)):
        return 0
    return max(1, min(MOST_VARIED, 4 * ENOUGH // images))


@dataclass(frozen=True, slots=True)
class Variety:
    """How many varied copies of every image are remembered, and what was looked at to know it."""

    copies: int
    places: bool | None  # `places` of `fit_memory_map`
    still: float | None = None  # `FittedMemory.still` without copies; None: the memory is fitted without


def find_variety(
    answer: bool | None, places: bool | None, cells: Tensor, count: int, folds: Sequence[Tensor], seed: int
) -> Variety:
    """How many copies of the images whose cells (N, C, h, w) these are, found out before the memory is fitted, which
    takes far longer; `answer` and `places` as options have them, the others as `fit_memory_map` takes them."""
    if not varied_copies(answer, len(cells), still=places is not False):
        return Variety(0, places)
    apart, still = (places, 1.0) if places is not None else find_places(cells, count, folds, seed=seed)
    copies = varied_copies(answer, len(cells), still=apart)
    return Variety(copies, apart, still) if copies else Variety(0, places)


def variety_finding(copies: int, images: int, *, still: bool) -> dict[str, str]:
    """Whether the memory holds more than the images have, and what was chosen, as `Turning.finding` has it."""
    held, few = plural(copies, "copy", "copies"), still and images < ENOUGH
    return {
        "found": "the memory holds more than the images have" if few else "images fill the memory",
        "figures": f"{images} images of a part that {'lies still' if still else 'moves'}, "
        f"where {ENOUGH if still else 'few'} fill it",
        "chosen": f"{held} of every image, placed and lit a little differently, {are(copies)} remembered"
        if copies
        else "images are remembered as they are",
        "overrule": f"--set varied={'no' if copies else 'yes'}",
    }
