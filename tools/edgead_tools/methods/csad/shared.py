"""Shares what both presets of CSAD need: labeled and unlabeled batches, the segmentation's training, both fits."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edgead.bundle.manifest import FusionSpec
from edgead.errors import UsageError
from edgead.ops import COMPONENTS, fuse, image_score
from edgead.ops.components import ComponentStatistics, label_cells
from edgead.types import Labels
from edgead_calibration.components import Fitted, Rows, fit_components
from edgead_tools.backbones.weights import WeightsFile
from edgead_tools.components import ComponentLabels, MaskSource, Search, choose_proposals, find_components, from_drawn
from edgead_tools.data.logical import Item, corner_ground, find_items, jitter_scene, paste_items
from edgead_tools.methods import TrainingImages
from edgead_tools.methods.csad.component_head import ComponentHead, entropy_loss, labeled_losses, unlabeled_losses
from edgead_tools.training.loop import Optimizer, TrainReport, fit
from edgead_tools.training.report import training_report
from edgead_tools.training.run import Run

CHUNK = 8  # images a forward pass when statistics are fitted
Network = Callable[[Tensor], Mapping[str, Tensor]]
LeftOut = Callable[
    [int], Mapping[str, NDArray[np.float32]]
]  # by the index of a good image: maps of a memory without it
ToTensor = Callable[[NDArray[np.uint8], str], Tensor]  # images (B, H, W, 3) BGR -> the network's input on a device
Logits = Callable[[Tensor], Tensor]  # images (B, 3, H, W) -> (B, K, h, w)


def weights_of(*names: str, masks: MaskSource) -> tuple[str, ...]:
    """The named weights, and those that masks of that source take."""
    return names if masks == "foreground" else (*names, masks)


def label(
    images: TrainingImages, state: Mapping[str, Tensor], run: Run, source: MaskSource, search: Search | None = None
) -> ComponentLabels:
    """The label maps a person drew, where there are any, else those found in masks that are given or of `source`."""
    proposals = choose_proposals(source, run.weights, run.device, given=bool(images.labels or images.masks))
    if images.labels:
        return from_drawn(images.names, images.labels, len(images.train))
    return find_components(
        images.train, state, run.seed, proposals=proposals, masks=images.masks, search=search or Search()
    )


class LabeledImages:
    """Good images with label maps, and good images without, as batches."""

    def __init__(self, images: NDArray[np.uint8], found: ComponentLabels, *, published: bool = False) -> None:
        """`published` has items pasted by the published rule, which looks at the ground (`corner_ground`)."""
        self._images, self._found = images, found
        self._grounds = {index: corner_ground(one) for index, one in found.labels.items()} if published else {}
        self._labeled = list(found.labels)
        self._items: dict[int, list[Item]] = {index: find_items(one) for index, one in found.labels.items()}
        self._shares = found.shares()

    def __len__(self) -> int:
        return len(self._labeled)

    def draw(self, count: int, random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Images (B, H, W, 3) with logical anomalies, and their label maps (B, H, W)."""
        pairs = [self._draw(self._labeled[i], random) for i in random.integers(len(self._labeled), size=count)]
        return np.stack([image for image, _ in pairs]), np.stack([labels for _, labels in pairs])

    def draw_unlabeled(
        self, count: int, random: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
        """Images (B, H, W, 3) and, for each, the classes' shares of a label map drawn at random (B, K); None where all
        images are labeled."""
        if not self._found.unlabeled:
            return None
        chosen = random.choice(self._found.unlabeled, count)
        shares = self._shares[random.integers(len(self._shares), size=count)]
        return np.stack([self._images[index] for index in chosen]), shares.astype(np.float32)

    def _draw(self, index: int, random: np.random.Generator) -> tuple[NDArray[np.uint8], Labels]:
        image = np.ascontiguousarray(self._images[index])
        ground = self._grounds.get(index)
        pasted = paste_items(image, self._found.labels[index], self._items[index], random, ground=ground)
        return jitter_scene(*pasted, random)


@dataclasses.dataclass(frozen=True, slots=True)
class Segmentation:
    """How the segmentation head learns."""

    rate: float
    batch: int  # labeled images a step, and as many unlabeled ones
    alone: float  # share of the steps in which labeled images alone teach
    finer: int  # labels a cell of the logits, each way
    last: float = 0.01  # of the rate, at the end
    weight_decay: float = 1e-5
    certain: bool = False  # whether labeled images too are to be labeled without doubt, once unlabeled ones teach


def teach_segmentation(
    head: ComponentHead, logits: Logits, labeled: LabeledImages, to_tensor: ToTensor, how: Segmentation, run: Run
) -> TrainReport:
    """Train the head of `logits`; it is at rest before and after. `run` has a number of steps."""
    assert run.steps is not None  # as the second stage of a run has
    alone = how.alone * run.steps

    def step(index: int, random: np.random.Generator) -> dict[str, Tensor]:
        pictures, maps = labeled.draw(how.batch, random)
        more = labeled.draw_unlabeled(how.batch, random) if index >= alone else None
        every = pictures if more is None else np.concatenate([pictures, more[0]])
        found = logits(to_tensor(every, run.device))
        large = functional.interpolate(found, scale_factor=float(how.finer), mode="bilinear", align_corners=False)
        size = (large.shape[3], large.shape[2])
        small = np.stack([cv2.resize(one, size, interpolation=cv2.INTER_NEAREST_EXACT) for one in maps])
        target = torch.from_numpy(small.astype(np.int64)).to(run.device)
        losses = labeled_losses(large[: how.batch], target)
        if more is not None:
            losses |= unlabeled_losses(large[how.batch :], torch.from_numpy(more[1]).to(run.device))
            if how.certain:
                losses["entropy_labeled"] = entropy_loss(large[: how.batch])
        return losses

    optimizer = Optimizer(rate=how.rate, kind="adam", weight_decay=how.weight_decay, last=how.last)
    head.train()
    report = fit({"head": head}, step, optimizer, run, stage="components")
    head.eval()
    return report


def check_grids(grids: Sequence[int], cell: int) -> None:
    """Raise UsageError for grids of histograms that do not divide the labels of every input, of `cell` pixels each."""
    side = 32 // cell  # sides of inputs are multiples of 32
    if not grids or len(set(grids)) < len(grids) or any(one < 1 or side % one for one in grids):
        raise UsageError(f"grids are numbers of cells a side that divide {side}, such as [1, 2], not {list(grids)}")


def fit_branches(
    network: Network,
    images: TrainingImages,
    to_tensor: ToTensor,
    device: str,
    names: Sequence[str],
    fusion: FusionSpec,
    grid: tuple[int, int],
    grids: Sequence[int] = (1, 2),
    statistics: Callable[[Rows], ComponentStatistics] | None = None,
    left_out: Mapping[str, NDArray[np.float32]] | None = None,
    usual: float | None = None,
) -> Fitted:
    """Statistics of both branches over all good images, as the exported network sees them: no augmentation, FP32.
    `statistics` and `usual` are `fit` and `usual` of `fit_components`.

    `left_out` has maps (N, h, w) that take the place of the network's: of a memory that would know its own images.
    """
    labels: list[Labels] = []
    scores: list[float] = []
    every = itertools.chain(
        *(read_outputs(network, side, to_tensor, device) for side in (images.train, images.calibration))
    )
    for one in every:
        labels.append(label_cells(one[COMPONENTS], *grid))
        one |= {name: array[len(scores)] for name, array in (left_out or {}).items()}
        scores.append(image_score(fuse(one, fusion), fusion))
    aside = [False] * len(images.train) + [True] * len(images.calibration)
    return fit_components(names, labels, scores, aside, grids=grids, fit=statistics, usual=usual)


@torch.inference_mode()
def read_outputs(
    network: Network, images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], to_tensor: ToTensor, device: str
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """The network's outputs of one image (H, W, 3) after the other."""
    for start in range(0, len(images), CHUNK):
        batch = np.ascontiguousarray(images[start : start + CHUNK])
        outputs = {name: tensor.cpu().numpy() for name, tensor in network(to_tensor(batch, device)).items()}
        yield from ({name: array[index] for name, array in outputs.items()} for index in range(len(batch)))


def csad_report(
    reports: Sequence[TrainReport], sources: Sequence[WeightsFile], found: ComponentLabels
) -> dict[str, Any]:
    """What `Trained.report` says of the stages, the weights and the components."""
    components = {"names": list(found.names), "labeled": len(found.labels), "unlabeled": len(found.unlabeled)}
    return training_report(reports, sources) | {"components": components}
