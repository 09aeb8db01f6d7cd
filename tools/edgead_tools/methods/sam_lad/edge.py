"""SAM-LAD for the edge: objects of EfficientNet-Lite0's features, found on the device, and no training.

Against the published method (Peng et al., Knowledge-Based Systems 2025, arXiv 2406.00625):

- Features are the taps at 1/8 and 1/16 of EfficientNet-Lite0, standardized over good images and interpolated.
- Masks are what stands out against the ground (`edgead.ops.proposals`), or pieces of the components that a bundle of
  another method knows (`masks_from`): no foundation model judges a part.
- Every object gets a slot from the matches with all near images, and is measured against all good objects of its kind,
  each cost in standard deviations of good objects that were left out.
- A memory of good patches (`methods.memory`) stands beside the matching, for what is no object.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from edgead.bundle import FusionSpec, ProposalSpec, ScoreSpec
from edgead.errors import UsageError
from edgead.ops import COMPONENTS
from edgead_calibration.images import evenly_spaced
from edgead_calibration.objects import FittedObjects, fit_objects, look
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.backbones.weights import find
from edgead_tools.components.foreground import CLUSTERS, Ground, cluster_cells, combine_taps
from edgead_tools.layers.standardized import Standardized
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.lite import CHUNK, lite0_trunk, lite_batches, lite_tensor
from edgead_tools.methods.memory import MemoryOptions, Remembered, input_spec, remember
from edgead_tools.methods.sam_lad.masks_from import ComponentMasks
from edgead_tools.methods.sam_lad.network import (
    FEATURES,
    GroundClusters,
    ObjectFeatures,
    read_outputs,
    standardize_taps,
)
from edgead_tools.methods.sam_lad.options import MatchingOptions, draft_matching
from edgead_tools.training.report import training_report
from edgead_tools.training.run import Run
from edgead_tools.training.session import session

STRIDE = 8  # pixels a cell of the fused map
COARSE = 16  # pixels a cell of what `upsample` enlarges
KEPT = 32  # pixels a cell of the bank
LOOKED_AT = 60  # images of which the ground is found: clusters need no more


@dataclass(frozen=True, slots=True)
class SamLadEdge(MatchingOptions):
    """The edge form's hyper-parameters."""

    name: ClassVar[str] = "sam_lad"
    preset: ClassVar[str] = "edge"
    size: ClassVar[int] = 256
    memory_size: ClassVar[int] = 0
    distils: ClassVar[bool] = False
    segments: ClassVar[bool] = False

    patches: int = 1024  # good patches that a cell is compared with, beside the matching; 0: none
    whole: float = 0.5  # weight of the picture as a whole where images are many
    masks_from: str = ""  # a bundle with components, whose pieces are the objects; empty: what stands out
    top: float = 0.01  # share of the map's cells whose mean is the structural score

    def __post_init__(self) -> None:
        MatchingOptions.__post_init__(self)  # slots: the class that super() knows is another
        MemoryOptions(memory=self.patches, whole=self.whole)  # raises UsageError
        if not 0 < self.top <= 1:
            raise UsageError("top must be in (0, 1]")

    @property
    def weights(self) -> tuple[str, ...]:
        return ("efficientnet-lite0",)

    @property
    def memory(self) -> int:
        """Whatever it remembers needs no training."""
        return self.bank

    def train(self, images: TrainingImages, run: Run) -> Trained:
        start, spec = time.monotonic(), input_spec(images.size)
        source = find(self.weights[0], run.weights)
        trunk = lite0_trunk(source, run.device)
        with session(run.device, run.threads):
            torch.manual_seed(run.seed)
            masks = ComponentMasks(Path(self.masks_from), spec, run.threads) if self.masks_from else None
            levels = standardize_taps(trunk, lite_batches(images, run.device)).to(run.device)
            remembered = self._remember(trunk, images, run)
            clusters = None
            if masks is None:
                ground = find_ground(trunk, levels, images, run)
                clusters = GroundClusters((trunk.channels[tap] for tap in trunk.taps), torch.from_numpy(ground.centers))
                proposals = ProposalSpec(
                    source="ground", count=1, smallest=0.0, largest=1.0, classes=CLUSTERS, ground=ground.certain
                )
            else:
                proposals = masks.proposals
            memory = None if remembered is None else remembered.memory
            network = ObjectFeatures(trunk, levels, clusters, memory).to(run.device).eval()
            fitted = self._fit(network, images, run, masks, remembered, proposals)
        report = training_report([], [source]) | {"seconds": round(time.monotonic() - start, 1)}
        report |= {"matching": fitted.report, "findings": fitted.findings}
        if masks is not None:
            report |= {"masks_from": {"name": Path(self.masks_from).name, "digest": masks.digest}}
        if remembered is not None:
            report |= {"memory": remembered.provenance()}
            report["findings"] += remembered.findings()
        return Trained(
            network=network.cpu(),
            input=spec,
            beside=None if masks is None else masks.beside,
            fusion=fitted.fusion,
            members=fitted.members,
            good=(fitted.scores, fitted.maxima),
            report=report,
        )

    def _remember(self, trunk: EfficientNetLite, images: TrainingImages, run: Run) -> Remembered | None:
        if not self.patches:
            return None
        return remember(trunk, images, run, MemoryOptions(memory=self.patches, whole=self.whole, doubts="no"))

    def _fit(
        self, network: ObjectFeatures, images: TrainingImages, run: Run, masks: ComponentMasks | None,
        remembered: Remembered | None, proposals: ProposalSpec,
    ) -> FittedObjects:  # fmt: skip
        height, width = images.size
        grid, bank = (
            (height * self.upsample // COARSE, width * self.upsample // COARSE),
            (height // KEPT, width // KEPT),
        )
        limits = {"smallest": self.smallest, "largest": self.largest or 1.0}
        proposals = msgspec.structs.replace(proposals, **limits)
        draft = draft_matching(proposals, FEATURES, grid, bank, self)
        first, second = ((image for side in (images.train, images.calibration) for image in side) for _ in range(2))
        outputs = read_outputs(network, lite_batches(images, run.device)())
        if masks is not None:
            logits = masks.logits(first)
            outputs = (one | {COMPONENTS: classes} for one, classes in zip(outputs, logits, strict=True))
        seen = [look(np.ascontiguousarray(image), one, draft) for image, one in zip(second, outputs, strict=True)]
        cells = (height // STRIDE, width // STRIDE)
        score = ScoreSpec(top=max(1, round(self.top * cells[0] * cells[1])))
        if remembered is None:
            fusion = FusionSpec(maps=(), height=cells[0], width=cells[1], score=score, matching=draft)
            left_out: dict[str, NDArray[np.float32]] = {}
        else:
            fusion = msgspec.structs.replace(remembered.fusion(*cells, score), matching=draft)
            left_out = dict(remembered.out_of_fold)
        maps = ({name: values[index] for name, values in left_out.items()} for index in range(len(seen)))
        return fit_objects(seen, maps, fusion, self.bank, run.seed)


@torch.no_grad()
def find_ground(trunk: EfficientNetLite, levels: Standardized, images: TrainingImages, run: Run) -> Ground:
    """The clusters of the cells of some good images."""
    some = images.train[list(evenly_spaced(range(len(images.train)), LOOKED_AT))]
    batches = [lite_tensor(some[at : at + CHUNK], run.device) for at in range(0, len(some), CHUNK)]
    taps = zip(*(levels(trunk(batch).values()) for batch in batches), strict=True)
    return cluster_cells(combine_taps([torch.cat(tap).cpu() for tap in taps]), run.seed)
