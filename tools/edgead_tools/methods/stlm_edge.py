"""STLM: a plain and a denoising stream that agree on good parts and differ on defects (arXiv 2402.19145; TOMM 21(2)).

The edge form, for the pretrained EfficientNet-Lite0 in place of SAM. Against the published model:

- The plain stream is the frozen teacher's trunk itself. A student of the teacher's architecture and weights starts at
  the optimum of L_plain, so training it would change nothing.
- The denoising stream shares that trunk and passes its taps through a narrow code (`nets.denoising`), so that both
  streams together cost little more than one encoder. It is taught T(x) from x~, the image with an anomaly pasted in.
- The levels are the taps at 1/8 and 1/16; L_deno is a squared error of standardised channels, since Lite0's block
  outputs are signed and of very different scales.
- The maps are the length of the whitened residual against what is usual at each cell (`nets.residual_map`).
- The segmentation head reads the whitened residual, and its logit is the third map.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgead.bundle.manifest import FusionSpec, InputSpec, MapSpec, ScoreSpec
from edgead.errors import UsageError
from edgead_tools.data.anomalies import Anomalies, Kind, default_textures
from edgead_tools.data.augment import augment
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.nets.efficientnet_lite import OFFSET, SCALE, load_efficientnet_lite, tensor_from
from edgead_tools.nets.residual_map import fit_residual_maps
from edgead_tools.nets.segmentation_head import SegmentationHead, segmentation_losses, shrink_masks
from edgead_tools.nets.two_streams import Batches, Disagreement, TwoStreams
from edgead_tools.session import session
from edgead_tools.train import Optimiser, Run, Step, TrainReport, fit
from edgead_tools.weights import WeightsFile, find, load_state

FINE, COARSE = 4, 10  # trunk blocks whose outputs are compared, at 1/8 and 1/16 of the image
STRIDE = 8  # pixels a cell of the fused map
CHUNK = 16  # images a forward pass when statistics are fitted
KINDS: tuple[Kind, ...] = ("perlin", "crack", "blob")


@dataclasses.dataclass(frozen=True, slots=True)
class StlmEdge:
    """The edge form's hyper-parameters."""

    name: ClassVar[str] = "stlm"
    preset: ClassVar[str] = "edge"
    size: ClassVar[int] = 256
    weights: ClassVar[tuple[str, ...]] = ("efficientnet-lite0",)

    width: int = 128  # channels of the denoising stream
    code: int = 64  # channels of its narrowest place
    batch: int = 8
    rate: float = 2e-3
    anomaly_rate: float = 0.5  # share of training images with a pseudo-anomaly
    flips: bool = False  # whether a mirrored part is a good part
    rotation: float = 2.0  # degrees a good part may be turned by
    head: float = 0.3  # weight of the head's map; 0 trains none
    head_share: float = 0.2  # share of the training that is spent on the head
    top: float = 0.01  # share of the map's cells whose mean is the score

    def __post_init__(self) -> None:
        if self.width < 8 or self.code < 1 or self.batch < 2:
            raise UsageError("width must be at least 8, code at least 1 and batch at least 2")
        if not (
            0 <= self.head < math.inf and 0 < self.head_share < 1 and 0 < self.top <= 1 and 0 <= self.anomaly_rate <= 1
        ):
            raise UsageError("head must be at least 0, head_share in (0, 1), top in (0, 1], anomaly_rate in [0, 1]")
        if not (0 < self.rate < math.inf and 0 <= self.rotation <= 180):
            raise UsageError("rate must be above 0 and rotation in 0..180 degrees")

    def train(self, images: TrainingImages, run: Run) -> Trained:
        source = find(self.weights[0], run.weights)
        trunk = load_efficientnet_lite(load_state(source), "lite0", (FINE, COARSE))
        trunk.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        good = _batches(images, run.device)
        with session(run.device, run.threads):
            torch.manual_seed(run.seed)
            streams = TwoStreams(trunk, good, width=self.width, code=self.code).to(run.device).eval()
            reports = [self._teach_denoising(streams, images, self._first_part(run))]
            network = _with_statistics(streams, good).to(run.device).eval()
            if self.head:
                network.head = SegmentationHead(network.stacked.channels).to(run.device)
                rest = self._second_part(run, reports[0].steps)
                reports.append(self._teach_head(network, network.head, images, rest))
            fusion = self._fusion(network, good, images.size)
        height, width = images.size
        return Trained(
            network=network.cpu(),
            input=InputSpec(height=height, width=width, scale=(SCALE,) * 3, offset=(OFFSET,) * 3),
            fusion=fusion,
            report=_card(reports, source),
        )

    def _teach_denoising(self, streams: TwoStreams, images: TrainingImages, run: Run) -> TrainReport:
        """L_deno: what the plain stream sees in the whole image, from what it sees in the damaged one."""
        anomalies = self._anomalies(images, run)

        def step(index: int, random: np.random.Generator) -> dict[str, Tensor]:
            clean, damaged, masks = self._draw(images.train, anomalies, random)
            changed = masks.any((1, 2))  # the rest need not pass the trunk twice
            order = np.where(changed, self.batch - 1 + np.cumsum(changed), np.arange(self.batch))
            with torch.no_grad():
                taps = streams.plain(_tensor(np.concatenate([clean, damaged[changed]]), run.device))
            fine, coarse = streams.denoising(*(tap[order] for tap in taps))
            targets = [tap[: self.batch] for tap in taps]
            return {"fine": functional.mse_loss(fine, targets[0]), "coarse": functional.mse_loss(coarse, targets[1])}

        return self._fit("denoising", streams.denoising, step, len(images.train), run)

    def _teach_head(
        self, network: Disagreement, head: SegmentationHead, images: TrainingImages, run: Run
    ) -> TrainReport:
        """L_focal + L_l1 on pseudo-anomalies, streams and statistics fixed."""
        anomalies = self._anomalies(images, run)
        height, width = (side // STRIDE for side in images.size)

        def step(index: int, random: np.random.Generator) -> dict[str, Tensor]:
            _, damaged, masks = self._draw(images.train, anomalies, random)
            with torch.no_grad():
                whitened = network.whitened(_tensor(damaged, run.device))
            target = shrink_masks(torch.from_numpy(masks).to(run.device), height, width)
            return segmentation_losses(head(whitened), target)

        return self._fit("head", head, step, len(images.train), run)

    def _fit(self, stage: str, part: nn.Module, step: Step, images: int, run: Run) -> TrainReport:
        optimiser = Optimiser(rate=self.rate, kind="adam", betas=(0.9, 0.99), weight_decay=0.0)
        part.train()
        report = fit({stage: part}, step, optimiser, run, stage=stage, steps_per_epoch=images / self.batch)
        part.eval()
        return report

    def _first_part(self, run: Run) -> Run:
        if not self.head:
            return run
        share = 1 - self.head_share
        return dataclasses.replace(
            run,
            budget=None if run.budget is None else run.budget * share,
            steps=None if run.steps is None else max(1, min(run.steps - 1, round(run.steps * share))),
            epochs=None if run.epochs is None else run.epochs * share,
        )

    def _second_part(self, run: Run, done: int) -> Run:
        """The head's run after `done` steps of the first part: by count, so that the sum of both tells the two apart
        and `--steps` repeats a build that a budget ended. A head's step costs less than one of the first part."""
        steps = round(done * self.head_share / (1 - self.head_share))
        if run.steps is not None and done == self._first_part(run).steps:
            steps = run.steps - done  # what rounding left, so that the sum is what was asked for
        return dataclasses.replace(run, budget=None, epochs=None, steps=max(1, steps))

    def _anomalies(self, images: TrainingImages, run: Run) -> Anomalies:
        return Anomalies(default_textures(images.train, run.textures), self.anomaly_rate, kinds=KINDS)

    def _draw(
        self, images: NDArray[np.uint8], anomalies: Anomalies, random: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
        """A batch of augmented good images, the same with pseudo-anomalies, and their masks."""
        chosen = random.integers(len(images), size=self.batch)
        clean = [augment(images[index], random, flips=self.flips, rotation=self.rotation) for index in chosen]
        damaged, masks = zip(*(anomalies.draw(image, random) for image in clean), strict=True)
        return np.stack(clean), np.stack(damaged), np.stack(masks)

    def _fusion(self, network: Disagreement, good: Batches, size: tuple[int, int]) -> FusionSpec:
        height, width = (side // STRIDE for side in size)
        maps = [MapSpec(name="stacked", weight=0.5), MapSpec(name="coarse", weight=0.5)]
        if network.head is not None:
            mean, deviation = _spread(network, good)
            maps.append(MapSpec(name="head", weight=self.head, scale=1 / deviation, offset=-mean / deviation))
        score = ScoreSpec(top=max(1, round(self.top * height * width)))
        return FusionSpec(maps=tuple(maps), height=height, width=width, score=score)


def _tensor(images: NDArray[np.uint8], device: str) -> Tensor:
    return tensor_from(torch.from_numpy(images)).to(device=device, memory_format=torch.channels_last)


def _batches(images: TrainingImages, device: str) -> Batches:
    """All good images in order, those kept from the training included: statistics need every one."""

    def batches() -> Iterable[Tensor]:
        for side in (images.train, images.calibration):
            for start in range(0, len(side), CHUNK):
                yield _tensor(np.ascontiguousarray(side[start : start + CHUNK]), device)

    return batches


@torch.no_grad()
def _with_statistics(streams: TwoStreams, good: Batches) -> Disagreement:
    """The graph with the statistics of both residuals over good images."""
    return Disagreement(streams, *fit_residual_maps(lambda: (streams.residuals(batch) for batch in good())))


@torch.no_grad()
def _spread(network: Disagreement, good: Batches) -> tuple[float, float]:
    """Mean and standard deviation of the head's logits over good images."""
    logits = torch.cat([network(batch)["head"].double().flatten() for batch in good()])
    return float(logits.mean()), max(1e-6, float(logits.std(correction=0)))


def _card(reports: Sequence[TrainReport], source: WeightsFile) -> dict[str, Any]:
    """What the bundle's card says of the training."""
    return {
        "steps": sum(report.steps for report in reports),
        "seconds": round(sum(report.seconds for report in reports), 1),
        "stages": [dataclasses.asdict(report) for report in reports],
        "weights": [source.card()],
    }
