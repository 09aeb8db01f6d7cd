"""CSAD as published: WideResNet-50-2 carries a segmentation of components, a local and a global student.

Source: Hsieh and Lai, "CSAD: Unsupervised Component Segmentation for Logical Anomaly Detection", BMVC 2024, and its
code; where they disagree the code, which produced the published models, but plain cross entropy on logits, batch norm's
usual momentum and nearest-neighbor label maps. What differs here:

- Pseudo-labels come from `edgead_tools.components` or a person, not from GroundingDINO and HQ-SAM; `masks` names
  another SAM to search with.
- Training keeps the last state. The published figures chose it by the test set.
- The penalty on images of another domain wants such images: `penalty` names a folder of them. Without one it is left
  out, as in EfficientAD's other implementations.
- Image scores are taken on the map's own grid in training and on the device alike.
- Items are pasted by the published rule: less than half of the first, less than nine tenths of the second may land on
  the ground. The ground is what has no label and reaches a corner or the middle of a side (`corner_ground`), where the
  published code asks SAM at these points. An item that finds no place is not pasted, where the code pastes the first
  one all the same.
- Components are described by EfficientNet-Lite0, not by WideResNet-50's fourth stage, in all images and 60 turns.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

import cv2
import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgead.bundle.input_spec import InputSpec
from edgead.bundle.manifest import FusionSpec, MapSpec
from edgead.errors import UsageError
from edgead_calibration.components import published_statistics
from edgead_tools.backbones.resnet import OFFSET, SCALE, load_resnet, tensor_from
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.components import MaskSource, Search
from edgead_tools.data.anomalies import FolderTextures
from edgead_tools.data.augment import jitter
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.csad.paper_students import STEP, PublishedCsad
from edgead_tools.methods.csad.shared import (
    CHUNK,
    LabeledImages,
    Segmentation,
    check_grids,
    csad_report,
    fit_branches,
    label,
    teach_segmentation,
    weights_of,
)
from edgead_tools.methods.presets import PaperPreset
from edgead_tools.training.batches import epoch_batch
from edgead_tools.training.loop import Optimizer, TrainReport, fit
from edgead_tools.training.run import Run
from edgead_tools.training.session import session

ENCODER, ENCODER_WEIGHTS, FINDER = "wide-resnet50-2", "wide-resnet50-2-v2", "efficientnet-lite0"
DROP = 0.95  # of the students' steps, after which their rate is a tenth
SIDE = 512  # pixels, to which images of another domain are stretched before their middle is taken
GRAY = 0.3  # share of them that lose their colors
FINER = 4  # labels a cell of the logits, each way: one a pixel
ALONE = 50 / 120  # of the epochs, in which labeled images alone teach
QUANTILES = (0.9, 0.995)  # of each map over good images: 0 and HEIGHT of what is fused
HEIGHT = 0.1
FLAT = 1e-6  # between the quantiles: such a map is left as it is


@dataclasses.dataclass(frozen=True, slots=True)
class CsadPaper(PaperPreset):
    """The published model's hyper-parameters."""

    name: ClassVar[str] = "csad"
    segments: ClassVar[bool] = True

    batch: int = 2  # of the students; the segmentation has twice as many, labeled and unlabeled each
    students_rate: float = 2e-4
    rate: float = 1e-2  # of the segmentation
    turns: int = 60  # of every item when it is described
    penalty: str = ""  # folder of images of another domain, in which the local student is to see nothing
    grids: tuple[int, ...] = (1, 2)  # cells a side of each histogram
    masks: MaskSource = "foreground"  # what components are found in

    def __post_init__(self) -> None:
        if not (self.batch >= 1 and self.turns >= 1 and 0 < self.students_rate < math.inf and 0 < self.rate < math.inf):
            raise UsageError("batch and turns must be at least 1 and both rates above 0")
        check_grids(self.grids, 1)

    @property
    def weights(self) -> tuple[str, ...]:
        """The encoder's, the finder's, and those of the masks."""
        return weights_of(ENCODER_WEIGHTS, FINDER, masks=self.masks)

    def train(self, images: TrainingImages, run: Run) -> Trained:
        sources = [find(name, run.weights) for name in self.weights]
        states = [load_state(source) for source in sources[:2]]
        with session(run.device, run.threads):
            torch.manual_seed(run.seed)
            found = label(images, states[1], run, self.masks, Search(images=0, turns=self.turns))
            network = PublishedCsad(load_resnet(states[0], ENCODER), images.size, len(found.names))
            network.to(device=run.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
            network.teacher.standardize(lambda: map(network.teach, _batches(images.train, run.device)))
            first, second = run.split(0.5)
            reports = [self._teach_students(network, images, first)]
            rest = second(reports[0].steps)
            reports.append(self._teach_head(network, LabeledImages(images.train, found, published=True), rest))
            fusion = _fusion(network, images, run.device)
            branches = fit_branches(
                network, images, to_tensor, run.device, found.names, fusion, images.size, self.grids,
                published_statistics,
            )  # fmt: skip
        height, width = images.size
        return Trained(
            network=network.cpu(),
            input=InputSpec(height=height, width=width, scale=_bgr(SCALE), offset=_bgr(OFFSET)),
            fusion=msgspec.structs.replace(fusion, components=branches.spec),
            report=csad_report(reports, sources, found),
            members=branches.members,
        )

    def _teach_students(self, network: PublishedCsad, images: TrainingImages, run: Run) -> TrainReport:
        count = len(images.train)
        others = FolderTextures.open(Path(self.penalty)) if self.penalty else None

        def step(index: int, random: np.random.Generator) -> dict[str, Tensor]:
            original = epoch_batch(images.train, index, self.batch, run.seed)
            other = np.stack([jitter(np.ascontiguousarray(one), random) for one in original])
            strange = None if others is None else to_tensor(_strange(others, images.size, random)[None], run.device)
            return network.losses(to_tensor(original, run.device), to_tensor(other, run.device), strange)

        parts = {"local": network.local, "global": network.wide}
        optimizer = Optimizer(rate=self.students_rate, kind="adam", weight_decay=1e-4, last=1.0, drop=DROP)
        for part in parts.values():
            part.train()
        report = fit(parts, step, optimizer, run, stage="students", steps_per_epoch=count / self.batch)
        network.eval()
        return report

    def _teach_head(self, network: PublishedCsad, labeled: LabeledImages, run: Run) -> TrainReport:
        def logits(batch: Tensor) -> Tensor:
            with torch.no_grad():
                stages = network.encoder(batch)
            found: Tensor = network.head(stages[0], stages[2])
            return found

        how = Segmentation(rate=self.rate, batch=2 * self.batch, alone=ALONE, finer=FINER, last=1.0, certain=True)
        return teach_segmentation(network.head, logits, labeled, to_tensor, how, run)


def _strange(others: FolderTextures, size: tuple[int, int], random: np.random.Generator) -> NDArray[np.uint8]:
    """The middle of an image of another domain, (H, W, 3), sometimes without its colors."""
    image = others.draw(SIDE, SIDE, random)
    height, width = (min(side, SIDE) for side in size)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    middle = np.asarray(cv2.resize(image[top : top + height, left : left + width], size[::-1]), np.uint8)
    if random.random() < GRAY:
        middle = np.asarray(cv2.cvtColor(cv2.cvtColor(middle, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)
    return middle


def to_tensor(images: NDArray[np.uint8], device: str) -> Tensor:
    """The network's input (B, 3, H, W) on the device, from images (B, H, W, 3) uint8 BGR."""
    batch = tensor_from(torch.from_numpy(np.ascontiguousarray(images)).to(device))
    return batch.contiguous(memory_format=torch.channels_last)


def _batches(images: NDArray[np.uint8], device: str) -> Iterable[Tensor]:
    for start in range(0, len(images), CHUNK):
        yield to_tensor(images[start : start + CHUNK], device)


@torch.inference_mode()
def _fusion(network: PublishedCsad, images: TrainingImages, device: str) -> FusionSpec:
    """Both maps between their quantiles over the images kept from the training."""
    found = [network(batch) for batch in _batches(images.calibration, device)]
    parts = []
    for name in ("local", "global"):
        values = np.concatenate([maps[name].cpu().numpy().ravel() for maps in found])
        low, high = (float(one) for one in np.quantile(values, QUANTILES))
        scale = HEIGHT / (high - low) if high - low >= FLAT else 1.0
        parts.append(MapSpec(name=name, scale=scale, offset=-low * scale if high - low >= FLAT else 0.0))
    height, width = (side // STEP for side in images.size)
    return FusionSpec(maps=tuple(parts), height=height, width=width)


def _bgr(channels: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = channels
    return blue, green, red
