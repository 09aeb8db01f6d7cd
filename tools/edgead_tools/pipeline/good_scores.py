"""Collects the scores of every good image of a build, as a new part of the same kind would have them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgead.bundle import Thresholds
from edgead.bundle.draft import Model
from edgead.ops import fuse_batch, image_score, load_mask
from edgead.reader import Reader
from edgead.types import MapF32
from edgead_calibration.conformal import correct_optimism
from edgead_calibration.refit import read_good
from edgead_calibration.thresholds import fit_thresholds
from edgead_tools.data import Sample
from edgead_tools.methods import Trained
from edgead_tools.pipeline.images import BuildImages


@dataclass(frozen=True, slots=True, eq=False)
class GoodScores:
    """Raw scores and the largest raw map values of good images, to which thresholds are fitted."""

    samples: tuple[Sample, ...]
    scores: tuple[float, ...]
    maxima: tuple[float, ...]
    margin: tuple[float, float] = (0.0, 0.0)  # what the scores and the maxima may be off by (`Corrected.margin`)
    parts: tuple[int, ...] = ()  # the number of the part that each shows; none: each shows another
    strange: tuple[tuple[Sample, float], ...] = ()  # images that do not count (`Trained.strange`), and their scores
    maps: Mapping[str, MapF32] = field(default_factory=dict)  # of outliers by name, calibrated, as the scores are made

    def thresholds(self, false_alarm_rate: float) -> Thresholds:
        """The thresholds for that rate."""
        fitted = fit_thresholds(self.scores, self.maxima, false_alarm_rate, self.margin, parts=self.parts)
        return msgspec.structs.replace(fitted, outliers=fitted.outliers + len(self.strange))


def collect_good_scores(
    reader: Reader, trained: Trained, images: BuildImages, on_progress: Callable[[int, int], None]
) -> GoodScores:
    """Of the held-out images through the engine; of all others as the method says, from their maps out of fold or their
    scores, where training shaped these corrected by what the rest shows. Where it says neither, the held-out images
    alone count. Of held-out images that show a part which is learned from those count that the correction needs."""
    parts, held_out = images.parts, images.parts.held_out
    count = iter(range(1, len(held_out) + 1))
    scores, maxima = read_good(reader, images.rows(held_out), lambda: on_progress(next(count), len(held_out)))
    fusion = reader.source.manifest.fusion
    used = {part.name for part in fusion.maps}
    if trained.good is not None:
        others = trained.good
    elif fusion.components is None and used <= trained.out_of_fold.keys():
        others = _fused(reader.source, trained.out_of_fold)
    else:
        strangers = [images.learned[row] for row in sorted(trained.strange)]
        strange = tuple(zip(strangers, read_good(reader, images.rows(strangers))[0], strict=True))
        return GoodScores(held_out, scores, maxima, parts=images.groups(held_out), strange=strange)
    untrained = used <= trained.untrained
    known = set(images.groups(images.good)[: len(images.learned)]) if untrained else set()
    new = [row for row, number in enumerate(images.checked.parts_of(held_out)) if number not in known]
    samples = (*images.learned, *(held_out[row] for row in new))
    seen = np.arange(len(samples)) < (0 if untrained else len(parts.train))
    image, largest = (
        correct_optimism(np.concatenate(pair), seen)
        for pair in zip(others, (np.asarray(scores)[new], np.asarray(maxima)[new]), strict=True)
    )
    kept = [row for row in range(len(samples)) if row not in trained.strange]
    counted = tuple(samples[row] for row in kept)
    strange = tuple((samples[row], float(image.scores[row])) for row in sorted(trained.strange))
    values, maxima = (tuple(one.scores[kept].tolist()) for one in (image, largest))
    return GoodScores(counted, values, maxima, (image.margin, largest.margin), images.groups(counted), strange)


def maps_out_of_fold(
    model: Model, trained: Trained, learned: Sequence[Sample], names: Collection[str]
) -> dict[str, MapF32]:
    """The raw fused maps (h, w) of the named images among those learned from, out of fold; none of a method that gives
    no such maps."""
    spec, fusion = model.manifest.input, model.manifest.fusion
    if fusion.components is not None or not {part.name for part in fusion.maps} <= trained.out_of_fold.keys():
        return {}
    mask = load_mask(model)
    found = {}
    for index, sample in enumerate(learned):
        if sample.name in names:
            rows = slice(index * spec.batch, (index + 1) * spec.batch)
            maps = {part.name: trained.out_of_fold[part.name][rows] for part in fusion.maps}
            found[sample.name] = fuse_batch(maps, spec, fusion, mask)
    return found


def _fused(model: Model, maps: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score and largest value of each image's maps, fused as a detector fuses them."""
    spec, fusion, mask = model.manifest.input, model.manifest.fusion, load_mask(model)
    count = len(next(iter(maps.values()))) // spec.batch
    scores, maxima = np.empty(count), np.empty(count)
    for index in range(count):
        rows = slice(index * spec.batch, (index + 1) * spec.batch)
        fused = fuse_batch({part.name: maps[part.name][rows] for part in fusion.maps}, spec, fusion, mask)
        scores[index], maxima[index] = image_score(fused, fusion), float(fused.max())
    return scores, maxima
