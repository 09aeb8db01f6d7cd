"""Holds the images of one build: each is decoded once, and taken from the caches from then on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgead.bundle import InputSpec
from edgead.config import BuildConfig
from edgead.ops import resize
from edgead.progress import Reporter
from edgead.stream.health import ImageStats
from edgead.types import ImageU8
from edgead_calibration.good_images import FEWEST, parts_in_words
from edgead_calibration.images import evenly_spaced
from edgead_tools.components import Drawn
from edgead_tools.data import Cache, Checked, Dataset, DecodedImages, Sample, Split, check, split
from edgead_tools.data.cache import in_parallel, new_rows, open_rows
from edgead_tools.methods import TrainingImages
from edgead_tools.pipeline.runs import check_space
from edgead_tools.pipeline.tiling import tile_rows
from edgead_tools.training.distillation import MapTeacher

LEARNED = 6000  # tiles that are learned from, at most: memory and time grow with them, accuracy no more


@dataclass(frozen=True, slots=True, eq=False)
class BuildImages:
    """The data set, what the check let through, and who learns from what."""

    dataset: Dataset
    checked: Checked
    parts: Split
    decoded: DecodedImages

    def training(self, drawn: Drawn | None = None) -> TrainingImages:
        """What a method learns from, in memory; `drawn` are the label maps or masks of training images."""
        train, calibration = self.rows(self.parts.train), self.rows(self.parts.calibration)
        large = None if self.checked.large is None else self.checked.large[self.checked.rows(self.parts.train)]
        groups = self.groups(self.learned)
        if drawn is None:
            return TrainingImages(train, calibration, large, groups=groups)
        return TrainingImages(train, calibration, large, drawn.names, drawn.labels, drawn.masks, groups=groups)

    def tiles(self, spec: InputSpec, folder: Path) -> TrainingImages:
        """What a method learns from of frames in tiles, mapped from files of the folder."""
        assert self.checked.images is not None  # the check was given a cache
        images = self.checked.images
        train, calibration = (
            tile_rows([images[row] for row in self.checked.rows(samples)], spec, folder / f"{name}-tiles.npy")
            for name, samples in (("train", self.parts.train), ("calibration", self.parts.calibration))
        )
        return TrainingImages(train, calibration, tiles=spec.batch, groups=self.groups(self.learned))

    def groups(self, samples: Sequence[Sample]) -> tuple[int, ...]:
        """The number of the part that each of the samples shows; none where each shows another, or where they are too
        few to tell of others (`good_images.FEWEST`)."""
        numbers = tuple(self.checked.parts_of(samples))
        return numbers if FEWEST <= len(set(numbers)) < len(numbers) else ()

    @property
    def learned(self) -> tuple[Sample, ...]:
        """The good images that are learned from and fitted to."""
        return (*self.parts.train, *self.parts.calibration)

    def rows(self, samples: Sequence[Sample]) -> NDArray[np.uint8]:
        """The samples at network size, (N, H, W, 3) BGR uint8: what the network is given of a frame."""
        assert self.checked.images is not None  # the check was given a cache
        return np.asarray(self.checked.images[self.checked.rows(samples)])

    def resized(self, spec: InputSpec, folder: Path) -> BuildImages:
        """The same images at another size of the network's input, in a file of the folder."""
        samples = self.checked.accepted
        cache = Cache(folder / f"images-{spec.width}x{spec.height}.npy", *spec.frame)
        check_space(folder, 3 * len(samples) * cache.height * cache.width)
        with new_rows(cache.path, len(samples), cache.height, cache.width) as rows:
            done = in_parallel(lambda row: resize(self.frame(samples[row]), *spec.frame), range(len(samples)))
            for row, image in enumerate(done):
                rows[row] = image
        return replace(self, checked=replace(self.checked, images=open_rows(cache.path)))

    def frame(self, sample: Sample) -> ImageU8:
        """A sample as a camera would give it, (H, W, 3) BGR uint8, not to be written to."""
        return self.decoded.frame(sample)

    def stats(self, samples: Sequence[Sample]) -> list[ImageStats]:
        """What the camera's health is judged by, of each sample."""
        return [self.checked.stats[row] for row in self.checked.rows(samples)]

    @property
    def good(self) -> tuple[Sample, ...]:
        """Every good image that is used."""
        return (*self.learned, *self.parts.held_out)

    def frame_size(self) -> tuple[int, int]:
        """Height and width of the first image as it is on disk."""
        width, height = self.stats(self.parts.train[:1])[0].size
        return height, width


def check_images(
    config: BuildConfig, spec: InputSpec, dataset: Dataset, decoded: DecodedImages, folder: Path, reporter: Reporter
) -> Checked:
    """Read every good image: at the size of `spec`, and at that of the bundle that is distilled from, if any."""
    samples = (*dataset.train, *dataset.validation)
    cache, large = Cache(folder / "images.npy", *spec.frame), None
    if config.distill_from:
        with MapTeacher(Path(config.distill_from)) as teacher:
            large = Cache(folder / "teacher-images.npy", *teacher.size)
    pixels = sum(one.height * one.width for one in (cache, large) if one is not None)
    if spec.tiles is not None:
        pixels += spec.batch * spec.height * spec.width
    check_space(folder, 3 * len(samples) * pixels)
    with reporter.stage("checking images") as on_progress:
        checked = check(
            samples,
            config.bits,
            cache=cache,
            large=large,
            decoded=decoded,
            groups=config.groups,
            on_progress=on_progress,
        )
    if spec.tiles is not None or spec.height != spec.width:
        reporter.say(f"the network's input is {spec.in_words()}")
    for one in (*dataset.left, *checked.rejected):
        reporter.say(f"left out {one}")
    if sentence := parts_in_words(checked.parts, linked=checked.linked):
        reporter.say(sentence)
    return checked


def split_images(
    config: BuildConfig,
    spec: InputSpec,
    dataset: Dataset,
    checked: Checked,
    decoded: DecodedImages,
    reporter: Reporter,
) -> BuildImages:
    """Who learns, who sets the ranges of INT8, who sets the threshold. Of frames in many tiles no more learn than
    `LEARNED` tiles allow, and the others set the threshold too."""
    numbers = dict(zip(checked.accepted, checked.parts, strict=True))
    parts = split(checked.accepted, config.seed, validation=dataset.validation, parts=numbers)
    if len(parts.train) * spec.batch > LEARNED:
        learned = set(evenly_spaced(parts.train, max(1, LEARNED // spec.batch)))
        held_out = (*parts.held_out, *(one for one in parts.train if one not in learned))
        parts = replace(parts, train=tuple(one for one in parts.train if one in learned), held_out=held_out)
    reporter.say(
        f"{dataset.root}: {len(parts.train)} images to train, {len(parts.calibration)} to calibrate, "
        f"{len(parts.held_out)} kept aside for thresholds"
    )
    return BuildImages(dataset, checked, parts, decoded)
