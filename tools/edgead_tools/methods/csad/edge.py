"""CSAD for the edge: components on EfficientNet-Lite0, and local and global students on the same trunk.

Against the published model (BMVC 2024):

- Trunk, segmentation head and students share one EfficientNet-Lite0; the students stand on its taps instead of being
  networks on the image, and learn in minutes.
- Components are found without a foundation model (`edgead_tools.components`) unless `masks` names one, or drawn by
  hand.
- Students' differences are whitened and judged by what is usual at each cell (`nets.residual_map`) instead of by
  quantiles, and the structural score is the mean of the map's highest cells.
- A memory of good patches stands beside the students (`methods.memory`).
- The covariance of histograms is shrunk (`edgead_calibration.components`), since good parts are few.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import msgspec
import numpy as np
import torch
from torch import Tensor

from edgead.bundle.manifest import MapSpec
from edgead.errors import UsageError
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite, load_efficientnet_lite
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.components import MaskSource
from edgead_tools.data.augment import augment, jitter
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.csad.component_head import ComponentHead
from edgead_tools.methods.csad.local_global import ComponentsAndStudents, LocalGlobal, fit_students
from edgead_tools.methods.csad.shared import (
    LabeledImages,
    Segmentation,
    csad_report,
    fit_branches,
    label,
    teach_segmentation,
    weights_of,
)
from edgead_tools.methods.lite import lite_batches, lite_tensor
from edgead_tools.methods.memory import STRIDE, Joined, add_memory, input_spec, read_maps, without_students
from edgead_tools.methods.presets import EdgePreset
from edgead_tools.training.loop import TrainReport, fit
from edgead_tools.training.run import Run
from edgead_tools.training.session import session

CELL = 2  # pixels a cell of the labels
WIDTHS = (24, 64, 64)  # of the segmentation head
DILATIONS = (6, 12)


@dataclasses.dataclass(frozen=True, slots=True)
class CsadEdge(EdgePreset):
    """The edge form's hyper-parameters."""

    name: ClassVar[str] = "csad"
    segments: ClassVar[bool] = True

    width: int = 96  # channels of the students
    batch: int = 4  # of the segmentation, labeled and unlabeled images each; the students have twice as many
    masks: MaskSource = "foreground"  # what components are found in

    def __post_init__(self) -> None:
        EdgePreset.__post_init__(self)  # slots: the class that super() knows is another
        if self.width < 8 or self.batch < 1:
            raise UsageError("width must be at least 8 and batch at least 1")

    @property
    def weights(self) -> tuple[str, ...]:
        """The trunk's, and those of the masks."""
        return weights_of("efficientnet-lite0", masks=self.masks)

    def train(self, images: TrainingImages, run: Run) -> Trained:
        sources = [find(name, run.weights) for name in self.weights]
        state = load_state(sources[0])
        trunk = load_efficientnet_lite(state, further=1)
        trunk.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if not run.trains:
            return without_students(trunk, images, run, self, sources[0], self.top)
        good = lite_batches(images, run.device)
        with session(run.device, run.threads):
            torch.manual_seed(run.seed)
            found = label(images, state, run, self.masks)
            students = LocalGlobal(trunk, good, images.size, self.width).to(run.device).eval()
            first, second = run.split(0.5)
            reports = [self._teach_students(students, images, first)]
            taps = (trunk.channels[trunk.taps[0]], trunk.channels[trunk.taps[2]])
            head = ComponentHead(taps, len(found.names), widths=WIDTHS, dilations=DILATIONS).to(run.device).eval()
            rest = second(reports[0].steps)
            reports.append(self._teach_head(students, head, LabeledImages(images.train, found), rest))
            network = fit_students(students, head, good).to(run.device).eval()
            joined = self._add_memory(network, trunk, images, run)
            grid = (images.size[0] // CELL, images.size[1] // CELL)
            branches = fit_branches(
                network, images, lite_tensor, run.device, found.names, joined.fusion, grid, left_out=joined.out_of_fold
            )
        return Trained(
            network=network.cpu(),
            input=input_spec(images.size),
            fusion=msgspec.structs.replace(joined.fusion, components=branches.spec),
            report=csad_report(reports, sources, found) | joined.report,
            members=branches.members,
        )

    def _teach_students(self, students: LocalGlobal, images: TrainingImages, run: Run) -> TrainReport:
        count, batch = len(images.train), 2 * self.batch

        def step(index: int, random: np.random.Generator) -> dict[str, Tensor]:
            chosen = random.integers(count, size=batch)
            original = [augment(images.train[i], random, flips=self.flips, rotation=self.rotation) for i in chosen]
            other = [jitter(one, random) for one in original]
            return students.losses(*(lite_tensor(np.stack(side), run.device) for side in (original, other)))

        run = self.limited(run, count / batch)
        parts = {"local": students.local, "global": students.wide}
        for part in parts.values():
            part.train()
        report = fit(parts, step, self.optimizer, run, stage="students", steps_per_epoch=count / batch)
        students.eval()
        return report

    def _teach_head(self, students: LocalGlobal, head: ComponentHead, labeled: LabeledImages, run: Run) -> TrainReport:
        def logits(batch: Tensor) -> Tensor:
            with torch.no_grad():
                low, _, deep = students.taps(batch)
            found: Tensor = head(low, deep)
            return found

        how = Segmentation(rate=self.rate, batch=self.batch, alone=0.4, finer=2)
        return teach_segmentation(head, logits, labeled, lite_tensor, how, run)

    def _add_memory(
        self, network: ComponentsAndStudents, trunk: EfficientNetLite, images: TrainingImages, run: Run
    ) -> Joined:
        """The structural branch: the students' maps and the memory's."""
        height, width = (side // STRIDE for side in images.size)
        maps = (MapSpec(name="local", weight=0.5), MapSpec(name="global", weight=0.5))
        own = self.fused(maps, height, width)
        found = read_maps(network.student_maps, lite_batches(images, run.device)()) if self.memory else {}
        return add_memory(network, trunk, own, found, images, run, self)
