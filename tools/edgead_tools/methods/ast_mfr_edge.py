"""AST-MFR for the edge: EfficientNet-Lite0 teaches a small plain ResNet whose features are masked and regenerated.

Against the published model (`ast_mfr_paper`):

- The teacher's taps are standardised per channel; the student is a plain ResNet from scratch, unlike the teacher by
  construction and made of what quantizes: 1.7 M parameters and 0.94 GMAC at 256 pixels for 58 M and 31.
- A cell is judged not by the length of a - b, the square root of twice the published distance, but by that length
  after whitening, and against what is usual for the cell (`nets.residual_map`). Over good images some channels and
  some places never agree; the plain distance is mostly made of those.
- The score is the mean of the highest hundredth of the map, not its maximum.
- Good images are moved, turned and lit a little differently in training.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from edgead.bundle.manifest import FusionSpec, InputSpec, MapSpec, ScoreSpec
from edgead.errors import UsageError
from edgead_tools.data.augment import augment
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.ast_mfr_paper import card, teach
from edgead_tools.methods.lite import lite_batches, lite_tensor
from edgead_tools.nets.efficientnet_lite import OFFSET, SCALE, load_efficientnet_lite
from edgead_tools.nets.feature_regeneration import Regeneration, StudentTeacher
from edgead_tools.nets.judged_differences import StandardisedTaps, judge_differences
from edgead_tools.nets.plain_resnet import PlainResNet
from edgead_tools.session import session
from edgead_tools.train import Optimiser, Run, TrainReport
from edgead_tools.weights import find, load_state

STRIDE = 8  # pixels a cell of the fused map


@dataclasses.dataclass(frozen=True, slots=True)
class AstMfrEdge:
    """The edge form's hyper-parameters."""

    name: ClassVar[str] = "ast_mfr"
    preset: ClassVar[str] = "edge"
    size: ClassVar[int] = 256
    distils: ClassVar[bool] = False
    segments: ClassVar[bool] = False
    weights: ClassVar[tuple[str, ...]] = ("efficientnet-lite0",)

    width: int = 32  # channels of the student's first stage; each later stage has twice as many
    mask_rate: float = 0.3  # share of cells masked in training
    rate: float = 2e-3
    batch: int = 8
    flips: bool = False  # whether a mirrored part is a good part
    rotation: float = 2.0  # degrees a good part may be turned by
    top: float = 0.01  # share of the map's cells whose mean is the score

    def __post_init__(self) -> None:
        if self.width < 8 or self.batch < 2:
            raise UsageError("width must be at least 8 and batch at least 2")
        if not (0 <= self.mask_rate < 1 and 0 < self.top <= 1):
            raise UsageError("mask_rate must lie in [0, 1) and top in (0, 1]")
        if not (0 < self.rate < math.inf and 0 <= self.rotation <= 180):
            raise UsageError("rate must be above 0 and rotation in 0..180 degrees")

    def train(self, images: TrainingImages, run: Run) -> Trained:
        source = find(self.weights[0], run.weights)
        trunk = load_efficientnet_lite(load_state(source))
        trunk.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        good = lite_batches(images, run.device)
        with session(run.device, run.threads):
            torch.manual_seed(run.seed)
            pair = self._pair(StandardisedTaps(trunk, good)).to(run.device)
            report = self._teach(pair, images, run)
            network = judge_differences(pair, good)
        height, width = images.size
        return Trained(
            network=network.cpu().eval(),
            input=InputSpec(height=height, width=width, scale=(SCALE,) * 3, offset=(OFFSET,) * 3),
            fusion=self._fusion(height // STRIDE, width // STRIDE),
            report=card(report, [source]),
        )

    def _pair(self, teacher: StandardisedTaps) -> StudentTeacher:
        student = PlainResNet(self.width)
        channels = zip(student.channels, teacher.channels, strict=True)
        return StudentTeacher(teacher, student, [Regeneration(*pair, self.mask_rate) for pair in channels])

    def _teach(self, pair: StudentTeacher, images: TrainingImages, run: Run) -> TrainReport:
        count = len(images.train)

        def step(index: int, random: np.random.Generator) -> dict[str, Tensor]:
            chosen = random.integers(count, size=self.batch)
            batch = [augment(images.train[i], random, flips=self.flips, rotation=self.rotation) for i in chosen]
            return pair.losses(lite_tensor(np.stack(batch), run.device))

        optimiser = Optimiser(rate=self.rate, kind="adam", weight_decay=0.0)
        return teach(pair, step, optimiser, run, steps_per_epoch=count / self.batch)

    def _fusion(self, height: int, width: int) -> FusionSpec:
        maps = (MapSpec(name="stage1"), MapSpec(name="stage2"), MapSpec(name="stage3"))
        score = ScoreSpec(top=max(1, round(self.top * height * width)))
        return FusionSpec(maps=maps, height=height, width=width, score=score)
