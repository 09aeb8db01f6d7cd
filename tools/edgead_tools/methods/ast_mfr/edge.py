"""AST-MFR for the edge: EfficientNet-Lite0 teaches a small plain ResNet whose features are masked and regenerated.

Against the published model (`ast_mfr_paper`), each with its reason; `docs/decisions/ast-mfr.md` has what
each is worth:

- The student is pretrained, as in the paper, by starting from the teacher's own first blocks, frozen: one trunk for
  both. From the tap at 1/4 on, the student is a plain ResNet, unlike the teacher by construction and made of what
  quantizes. A student from scratch learned few images by heart and judged unseen good ones as defects.
- The levels are two, at 1/8 and 1/16: at 1/4 nothing is left to be regenerated.
- The teacher's taps are standardized per channel; L_L2 and the maps are of softened features (`soften`), L_cos of
  directions, as published. Directions alone make noise of cells that have nothing to say, such as bare ground.
- A cell is judged not by the length of the difference but by that length after whitening, and against what is usual
  for the cell (`nets.residual_map`): over good images some channels and some places never agree. One map judges both
  levels together, one the coarse level alone, which finds more and draws it less exactly.
- The score is the mean of the highest hundredth of the map, not its maximum.
- A memory of good patches stands beside the student (`methods.memory`).
- The mask of the part in each picture, SAM's in the paper, is a head's within the graph (`ast_mfr.foreground`), and an
  option.
- Good images are moved, turned and lit a little differently in training, and few images are passed over fewer times.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from edgead.bundle.manifest import MapSpec
from edgead.errors import UsageError
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.backbones.weights import WeightsFile, find
from edgead_tools.data.augment import augment
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.ast_mfr.feature_differences import (
    SOFTNESS,
    RegeneratedTaps,
    StandardizedTaps,
    judge_differences,
)
from edgead_tools.methods.ast_mfr.foreground import fit_foreground
from edgead_tools.methods.ast_mfr.paper import teach
from edgead_tools.methods.joined import Learned, join
from edgead_tools.methods.lite import lite0_trunk, lite_batches, lite_tensor
from edgead_tools.methods.memory import STRIDE, without_students
from edgead_tools.methods.presets import EdgePreset
from edgead_tools.training.batches import epoch_batch
from edgead_tools.training.loop import TrainReport
from edgead_tools.training.run import Run
from edgead_tools.training.session import session


@dataclasses.dataclass(frozen=True, slots=True)
class AstMfrEdge(EdgePreset):
    """The edge form's hyper-parameters."""

    name: ClassVar[str] = "ast_mfr"
    weights: ClassVar[tuple[str, ...]] = ("efficientnet-lite0",)

    width: int = 64  # channels of the student at 1/8; at 1/16 it has twice as many
    mask_rate: float = 0.3  # share of cells masked in training
    # Whether the students' maps count only where a head finds the part. YAML reads yes as true.
    foreground: Literal["no", "yes"] = "no"
    softness: float = SOFTNESS  # of features that are compared: 0 compares directions, as published
    batch: int = 8
    passes: float = 30.0  # over the images that a time budget may be spent on

    def __post_init__(self) -> None:
        EdgePreset.__post_init__(self)  # slots: the class that super() knows is another
        if self.width < 8 or self.batch < 2:
            raise UsageError("width must be at least 8 and batch at least 2")
        if not 0 <= self.mask_rate < 1:
            raise UsageError("mask_rate must lie in [0, 1)")
        if not 0 <= self.softness < math.inf:
            raise UsageError("softness must be at least 0")

    def train(self, images: TrainingImages, run: Run) -> Trained:
        source = find(self.weights[0], run.weights)
        trunk = lite0_trunk(source, run.device)
        if not run.trains:
            return without_students(trunk, images, run, self, source, self.top)
        with session(run.device, run.threads):
            return join(self.learn(trunk, (source,), images, run), trunk, (source,), images, run, self)

    def learn(
        self, trunk: EfficientNetLite, sources: Sequence[WeightsFile], images: TrainingImages, run: Run
    ) -> Learned:
        """The student, trained."""
        torch.manual_seed(run.seed)
        good = lite_batches(images, run.device)
        pair = RegeneratedTaps(StandardizedTaps(trunk, good), self.width, self.mask_rate, self.softness).to(run.device)
        report = self._teach(pair, images, run)
        network, out_of_fold = judge_differences(pair, good, images.folds())
        maps = (MapSpec(name="stacked", weight=0.5), MapSpec(name="coarse", weight=0.5))
        fusion = self.fused(maps, *(side // STRIDE for side in images.size))
        told: dict[str, Any] = {}
        if self.foreground == "yes":
            foreground = fit_foreground(pair.taps, images, run.seed, run.device)
            told = {"findings": [foreground.finding()]}
            network.foreground = foreground.head
            out_of_fold = network.weighed(out_of_fold, good)
        return Learned(network.eval(), fusion, out_of_fold, [report], told)

    def _teach(self, pair: RegeneratedTaps, images: TrainingImages, run: Run) -> TrainReport:
        def step(index: int, random: np.random.Generator) -> dict[str, Tensor]:
            chosen = epoch_batch(images.train, index, self.batch, run.seed)
            batch = [augment(image, random, flips=self.flips, rotation=self.rotation) for image in chosen]
            return pair.losses(lite_tensor(np.stack(batch), run.device))

        steps = len(images.train) / self.batch
        return teach(pair, step, self.optimizer, self.limited(run, steps), steps_per_epoch=steps)
