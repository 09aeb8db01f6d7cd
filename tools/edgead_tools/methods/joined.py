"""Joins students and memory: how much each counts, and whether students are of help at all.

A small student cannot follow parts that differ from one another, which a memory holds; and it finds what is small and
lies still a little better. So both are summed. How much each counts is decided by good images alone: a map is divided
by the spread of its score over good images, the memory's over images of other folds, and the students get a third of
the sum (`MemoryOptions.students`), if that helps: if anomalies planted into images that neither has seen
(`methods.planted`) are found better with them by more than the standard error. Where that cannot be told the memory
stands alone, which costs less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from torch import Tensor, nn

from edgead.bundle.manifest import FusionSpec
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.backbones.weights import WeightsFile
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.memory import (
    UNTRAINED,
    Maps,
    MemoryAlone,
    MemoryOptions,
    Remembered,
    Students,
    deviation,
    input_spec,
    memory_taps,
    remember,
)
from edgead_tools.methods.planted import gain, plant
from edgead_tools.training.loop import TrainReport
from edgead_tools.training.report import training_report
from edgead_tools.training.run import Run

CERTAIN = 1.0  # standard errors by which planted anomalies must be found better with students


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Students and memory together."""

    network: nn.Module  # to be exported; without the students where they are of no help
    fusion: FusionSpec
    out_of_fold: Maps  # good images' maps, as `Trained` has them
    report: dict[str, Any]  # how it came about, as `Trained.report` has it
    group: int = 1  # as `Trained` has it
    strange: frozenset[int] = frozenset()  # as `Trained` has it


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """Students after their training, without a memory."""

    network: Students
    fusion: FusionSpec  # of their maps
    maps: Maps  # of good images, out of fold
    stages: Sequence[TrainReport]
    report: dict[str, Any] = field(default_factory=dict)  # what else is told of it


def join(
    learned: Learned, trunk: EfficientNetLite, sources: Sequence[WeightsFile], images: TrainingImages, run: Run,
    options: MemoryOptions,
) -> Trained:  # fmt: skip
    """Students and a memory as a method hands them over."""
    joined = add_memory(learned.network, trunk, learned.fusion, learned.maps, images, run, options)
    report = training_report(learned.stages, sources) | learned.report | joined.report
    findings = [*learned.report.get("findings", ()), *joined.report.get("findings", ())]
    return handed_over(joined, images, report | {"findings": findings} if findings else report)


def handed_over(joined: Joined, images: TrainingImages, report: dict[str, Any]) -> Trained:
    """What a method hands over to export."""
    return Trained(
        network=joined.network.cpu().eval(),
        input=input_spec(images.size),
        fusion=joined.fusion,
        out_of_fold=joined.out_of_fold,
        untrained=UNTRAINED,
        group=joined.group,
        strange=joined.strange,
        report=report,
    )


def add_memory(
    network: Students, trunk: EfficientNetLite, students: FusionSpec, maps: Maps, images: TrainingImages, run: Run,
    options: MemoryOptions, remembered: Remembered | None = None, certain: float | None = None,
) -> Joined:  # fmt: skip
    """Give the network a memory, fitted unless it is given; `students` fuses its students' maps and `maps` are these of
    good images out of fold. Where students are of no help, by `certain` standard errors (`CERTAIN` unless given), the
    fusion names none of them."""
    if not options.memory:
        return Joined(network, students, maps, {})
    remembered = remembered or remember(trunk, images, run, options)
    alone = remembered.fusion(students.height, students.width, students.score)
    both = _weighted(students, options.students / deviation(maps, students), alone, 1 - options.students)
    figures = _compare(network, trunk, (alone, both), remembered, images, run)
    network.memory = remembered.memory
    helps = figures["gain"] > (CERTAIN if certain is None else certain) * figures["error"]
    report: dict[str, Any] = {"memory": remembered.provenance() | {"planted_auroc": figures, "students": helps}}
    report["findings"] = [*remembered.findings(), _of_students(figures, options.students, helps=helps)]
    group, strange = remembered.patches.group, frozenset(remembered.strange)
    if helps:
        return Joined(network, both, {**maps, **remembered.out_of_fold}, report, group, strange)
    memory = MemoryAlone(trunk, remembered.memory).eval()
    return Joined(memory, alone, remembered.out_of_fold, report, group, strange)


def stands_alone(trained: Trained) -> bool:
    """Whether a training came to nothing but the memory: its students were of no help."""
    return isinstance(trained.network, MemoryAlone)


def after_training(alone: Trained, trained: Trained) -> Trained:
    """A memory that was fitted anew, at another size of the input, with the report of the training whose students it
    stands without."""
    report = trained.report | {"seconds": round(trained.report["seconds"] + alone.report["seconds"], 1)}
    report["memory"] = trained.report["memory"] | alone.report["memory"]
    report["findings"] = [*alone.report["findings"], trained.report["findings"][-1]]  # the last one is of students
    return replace(alone, report=report)


def _of_students(figures: Mapping[str, float], share: float, *, helps: bool) -> dict[str, str]:
    return {
        "found": f"students are of {'help' if helps else 'no help'} beside the memory",
        "figures": f"AUROC of planted anomalies {figures['both']:.3f} with them, {figures['memory']:.3f} without, "
        f"the difference uncertain by {figures['error']:.3f}",
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


def _compare(
    network: Students, trunk: EfficientNetLite, fusions: tuple[FusionSpec, FusionSpec], remembered: Remembered,
    images: TrainingImages, run: Run,
) -> dict[str, float]:  # fmt: skip
    """AUROC on planted anomalies of the memory alone and of both, by a memory without those images, their difference
    and its standard error."""
    planted, first = plant(images, run.seed), remembered.without_first.to(run.device)

    def maps(batch: Tensor) -> dict[str, Tensor]:
        return {**network(batch), **first(*memory_taps(trunk(batch)))}

    seen = planted.read(maps, run.device)
    alone, both = (planted.wins(seen, fusion) for fusion in fusions)
    better, error = gain(both, alone)
    found = {"memory": float(alone.mean()), "both": float(both.mean()), "gain": better, "error": error}
    return {name: round(value, 4) for name, value in found.items()}
