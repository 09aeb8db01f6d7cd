"""AST-MFR as published: a WideResNet-50-2 teaches a ResNeXt-50 whose features are masked and regenerated.

Source: Gu, Li, Liu, "Asymmetric student-teacher with masked feature regeneration", Multimedia Tools and Applications,
2024. No code was published. What the text leaves open is taken as follows: regenerations are two 3x3 convolutions of
the stage's width with a ReLU between (their number of parameters is the printed one), the mask rate is the lower of
the two best, weights are torchvision's first, the score is the maximum after smoothing. The paper trains 200 epochs.

Smoothing is a Gaussian of sigma 4 and then a 5x5 mean: one linear filter. The fusion has a Gaussian of its variance,
which gives the same map to within a hundredth of its height (measured by `test_ast_mfr_paper`).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from edgead.bundle.input_spec import InputSpec
from edgead.bundle.manifest import FusionSpec, MapSpec
from edgead.errors import UsageError
from edgead_tools.backbones.resnet import OFFSET, OUTPUTS, SCALE, ResNet, load_resnet, tensor_from
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.ast_mfr.feature_differences import RegeneratedTaps
from edgead_tools.methods.ast_mfr.feature_regeneration import Regeneration, StudentTeacher
from edgead_tools.methods.presets import PaperPreset
from edgead_tools.training.batches import epoch_batch
from edgead_tools.training.loop import Optimizer, Step, TrainReport, fit
from edgead_tools.training.report import training_report
from edgead_tools.training.run import Run
from edgead_tools.training.session import session

Backbone = Literal["wide-resnet50-2", "resnext50-32x4d"]
TEACHER: Backbone = "wide-resnet50-2"
STUDENT: Backbone = "resnext50-32x4d"
STAGES = tuple(range(1, 1 + len(OUTPUTS)))
SIGMA = math.sqrt(4**2 + (5**2 - 1) / 12)  # pixels: a Gaussian's variance and that of a mean of 5


@dataclasses.dataclass(frozen=True, slots=True)
class AstMfrPaper(PaperPreset):
    """The published model's hyper-parameters, and the switches of its ablations."""

    name: ClassVar[str] = "ast_mfr"

    teacher: Backbone = TEACHER
    student: Backbone = STUDENT
    regenerated: tuple[int, ...] = STAGES  # whose features are masked and regenerated; others are compared as they are
    mask_rate: float = 0.3  # share of cells masked in training; 0.5 is as good in the paper
    rate: float = 1e-3
    batch: int = 32
    pretrained: bool = True  # whether the student starts from ImageNet weights

    def __post_init__(self) -> None:
        if not (0 <= self.mask_rate < 1 and 0 < self.rate < math.inf and self.batch >= 1):
            raise UsageError("mask_rate must lie in [0, 1), rate be above 0 and batch at least 1")
        if len(set(self.regenerated)) < len(self.regenerated) or not set(self.regenerated) <= set(STAGES):
            raise UsageError(f"regenerated names each of the stages 1, 2 and 3 once at most, not {self.regenerated}")
        if self.pretrained and self.student == self.teacher and not self.regenerated:
            raise UsageError(
                f"a student that starts as its teacher, {self.teacher}, has nothing to learn where nothing is "
                "regenerated: give pretrained=false, another student, or stages that are regenerated"
            )

    @property
    def weights(self) -> tuple[str, ...]:
        """The teacher's, and the student's where it does not start from scratch."""
        return tuple(dict.fromkeys((self.teacher, self.student) if self.pretrained else (self.teacher,)))

    def train(self, images: TrainingImages, run: Run) -> Trained:
        sources = [find(name, run.weights) for name in self.weights]
        states = [load_state(source) for source in sources]
        with session(run.device, run.threads):
            torch.manual_seed(run.seed)
            student = load_resnet(states[-1], self.student) if self.pretrained else ResNet(self.student)
            network = StudentTeacher(load_resnet(states[0], self.teacher), student, self.regenerations())
            network.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            report = self._teach(network, images, run)
        height, width = images.size
        maps = tuple(MapSpec(name=f"stage{stage}") for stage in STAGES)
        return Trained(
            network=network.cpu(),
            input=InputSpec(height=height, width=width, scale=_bgr(SCALE), offset=_bgr(OFFSET)),
            fusion=FusionSpec(maps=maps, height=height, width=width, sigma=SIGMA),
            report=training_report([report], sources),
        )

    def regenerations(self) -> list[nn.Module]:
        """What the student's features of each stage pass before they are compared."""
        return [
            Regeneration(channels, channels, self.mask_rate) if stage in self.regenerated else nn.Identity()
            for stage, channels in zip(STAGES, OUTPUTS, strict=True)
        ]

    def _teach(self, network: StudentTeacher, images: TrainingImages, run: Run) -> TrainReport:
        def step(index: int, random: np.random.Generator) -> dict[str, Tensor]:
            chosen = epoch_batch(images.train, index, self.batch, run.seed)
            batch = tensor_from(torch.from_numpy(chosen).to(run.device))
            return network.losses(batch.contiguous(memory_format=torch.channels_last))

        optimizer = Optimizer(rate=self.rate, kind="adam", weight_decay=0.0, last=1.0)
        return teach(network, step, optimizer, run, steps_per_epoch=len(images.train) / self.batch)


def teach(
    network: StudentTeacher | RegeneratedTaps, step: Step, optimizer: Optimizer, run: Run, *, steps_per_epoch: float
) -> TrainReport:
    """Train the student and its regenerations; the network is at rest before and after."""
    parts: dict[str, nn.Module] = {"student": network.student}
    if any(True for _ in network.regenerations.parameters()):  # an ablation regenerates nothing
        parts["regeneration"] = network.regenerations
    for part in parts.values():
        part.train()
    report = fit(parts, step, optimizer, run, steps_per_epoch=steps_per_epoch)
    network.eval()
    return report


def _bgr(channels: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = channels
    return blue, green, red
