"""Collects the scores of every good image of a build, as a new part of the same kind would have them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead import Detector
from edgead.images import read_image
from edgead.ops import fuse, image_score, load_mask
from edgead_calibration.conformal import Corrected, correct_optimism
from edgead_calibration.refit import read_good
from edgead_tools.data import Sample, Split

OutOfFold = Mapping[str, NDArray[np.float32]]  # see `edgead_tools.methods.Trained.out_of_fold`


@dataclass(frozen=True, slots=True, eq=False)
class GoodScores:
    """Raw scores and the largest raw map values of good images, to which thresholds are fitted."""

    samples: tuple[Sample, ...]
    scores: tuple[float, ...]
    maxima: tuple[float, ...]
    margin: tuple[float, float] = (0.0, 0.0)  # what the scores and the maxima may be off by (`Corrected.margin`)


def collect_good_scores(
    detector: Detector, out_of_fold: OutOfFold, parts: Split, on_progress: Callable[[int, int], None]
) -> GoodScores:
    """Of the held-out images through the detector that the line runs; of all others from their maps out of fold, those
    trained on corrected by what the rest shows. Where a method gives no such maps, the held-out images alone count."""
    held_out = parts.held_out
    count = iter(range(1, len(held_out) + 1))
    frames = (read_image(sample.path, bits=detector.bundle.manifest.input.bits) for sample in held_out)
    scores, maxima = read_good(detector, frames, lambda: on_progress(next(count), len(held_out)))
    fusion = detector.bundle.manifest.fusion
    if fusion.components is not None or not {part.name for part in fusion.maps} <= out_of_fold.keys():
        return GoodScores(held_out, scores, maxima)
    others = _fused(detector, out_of_fold)
    samples = (*parts.train, *parts.calibration, *held_out)
    seen = np.arange(len(samples)) < len(parts.train)
    image, largest = (
        correct_optimism(np.concatenate(pair), seen)
        for pair in zip(others, (np.asarray(scores), np.asarray(maxima)), strict=True)
    )
    return GoodScores(samples, _plain(image), _plain(largest), (image.margin, largest.margin))


def _fused(detector: Detector, maps: OutOfFold) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score and largest value of each image's maps, fused as the detector fuses them."""
    fusion, mask = detector.bundle.manifest.fusion, load_mask(detector.bundle)
    count = len(next(iter(maps.values())))
    scores, maxima = np.empty(count), np.empty(count)
    for index in range(count):
        fused = fuse({part.name: maps[part.name][index] for part in fusion.maps}, fusion, mask)
        scores[index], maxima[index] = image_score(fused, fusion), float(fused.max())
    return scores, maxima


def _plain(corrected: Corrected) -> tuple[float, ...]:
    return tuple(corrected.scores.tolist())
