"""Judges networks by anomalies planted into good images that none has learned from, and says how sure that is.

The anomalies are not those that students are trained on (`data.alterations`): on those of the training, students are
ahead wherever they are looked at, also where real defects are found worse with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgead.bundle.manifest import FusionSpec
from edgead_calibration.images import evenly_spaced
from edgead_tools.data.alterations import ALTERATIONS
from edgead_tools.methods import TrainingImages
from edgead_tools.methods.lite import chunk, lite_tensor
from edgead_tools.methods.memory import Maps, read_maps, scores_of

FRAMES = 40  # good images at most, in each of which one of each kind is planted
FEWEST = 4  # good images, below which nothing can be said


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """Good images and after them what was made of each: (N + E N, H, W, 3), those of one frame together."""

    images: NDArray[np.uint8]
    frames: int
    tiles: int  # of a frame

    def read(self, network: Callable[[Tensor], Mapping[str, Tensor]], device: str) -> Maps:
        """The network's maps of all pictures."""
        size = chunk(self.tiles)
        starts = range(0, len(self.images), size)
        return read_maps(network, (lite_tensor(self.images[one : one + size], device) for one in starts))

    def wins(self, maps: Maps, fusion: FusionSpec) -> Wins:
        """How often what is planted is found stranger than what is good, by the maps' fusion."""
        scores = scores_of(maps, fusion).reshape(-1, self.frames, self.tiles).max(2)
        good, bad = scores[0], scores[1:]
        shares: Wins = (bad[:, :, None] > good).mean(0) + 0.5 * (bad[:, :, None] == good).mean(0)
        return shares


Wins = NDArray[np.float64]  # (frames, frames): the share of a frame's anomalies that score above a good frame


def plant(images: TrainingImages, seed: int) -> Planted:
    """Anomalies in images to calibrate with, of which all tiles of a frame are altered."""
    tiles, count = images.tiles, len(images.calibration) // images.tiles
    frames = evenly_spaced(range(count), max(1, FRAMES // tiles))
    good = np.concatenate([images.calibration[tiles * frame : tiles * (frame + 1)] for frame in frames])
    random = np.random.default_rng(seed)
    others = random.integers(len(images.train), size=(len(ALTERATIONS), len(good)))
    altered = [
        alter(np.asarray(image), np.asarray(images.train[other]), random)
        for alter, row in zip(ALTERATIONS, others, strict=True)
        for image, other in zip(good, row, strict=True)
    ]
    return Planted(np.concatenate([good, np.stack(altered)]), len(frames), tiles)


def gain(after: Wins, before: Wins) -> tuple[float, float]:
    """The difference of two AUROCs and its standard error, by leaving out each good frame with what was planted in it
    (a jackknife); of too few frames the error is 1, since nothing is known."""
    difference = after - before
    count = len(difference)
    if count < FEWEST:
        return float(difference.mean()), 1.0
    own = difference.sum(0) + difference.sum(1) - difference.diagonal()
    without = (difference.sum() - own) / (count - 1) ** 2
    error = np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum())
    return float(difference.mean()), float(error)
