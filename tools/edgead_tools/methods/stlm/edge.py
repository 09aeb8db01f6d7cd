"""STLM: a plain and a denoising stream that agree on good parts and differ on defects (arXiv 2402.19145; TOMM 21(2)).

The edge form: both streams stand on one frozen, pretrained EfficientNet-Lite, the trunk. Against the published model:

- The plain stream is the trunk itself where that is the teacher too. A student of the teacher's architecture and
  weights starts at the optimum of L_plain, so training it would change nothing. For another teacher it is a small
  student on the trunk's taps (`layers.plain`), taught T(x~).
- The denoising stream passes the trunk's taps through a narrow code (`layers.denoising`), so that both streams together
  cost little more than one encoder. It is taught T(x) from x~, the image with an anomaly pasted in.
- The levels lie at 1/8 and 1/16; L_plain and L_deno are squared errors of standardized channels, since Lite's block
  outputs are signed and of very different scales.
- The maps are the length of the whitened residual against what is usual at each cell (`layers.residual_map`).
- The segmentation head reads the whitened residual, and its logit is the third map.
- A memory of good patches stands beside the streams (`methods.memory`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgead.bundle.manifest import FusionSpec, MapSpec
from edgead.errors import UsageError, nearest
from edgead.ops import resize
from edgead_tools.backbones.efficientnet_lite import (
    VARIANTS,
    EfficientNetLite,
    load_efficientnet_lite,
)
from edgead_tools.backbones.teachers import TEACHERS, load_teacher
from edgead_tools.backbones.weights import WeightsFile, find, load_state
from edgead_tools.data.anomalies import Anomalies, Kind, default_textures
from edgead_tools.data.augment import augment
from edgead_tools.layers.residual_map import fit_residual_maps_in_folds, trust
from edgead_tools.layers.standardized import Pair
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.joined import Learned, join
from edgead_tools.methods.lite import lite_batches, lite_tensor
from edgead_tools.methods.memory import STRIDE, without_students
from edgead_tools.methods.presets import EdgePreset
from edgead_tools.methods.stlm.segmentation_head import SegmentationHead, segmentation_losses, shrink_masks
from edgead_tools.methods.stlm.two_streams import Batches, Disagreement, Teacher, TwoStreams
from edgead_tools.training.batches import epoch_batch
from edgead_tools.training.distillation import MapTeacher
from edgead_tools.training.loop import Step, TrainReport, fit
from edgead_tools.training.run import Run
from edgead_tools.training.session import session

FAMILY = "efficientnet-"  # before a variant's name in that of its weights
SEEN = (
    -1.0,
    3.0,
)  # of a map that is learned: 1 is the pixel threshold, and beyond three of them more says nothing more
KINDS: tuple[Kind, ...] = ("perlin", "crack", "blob")


@dataclasses.dataclass(frozen=True, slots=True)
class StlmEdge(EdgePreset):
    """The edge form's hyper-parameters."""

    name: ClassVar[str] = "stlm"
    distils: ClassVar[bool] = True

    trunk: Literal["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"] = "efficientnet-lite0"
    teacher: str = ""  # weights of the backbone whose features are learned; the trunk itself where empty
    width: int = 128  # channels of the streams
    code: int = 64  # channels of its narrowest place
    batch: int = 8
    anomaly_rate: float = 0.5  # share of training images with a pseudo-anomaly
    head: float = 0.5  # weight of the head's map where images are many (`trust`); 0 trains none
    head_share: float = 0.2  # share of the training that is spent on the head

    def __post_init__(self) -> None:
        EdgePreset.__post_init__(self)  # slots: the class that super() knows is another
        if self._has_teacher and self.teacher not in TEACHERS:
            raise UsageError(f"no teacher is called '{self.teacher}': {nearest(self.teacher, TEACHERS)}")
        if self.width < 8 or self.code < 1 or self.batch < 2:
            raise UsageError("width must be at least 8, code at least 1 and batch at least 2")
        if not (0 <= self.head < math.inf and 0 < self.head_share < 1 and 0 <= self.anomaly_rate <= 1):
            raise UsageError("head must be at least 0, head_share in (0, 1) and anomaly_rate in [0, 1]")

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.trunk, self.teacher) if self._has_teacher else (self.trunk,)

    @property
    def _has_teacher(self) -> bool:
        return self.teacher not in ("", self.trunk)

    def train(self, images: TrainingImages, run: Run) -> Trained:
        sources = [find(name, run.weights) for name in self.weights]
        trunk = load_trunk(self.trunk, load_state(sources[0]))
        trunk.to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if not run.trains:
            return without_students(trunk, images, run, self, sources[0], self.top)
        with session(run.device, run.threads):
            return join(self.learn(trunk, sources, images, run), trunk, sources, images, run, self)

    def learn(
        self, trunk: EfficientNetLite, sources: Sequence[WeightsFile], images: TrainingImages, run: Run
    ) -> Learned:
        """Streams and head, trained."""
        torch.manual_seed(run.seed)
        network, reports, maps, report = self.teach(trunk, sources, images, run)
        return Learned(network, self.fused_streams(maps, images), maps, reports, report)

    def teach(
        self, trunk: EfficientNetLite, sources: Sequence[WeightsFile], images: TrainingImages, run: Run
    ) -> tuple[Disagreement, list[TrainReport], dict[str, NDArray[np.float32]], dict[str, Any]]:
        """Streams, their statistics and the head, good images' maps out of fold, and what is reported of a bundle
        that was distilled from."""
        good = lite_batches(images, run.device)
        teacher = None
        if self._has_teacher:
            channels = [trunk.channels[tap] for tap in trunk.taps[-2:]]
            teacher = load_teacher(self.teacher, load_state(sources[1]), good, channels, run.device)
        streams = TwoStreams(trunk, good, width=self.width, code=self.code, teacher=teacher)
        streams = streams.to(run.device).eval()
        run = self.limited(run, len(images.train) / self.batch)
        first, second = run.split(1 - self.head_share) if self.head else (run, None)
        reports = [self._teach_streams(streams, teacher, images, first)]
        network, maps = _with_statistics(streams, good, images.folds())
        network = network.to(run.device).eval()
        report: dict[str, Any] = {}
        if second is not None:
            network.head = SegmentationHead(network.stacked.channels).to(run.device)
            rest = second(reports[0].steps)
            if run.distill_from is None:
                reports.append(self._teach_head(network, network.head, images, rest))
            else:
                with MapTeacher(run.distill_from, threads=run.threads) as large:
                    reports.append(self._distil_head(network, network.head, large, images, rest))
                    report = {"distilled_from": large.provenance()}
            maps |= {"head": _head_logits(network, good)}
        return network, reports, maps, report

    def _teach_streams(
        self, streams: TwoStreams, teacher: Teacher | None, images: TrainingImages, run: Run
    ) -> TrainReport:
        """L_deno: what the teacher sees in the whole image, from what the trunk sees in the damaged one; and L_plain,
        what the teacher sees in the damaged one, where the teacher is not the trunk."""
        anomalies = self._anomalies(images, run)

        def step(index: int, random: np.random.Generator) -> dict[str, Tensor]:
            clean, damaged, masks = self._draw(
                epoch_batch(images.train, index, self.batch, run.seed), anomalies, random
            )
            changed = masks.any((1, 2))  # the rest need not pass trunk and teacher twice
            order = np.where(changed, self.batch - 1 + np.cumsum(changed), np.arange(self.batch))
            with torch.no_grad():
                both = lite_tensor(np.concatenate([clean, damaged[changed]]), run.device)
                taps = streams.taps(both)
                targets = taps if teacher is None else streams.target(teacher(both))
            seen = [tap[order] for tap in taps]
            losses = _distances("", streams.denoising(*seen), [target[: self.batch] for target in targets])
            if streams.student is not None:
                losses |= _distances("plain_", streams.student(*seen), [target[order] for target in targets])
            return losses

        parts: dict[str, nn.Module] = {"denoising": streams.denoising}
        if streams.student is not None:
            parts["plain"] = streams.student
        return self._fit("denoising", parts, step, len(images.train), run)

    def _teach_head(
        self, network: Disagreement, head: SegmentationHead, images: TrainingImages, run: Run
    ) -> TrainReport:
        """L_focal + L_l1 on pseudo-anomalies, streams and statistics fixed."""
        anomalies = self._anomalies(images, run)
        height, width = (side // STRIDE for side in images.size)

        def step(index: int, random: np.random.Generator) -> dict[str, Tensor]:
            _, damaged, masks = self._draw(epoch_batch(images.train, index, self.batch, run.seed), anomalies, random)
            with torch.no_grad():
                whitened = network.whitened(lite_tensor(damaged, run.device))
            target = shrink_masks(torch.from_numpy(masks).to(run.device), height, width)
            return segmentation_losses(head(whitened), target)

        return self._fit("head", {"head": head}, step, len(images.train), run)

    def _distil_head(
        self,
        network: Disagreement,
        head: SegmentationHead,
        teacher: MapTeacher,
        images: TrainingImages,
        run: Run,
    ) -> TrainReport:
        """The map of a bundle instead, on the same pseudo-anomalies: what it sees of them, and of good parts."""
        anomalies = self._anomalies(images, run)
        height, width = images.size
        large = images.train if images.large is None else images.large

        def step(index: int, random: np.random.Generator) -> dict[str, Tensor]:
            _, damaged, _ = self._draw(epoch_batch(large, index, self.batch, run.seed), anomalies, random)
            small = np.stack([resize(image, height, width) for image in damaged])
            maps = torch.from_numpy(teacher.maps(damaged, height // STRIDE, width // STRIDE)).to(run.device)
            with torch.no_grad():
                whitened = network.whitened(lite_tensor(small, run.device))
            return {"map": functional.smooth_l1_loss(head(whitened), maps.clamp(*SEEN))}

        return self._fit("head", {"head": head}, step, len(images.train), run)

    def _fit(self, stage: str, parts: dict[str, nn.Module], step: Step, images: int, run: Run) -> TrainReport:
        for part in parts.values():
            part.train()
        report = fit(parts, step, self.optimizer, run, stage=stage, steps_per_epoch=images / self.batch)
        for part in parts.values():
            part.eval()
        return report

    def _anomalies(self, images: TrainingImages, run: Run) -> Anomalies:
        return Anomalies(default_textures(images.train, run.textures), self.anomaly_rate, kinds=KINDS)

    def _draw(
        self, images: NDArray[np.uint8], anomalies: Anomalies, random: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
        """Good images (B, H, W, 3), augmented, the same with pseudo-anomalies, and their masks."""
        clean = [augment(image, random, flips=self.flips, rotation=self.rotation) for image in images]
        damaged, masks = zip(*(anomalies.draw(image, random) for image in clean), strict=True)
        return np.stack(clean), np.stack(damaged), np.stack(masks)

    def fused_streams(self, maps: Mapping[str, NDArray[np.float32]], images: TrainingImages) -> FusionSpec:
        """The fusion whose head counts by how far it is from what it says of good images, whose `maps` these are."""
        height, width = (side // STRIDE for side in images.size)
        specs = [MapSpec(name="stacked", weight=0.5), MapSpec(name="coarse", weight=0.5)]
        if "head" in maps:
            mean, deviation = _mean_and_deviation(maps["head"])
            specs.append(
                MapSpec(
                    name="head", weight=self.head * trust(images.count), scale=1 / deviation, offset=-mean / deviation
                )
            )
        return self.fused(specs, height, width)


def load_trunk(name: str, state: Mapping[str, Tensor]) -> EfficientNetLite:
    """The trunk of that name with its taps at 1/8 and 1/16, and the block after them for the memory."""
    variant = name.removeprefix(FAMILY)
    _, fine, coarse = VARIANTS[variant].taps
    return load_efficientnet_lite(state, variant, (fine, coarse), further=1)


def _distances(prefix: str, found: Pair, targets: Sequence[Tensor]) -> dict[str, Tensor]:
    names = (f"{prefix}fine", f"{prefix}coarse")
    return {name: functional.mse_loss(a, b) for name, a, b in zip(names, found, targets, strict=True)}


@torch.no_grad()
def _with_statistics(
    streams: TwoStreams, good: Batches, folds: NDArray[np.intp]
) -> tuple[Disagreement, dict[str, NDArray[np.float32]]]:
    """The graph with the statistics of both residuals over good images, and these images' maps out of fold."""
    (stacked, coarse), found = fit_residual_maps_in_folds(lambda: (streams.residuals(batch) for batch in good()), folds)
    return Disagreement(streams, stacked, coarse), dict(zip(("stacked", "coarse"), found, strict=True))


@torch.no_grad()
def _head_logits(network: Disagreement, good: Batches) -> NDArray[np.float32]:
    """The head's logits of good images, (N, h, w)."""
    return np.concatenate([network(batch)["head"].float().cpu().numpy() for batch in good()])


def _mean_and_deviation(logits: NDArray[np.float32]) -> tuple[float, float]:
    """Mean and standard deviation of the head's logits over good images."""
    return float(logits.mean(dtype=np.float64)), max(1e-6, float(logits.std(dtype=np.float64)))
