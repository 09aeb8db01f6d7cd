"""Joins students and memory: how much each counts, and whether students are of help at all.

A small student cannot follow parts that differ from one another, which a memory holds; and it finds what is small and
lies still a little better. So both are summed. How much each counts is decided by good images alone: a map is divided
by the spread of its score over good images, the memory's over images of other folds, and the students get a third of
the sum (`MemoryOptions.students`). Anomalies planted into images that neither has seen can only take the students out,
where with them fewer are found: students were trained on such anomalies, and planted ones promise too much of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from torch import Tensor, nn

from edgead.bundle.manifest import FusionSpec
from edgead_calibration.images import evenly_spaced
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.data.anomalies import Anomalies, default_textures
from edgead_tools.evaluation.metrics import image_auroc
from edgead_tools.methods import TrainingImages
from edgead_tools.methods.lite import chunk, lite_tensor
from edgead_tools.methods.memory import (
    Maps,
    MemoryAlone,
    MemoryOptions,
    Remembered,
    Students,
    deviation,
    memory_taps,
    read_maps,
    remember,
    scores_of,
)
from edgead_tools.training.run import Run

PLANTED = 40  # good images at most in which anomalies are planted
EACH = 2  # anomalies in each of them
TOLERATED = 0.01  # of AUROC on planted anomalies, that students may cost before they are left out


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Students and memory together."""

    network: nn.Module  # to be exported; without the students where they are of no help
    fusion: FusionSpec
    out_of_fold: Maps  # good images' maps, as `Trained` has them
    report: dict[str, Any]  # how it came about, as `Trained.report` has it
    group: int = 1  # as `Trained` has it


def add_memory(
    network: Students, trunk: EfficientNetLite, students: FusionSpec, maps: Maps, images: TrainingImages, run: Run,
    options: MemoryOptions, remembered: Remembered | None = None,
) -> Joined:  # fmt: skip
    """Give the network a memory, fitted unless it is given; `students` fuses its students' maps and `maps` are these of
    good images out of fold. Where students are of no help the fusion names none of them."""
    if not options.memory:
        return Joined(network, students, maps, {})
    remembered = remembered or remember(trunk, images, run, options)
    alone = remembered.fusion(students.height, students.width, students.score)
    both = _weighted(students, options.students / deviation(maps, students), alone, 1 - options.students)
    found = _planted_aurocs(network, trunk, (alone, both), remembered, images, run)
    network.memory = remembered.memory
    planted = {"memory": round(found[0], 4), "both": round(found[1], 4)}
    helps = found[1] >= found[0] - TOLERATED
    report: dict[str, Any] = {"memory": remembered.provenance() | {"planted_auroc": planted, "students": helps}}
    report["findings"] = [*remembered.findings(), _of_students(planted, options.students, helps=helps)]
    if helps:
        return Joined(network, both, {**maps, **remembered.out_of_fold}, report, remembered.patches.group)
    memory = MemoryAlone(trunk, remembered.memory).eval()
    return Joined(memory, alone, remembered.out_of_fold, report, remembered.patches.group)


def _of_students(planted: Mapping[str, float], share: float, *, helps: bool) -> dict[str, str]:
    return {
        "found": f"students are of {'help' if helps else 'no help'} beside the memory",
        "figures": f"AUROC of planted anomalies {planted['both']:.3f} with them, {planted['memory']:.3f} without",
        "chosen": f"their share of the score is {share:.2f}" if helps else "they are left out",
        "overrule": "--set students=SHARE" if helps else "--set memory=0 for students alone",
    }


def _weighted(fusion: FusionSpec, weight: float, alone: FusionSpec, share: float) -> FusionSpec:
    """The sum of both; the picture as a whole counts as it does alone."""
    students = [msgspec.structs.replace(one, weight=weight * one.weight) for one in fusion.maps]
    *memory, whole = alone.maps
    less = [msgspec.structs.replace(one, weight=share * one.weight) for one in memory]
    maps = (*students, *less, whole)
    return msgspec.structs.replace(fusion, maps=maps)


def _planted_aurocs(
    network: Students, trunk: EfficientNetLite, fusions: Iterable[FusionSpec], remembered: Remembered,
    images: TrainingImages, run: Run,
) -> list[float]:  # fmt: skip
    """The AUROC of each fusion on anomalies planted into images to calibrate with, by a memory without them."""
    tiles, count = images.tiles, len(images.calibration) // images.tiles
    frames = evenly_spaced(range(count), max(1, PLANTED // tiles))
    good = np.concatenate([images.calibration[tiles * frame : tiles * (frame + 1)] for frame in frames])
    anomalies = Anomalies(default_textures(images.train, run.textures), 1.0, kinds=("perlin", "crack", "blob"))
    random = np.random.default_rng(run.seed)
    several = [good[start : start + tiles] for start in range(0, len(good), tiles) for _ in range(EACH)]
    damaged = np.stack([anomalies.draw(image, random)[0] for frame in several for image in frame])
    first = remembered.without_first.to(run.device)

    def maps(batch: Tensor) -> dict[str, Tensor]:
        return {**network(batch), **first(*memory_taps(trunk(batch)))}

    pictures = np.concatenate([good, damaged])
    size = chunk(tiles)
    batches = (lite_tensor(pictures[start : start + size], run.device) for start in range(0, len(pictures), size))
    seen = read_maps(maps, batches)
    bad = np.arange(len(pictures)) >= len(good)
    return [image_auroc(scores_of(seen, fusion), bad) for fusion in fusions]
