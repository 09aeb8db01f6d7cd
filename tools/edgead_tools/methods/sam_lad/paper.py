"""SAM-LAD as published: DINOv2's features, FeatUp, masks of SAM, and the two nearest good pictures.

Source: Peng et al., "SAM-LAD: Segment Anything Model meets zero-shot logic anomaly detection", Knowledge-Based Systems
2025, arXiv 2406.00625. No code was published, and the text leaves constants open; `docs/decisions/sam-lad.md` has each
choice. Masks are found on a workstation (`edgead eval`): no device runs SAM. What differs from the text:

- The variant of SAM is not named there; here it is MobileSAM, or `masks=sam-vit-h`.
- Features of good pictures are kept, compared and measured on a grid of `bank_cells` cells, since one picture's at
  128 x 128 take 12.6 MB; `--set bank_cells=128` is as published.
- Descriptors, matching, what counts and limits of area are those of the edge form: the printed formula is degenerate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgead.bundle import FusionSpec, InputSpec, ProposalSpec, ScoreSpec
from edgead.errors import UsageError
from edgead.ops.everything import Finder
from edgead_calibration.object_proposals import PackedMask
from edgead_calibration.objects import FittedObjects, fit_objects
from edgead_tools.backbones.dinov2 import WIDTH, DinoV2, load_dinov2
from edgead_tools.backbones.featup import FeatUp, load_featup
from edgead_tools.backbones.resnet import OFFSET, SCALE, tensor_from
from edgead_tools.backbones.sam import SamName
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.components.lent_sam import sam_lender
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.presets import PaperPreset
from edgead_tools.methods.sam_lad.options import MatchingOptions, draft_matching
from edgead_tools.training.report import training_report
from edgead_tools.training.run import Run
from edgead_tools.training.session import session

FEATURES = "features"  # the graph's output
BACKBONE, UPSAMPLER = "dinov2-vits14", "featup-dinov2"
CELL = 2  # pixels a cell of the fused map
SIGMA = 4.0  # pixels at 224, of the map's smoothing
SIDE = 224
Upsampler = Callable[[int, tuple[int, int], tuple[int, int], int], FeatUp]
STAGES = {1: 0, 2: 1, 4: 2, 8: 3}  # of the upsampler, by what it multiplies a side with


@dataclass(frozen=True, slots=True)
class SamLadPaper(MatchingOptions, PaperPreset):
    """The published form's hyper-parameters."""

    name: ClassVar[str] = "sam_lad"
    size: ClassVar[int] = SIDE
    memory_size: ClassVar[int] = 0
    memory: ClassVar[int] = 1  # whatever it remembers needs no training

    neighbors: int = 2
    measure: Literal["aligned", "literal"] = "literal"
    upsample: Literal[1, 2, 4, 8] = 8
    masks: SamName = "mobile-sam"
    bank_cells: int = 32  # a side of the grid on which good pictures' features are kept
    points: int = 32  # a side of the grid of points that SAM is asked at
    rated: float = 0.88  # the least IoU that SAM thinks a mask has
    stable: float = 0.95  # the least stability of a mask
    sam_side: int = 1024  # pixels of SAM's input

    def __post_init__(self) -> None:
        MatchingOptions.__post_init__(self)  # slots: the class that super() knows is another
        if not 1 <= self.bank_cells <= 256:
            raise UsageError(f"bank_cells is a number of cells in 1..256, not {self.bank_cells}")
        try:
            self.proposals()
        except ValueError as error:  # points or sam_side
            raise UsageError(str(error)) from error

    @property
    def weights(self) -> tuple[str, ...]:
        """The backbone's, the upsampler's and SAM's."""
        return BACKBONE, UPSAMPLER, self.masks

    def proposals(self) -> ProposalSpec:
        """Where masks come from; what is fitted is a stand-in."""
        return ProposalSpec(
            source=self.masks, count=1, smallest=self.smallest, largest=self.largest or 1.0, points=self.points,
            rated=self.rated, stable=self.stable, side=self.sam_side,
        )  # fmt: skip

    def train(self, images: TrainingImages, run: Run) -> Trained:
        start = time.monotonic()
        sources = [find(name, run.weights) for name in self.weights]
        states = [load_state(source) for source in sources[:2]]
        with session(run.device, run.threads):
            network = PublishedFeatures(
                load_dinov2(states[0], images.size), lambda *shape: load_featup(states[1], *shape), self.upsample
            )
            network.to(run.device).eval()
            fitted = self._fit(network, images, run)
        report = training_report([], sources) | {"seconds": round(time.monotonic() - start, 1)}
        report |= {"matching": fitted.report, "findings": fitted.findings}
        return Trained(
            network=network.cpu(),
            input=input_spec(images.size),
            fusion=fitted.fusion,
            members=fitted.members,
            good=(fitted.scores, fitted.maxima),
            report=report,
        )

    def _fit(self, network: PublishedFeatures, images: TrainingImages, run: Run) -> FittedObjects:
        draft = draft_matching(self.proposals(), (FEATURES,), network.grid, (self.bank_cells, self.bank_cells), self)
        cells = (images.size[0] // CELL, images.size[1] // CELL)
        sigma = SIGMA / CELL * images.size[0] / SIDE
        fusion = FusionSpec(
            maps=(), height=cells[0], width=cells[1], score=ScoreSpec(top=1),
            matching=msgspec.structs.replace(draft, sigma=sigma),
        )  # fmt: skip
        finder = sam_lender(run.weights, run.device)(draft.proposals)
        pictures = [image for side in (images.train, images.calibration) for image in side]
        seen = [GoodPicture(image, finder, network, run.device) for image in pictures]
        for done, one in enumerate(seen, start=1):
            _ = one.masks  # found once: the slowest step
            run.on_progress(done, len(seen))
        return fit_objects(seen, ({} for _ in seen), fusion, self.bank, run.seed)


class PublishedFeatures(nn.Module):
    """The exported graph: an image (B, 3, H, W) -> `features` (B, 384, h, w), upsampled."""

    def __init__(self, trunk: DinoV2, load: Upsampler, factor: int) -> None:
        super().__init__()
        self.trunk, self.factor = trunk, factor
        self.upsampler: FeatUp = load(WIDTH, trunk.grid, trunk.stretched, STAGES[factor])

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the features."""
        return self.trunk.grid[0] * self.factor, self.trunk.grid[1] * self.factor

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        image = self.trunk.stretch(image)
        return {FEATURES: self.upsampler(self.trunk(image), image)}


class GoodPicture:
    """One good picture: its masks are found once and kept packed, its features computed when they are asked for."""

    def __init__(self, image: NDArray[np.uint8], finder: Finder, network: PublishedFeatures, device: str) -> None:
        self._image, self._finder, self._network, self._device = image, finder, network, device

    @cached_property
    def masks(self) -> list[PackedMask]:
        return [PackedMask.of(mask) for mask in self._finder(np.ascontiguousarray(self._image))]

    @property
    def levels(self) -> Sequence[NDArray[np.float32]]:
        tensor = tensor_from(torch.from_numpy(np.array(self._image)[None])).to(self._device)
        with torch.no_grad():
            found = self._network(tensor)[FEATURES][0]
        return (found.float().cpu().numpy(),)


def input_spec(size: tuple[int, int]) -> InputSpec:
    """How the backbone takes its images."""
    scale, offset = (SCALE[2], SCALE[1], SCALE[0]), (OFFSET[2], OFFSET[1], OFFSET[0])
    return InputSpec(height=size[0], width=size[1], scale=scale, offset=offset)
