"""Adds INT8 and FP16 to a bundle from a data set: which images each step sees, and the anomalies planted in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgead import Bundle
from edgead.bundle import Manifest
from edgead.images import read_image
from edgead.ops import resize
from edgead.progress import Reporter
from edgead.types import ImageU8
from edgead_calibration.good_images import left_in_words, parts_in_words, unlike_profile
from edgead_calibration.images import evenly_spaced
from edgead_calibration.precisions import PrecisionResult, add_precisions
from edgead_calibration.probe import ProbeFrames
from edgead_calibration.recipe import load_recipe
from edgead_tools.data import Dataset, Sample, Split, check, open_dataset, split
from edgead_tools.data.anomalies import Anomalies, Kind, default_textures

RANGES = 200  # good images at most, of which a coreset sets the ranges
GOOD = 256  # held-out images at most, to which thresholds are fitted and on which precisions are compared
ANOMALOUS = 64  # planted anomalies at most, and as many labeled ones
KINDS: tuple[Kind, ...] = ("perlin", "crack", "blob")


def fill(
    bundle: Bundle,
    recipe: str,
    dataset: Dataset,
    parts: Split,
    reporter: Reporter,
    *,
    precisions: Sequence[str] = (),
    seed: int = 0,
    cached: Callable[[Sequence[Sample]], Sequence[ImageU8]] | None = None,
) -> tuple[Manifest, dict[str, bytes], list[PrecisionResult]]:
    """The bundle's manifest and members with the precisions of a recipe, and the record of their trials.

    Ranges are set by a coreset of the images for calibration and training. Precisions are compared on those held out,
    on as many with planted anomalies, and on the data set's defective ones where it has any. `cached` gives good images
    at network size; they are read from their files where there is none. Raises UsageError for an unknown recipe.
    """
    chosen = load_recipe(recipe)
    with reporter.stage("reading for INT8"):
        good = cached or partial(_read, bundle)
        calibration = good(evenly_spaced((*parts.calibration, *parts.train), RANGES))
        held = good(evenly_spaced(parts.held_out, GOOD))
        bad = _read(bundle, evenly_spaced([sample for sample in dataset.test if not sample.is_good], ANOMALOUS))
    frames = ProbeFrames(calibration, held, [*planted(evenly_spaced(held, ANOMALOUS), seed), *bad])
    return add_precisions(bundle, frames, chosen, reporter, precisions=precisions, seed=seed)


def refill(
    bundle: Bundle, recipe: str, data: Path, precisions: Sequence[str], reporter: Reporter
) -> tuple[Manifest, dict[str, bytes], list[PrecisionResult]]:
    """The same for a bundle that is there, from a folder: its images are checked, and divided, as in a build.

    What is odd about them is said: what was left out, few different parts, light or focus unlike those of the build.
    """
    dataset, seed = open_dataset(data), bundle.manifest.provenance.get("config", {}).get("seed", 0)
    with reporter.stage("checking images") as on_progress:
        samples = (*dataset.train, *dataset.validation)
        checked = check(samples, bundle.manifest.input.bits, on_progress=on_progress)
    profile = bundle.manifest.health
    for finding in (
        *left_in_words((*dataset.left, *checked.rejected)),
        *filter(None, [parts_in_words(checked.parts)]),
        *(() if profile is None else unlike_profile(checked.stats, profile)),
    ):
        reporter.say(finding)
    numbers = dict(zip(checked.accepted, checked.parts, strict=True))
    parts = split(checked.accepted, seed, validation=dataset.validation, parts=numbers)
    return fill(bundle, recipe, dataset, parts, reporter, precisions=precisions, seed=seed)


def planted(images: Sequence[ImageU8], seed: int) -> list[NDArray[np.uint8]]:
    """Each good image with an anomaly pasted in: the same seed and images give the same."""
    random = np.random.default_rng(seed)
    anomalies = Anomalies(default_textures(np.stack(images)), probability=1.0, beta=(0.0, 0.5), kinds=KINDS)
    made = []
    for image in images:
        spoilt, mask = anomalies.draw(image, random)
        while not mask.any():  # a mask may come out empty
            spoilt, mask = anomalies.draw(image, random)
        made.append(spoilt)
    return made


def _read(bundle: Bundle, samples: Sequence[Sample]) -> list[ImageU8]:
    """The samples at network size."""
    spec = bundle.manifest.input
    return [np.array(resize(read_image(one.path, bits=spec.bits), *spec.frame)) for one in samples]
