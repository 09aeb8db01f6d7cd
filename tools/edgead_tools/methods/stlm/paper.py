"""STLM as published: two small encoders, taught by a frozen SAM, that agree on good parts and differ on defects.

Source: "A SAM-guided Two-stream Lightweight Model for Anomaly Detection" (arXiv 2402.19145; ACM TOMM 21(2), 2025).
Both encoders see the image with an anomaly pasted in. The plain one is taught what SAM sees in it, the denoising one
what SAM sees in the whole image; a head that is trained with them turns their disagreement into a map.

Against the published code: the encoders start from MobileSAM's unless `encoders` says "random", since these are
distilled from SAM onto the same target already; MobileSAM itself is the teacher unless `teacher` says "sam-vit-h",
whose encoder costs 2980 GMAC an image at 1024 where MobileSAM's costs 39; and all images of a batch go through the
decoder at once. A batch of two images holds 8.9 GiB for the gradients at 1024 pixels, 1.7 GiB at 448.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgead.bundle.input_spec import InputSpec
from edgead.bundle.manifest import FusionSpec, MapSpec, ScoreSpec
from edgead.errors import UsageError
from edgead_tools.backbones.sam import OFFSET, SCALE, load_mobile_sam, load_sam_vit_h, tensor_from
from edgead_tools.backbones.tiny_vit import TinyVit
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.data.anomalies import Anomalies, default_textures
from edgead_tools.data.augment import turn
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.presets import PaperPreset
from edgead_tools.methods.stlm.feature_aggregation import FeatureAggregation
from edgead_tools.methods.stlm.sam_streams import SamStreams, cells
from edgead_tools.training.batches import epoch_batch
from edgead_tools.training.loop import Optimizer, TrainReport, fit
from edgead_tools.training.report import training_report
from edgead_tools.training.run import Run
from edgead_tools.training.session import session

STRIDE = 16  # pixels a cell of the map
TOP = 100  # pixels whose mean is the score
TURNS = {"none": (False, 0.0), "slight": (False, 5.0), "rotation": (True, 5.0)}  # quarter turns, and degrees beside


@dataclasses.dataclass(frozen=True, slots=True)
class StlmPaper(PaperPreset):
    """The published model's hyper-parameters."""

    name: ClassVar[str] = "stlm"
    size: ClassVar[int] = 1024

    teacher: Literal["mobile-sam", "sam-vit-h"] = "mobile-sam"
    encoders: Literal["mobile-sam", "random"] = "mobile-sam"  # the weights they start with
    head: bool = True  # whether a head makes the map; else it is the streams' distance
    batch: int = 2
    rate: float = 5e-4  # of encoders and decoder, with Adam
    residual_rate: float = 0.1  # of the head's first blocks, with SGD
    segment_rate: float = 0.01  # of the rest of the head, with SGD
    last: float = 1.0  # of the rates at the end of a cosine; 1 keeps them constant
    anomaly_rate: float = 0.5  # share of training images with a pseudo-anomaly
    augmentation: Literal["none", "slight", "rotation"] = "slight"  # how a good part may be turned

    def __post_init__(self) -> None:
        if self.batch < 2:
            raise UsageError("batch must be at least 2")
        if not all(0 < rate < math.inf for rate in (self.rate, self.residual_rate, self.segment_rate)):
            raise UsageError("rate, residual_rate and segment_rate must be above 0")
        if not (0 < self.last <= 1 and 0 <= self.anomaly_rate <= 1):
            raise UsageError("last must be in (0, 1] and anomaly_rate in [0, 1]")

    @property
    def weights(self) -> tuple[str, ...]:
        """MobileSAM's, with which the decoder starts, and the teacher's."""
        return tuple(dict.fromkeys(("mobile-sam", self.teacher)))

    def train(self, images: TrainingImages, run: Run) -> Trained:
        with session(run.device, run.threads):
            torch.manual_seed(run.seed)
            network, teacher, weights = self._networks(run)
            report = self._teach(network, teacher, images, run)
        height, width = images.size
        network.cpu().eval().fold(height, width)
        return Trained(
            network=network,
            input=InputSpec(height=height, width=width, scale=SCALE[::-1], offset=OFFSET[::-1]),
            fusion=self._fusion(height, width),
            report=training_report([report], []) | {"weights": weights},
        )

    def _networks(self, run: Run) -> tuple[SamStreams, nn.Module, list[dict[str, Any]]]:
        """The students, their frozen teacher, and what the bundle's provenance says of the weights."""
        source = find("mobile-sam", run.weights)
        start, loaded = load_mobile_sam(load_state(source))
        weights = [source.provenance() | dataclasses.asdict(loaded)]
        if self.teacher == "mobile-sam":
            teacher: nn.Module = copy.deepcopy(start)
        else:
            source = find(self.teacher, run.weights)
            teacher, loaded = load_sam_vit_h(load_state(source))
            weights.append(source.provenance() | dataclasses.asdict(loaded))
        teacher.requires_grad_(False).to(device=run.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        plain, denoising = (TinyVit() if self.encoders == "random" else copy.deepcopy(start.encoder) for _ in range(2))
        head = FeatureAggregation() if self.head else None
        return SamStreams(plain, denoising, start.decoder, head), teacher, weights

    def _teach(self, network: SamStreams, teacher: nn.Module, images: TrainingImages, run: Run) -> TrainReport:
        anomalies = Anomalies(default_textures(images.train, run.textures), self.anomaly_rate)
        height, width = (side // STRIDE for side in images.size)

        def step(index: int, random: np.random.Generator) -> dict[str, Tensor]:
            clean, damaged, masks = self._draw(
                epoch_batch(images.train, index, self.batch, run.seed), anomalies, random
            )
            changed = masks.any((1, 2))  # the rest need not pass the teacher twice
            order = np.where(changed, self.batch - 1 + np.cumsum(changed), np.arange(self.batch))
            with torch.no_grad():
                seen = teacher(_tensor(np.concatenate([damaged, clean[changed]]), run.device))
            target = cells(torch.from_numpy(masks).to(run.device), height, width)
            plain, denoising = [level[: self.batch] for level in seen], [level[order] for level in seen]
            return network.losses(_tensor(damaged, run.device), plain, denoising, target)

        parts = _parts(network)
        optimizers = {name: self._optimizer(name) for name in parts}
        network.train()
        return fit(parts, step, optimizers, run, stage="streams", steps_per_epoch=len(images.train) / self.batch)

    def _optimizer(self, part: str) -> Optimizer:
        rates = {"residual": self.residual_rate, "segment": self.segment_rate}
        if part in rates:
            return Optimizer(rates[part], "sgd", weight_decay=1e-4, momentum=0.9, last=self.last)
        return Optimizer(self.rate, "adam", weight_decay=0.0, betas=(0.5, 0.999), last=self.last)

    def _draw(
        self, images: NDArray[np.uint8], anomalies: Anomalies, random: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
        """Good images (B, H, W, 3), augmented, the same with pseudo-anomalies, and their masks."""
        quarters, degrees = TURNS[self.augmentation]
        clean = [turn(image, random, quarters=quarters, degrees=degrees) for image in images]
        damaged, masks = zip(*(anomalies.draw(image, random) for image in clean), strict=True)
        return np.stack(clean), np.stack(damaged), np.stack(masks)

    def _fusion(self, height: int, width: int) -> FusionSpec:
        """The map at image size, and as the score the mean of its largest pixels."""
        part = MapSpec(name="segmentation" if self.head else "distance")
        return FusionSpec(maps=(part,), height=height, width=width, score=ScoreSpec(top=TOP))


def _parts(network: SamStreams) -> dict[str, nn.Module]:
    """What has an optimizer of its own."""
    parts: dict[str, nn.Module] = {
        "plain": network.plain,
        "denoising": network.denoising,
        "decoder": network.decoder,
    }
    if network.head is not None:
        parts |= {"residual": network.head.residual, "segment": network.head.segment}
    return parts


def _tensor(images: NDArray[np.uint8], device: str) -> Tensor:
    return tensor_from(torch.from_numpy(images)).to(device=device, memory_format=torch.channels_last)
