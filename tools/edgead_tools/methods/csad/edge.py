"""CSAD for the edge: components on EfficientNet-Lite0, and STLM's streams on the same trunk.

Against the published model (BMVC 2024; `docs/decisions/csad.md` has what each is worth):

- Trunk, segmentation head and streams share one EfficientNet-Lite0 and learn in minutes.
- Components are found without a foundation model (`edgead_tools.components`) unless `masks` names one, or drawn by
  hand. Where good parts have no components in common that can be found, the picture is divided by looks instead
  (`methods.csad.looks`), and the build says so.
- The structural branch is that of STLM's edge form (`methods.stlm.edge`), a denoising stream against the trunk, and a
  memory of good patches (`methods.memory`), in place of a local and a global student.
- The covariance of histograms is shrunk (`edgead_calibration.components`), since good parts are few.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from edgead.errors import DataError, UsageError
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.components import ComponentLabels, MaskSource
from edgead_tools.components.classes import SMALLEST
from edgead_tools.layers.standardized import Pair, Standardized, standardize
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.csad.component_head import ComponentHead
from edgead_tools.methods.csad.looks import LOOKS, fit_looks, looks_names
from edgead_tools.methods.csad.shared import (
    LabeledImages,
    Segmentation,
    check_grids,
    csad_report,
    fit_branches,
    label,
    teach_segmentation,
    weights_of,
)
from edgead_tools.methods.csad.weight import weigh
from edgead_tools.methods.joined import add_memory
from edgead_tools.methods.lite import Batches, lite0_trunk, lite_batches, lite_tensor
from edgead_tools.methods.memory import Students, input_spec, without_students
from edgead_tools.methods.presets import EdgePreset
from edgead_tools.methods.stlm.edge import StlmEdge
from edgead_tools.methods.stlm.two_streams import Disagreement
from edgead_tools.training.loop import TrainReport
from edgead_tools.training.report import training_report
from edgead_tools.training.run import Run
from edgead_tools.training.session import session

CELL = 2  # pixels a cell of the labels
# Standard errors by which students must find planted anomalies better: beside the network of the components they cost
# little, and the few images that are kept aside would leave them out where they are of help (trays).
CERTAIN = 0.0
CHUNK = 8  # images a forward pass
FAR = 0.5  # of a component's usual area, by which it differs in good images at most, where components are steady
STEADY = 0.5  # share of good images in which all of them must be
USUAL = 0.9  # quantile of good images' compositions up to which all are alike
FEWEST = 4  # good images kept aside, below which nobody knows whether components serve: then up to the strangest one
WIDTHS = (24, 64, 64)  # of the segmentation head
DILATIONS = (6, 12)


@dataclasses.dataclass(frozen=True, slots=True)
class CsadEdge(EdgePreset):
    """The edge form's hyper-parameters."""

    name: ClassVar[str] = "csad"
    segments: ClassVar[bool] = True

    width: int = 128  # channels of the denoising stream
    batch: int = 4  # of the segmentation, labeled and unlabeled images each; the streams have twice as many
    grids: tuple[int, ...] = (1, 2)  # cells a side of each histogram
    masks: MaskSource = "foreground"  # what components are found in
    logical: float = 0.0  # how many times the structural branch the logical one counts; 0 finds it out

    def __post_init__(self) -> None:
        EdgePreset.__post_init__(self)  # slots: the class that super() knows is another
        if self.width < 8 or self.batch < 1:
            raise UsageError("width must be at least 8 and batch at least 1")
        if not 0 <= self.logical <= 100:
            raise UsageError(f"logical is a weight in 0..100, 0 to find it out, not {self.logical}")
        check_grids(self.grids, CELL)

    @property
    def weights(self) -> tuple[str, ...]:
        """The trunk's, and those of the masks."""
        return weights_of("efficientnet-lite0", masks=self.masks)

    @property
    def structural(self) -> StlmEdge:
        """STLM, whose streams are the structural branch."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(EdgePreset)}
        return StlmEdge(**shared, width=self.width, batch=2 * self.batch)

    def train(self, images: TrainingImages, run: Run) -> Trained:
        sources = [find(name, run.weights) for name in self.weights]
        trunk = lite0_trunk(sources[0], run.device)
        if not run.trains:
            return without_students(trunk, images, run, self, sources[0], self.top)
        with session(run.device, run.threads):
            torch.manual_seed(run.seed)
            found = self._find(images, load_state(sources[0]), run)
            first, second = run.split(0.5) if found is not None else (run, None)
            streams, reports, maps, _ = self.structural.teach(trunk, sources[:1], images, first)
            network = ComponentsAndStreams(streams).to(run.device).eval()
            parts = Parts((), "no components were found that good parts have in common")
            if found is not None and second is not None:
                network.parts = ComponentParts(trunk, lite_batches(images, run.device), len(found.names))
                network.parts.to(run.device).eval()
                rest = second(sum(report.steps for report in reports))
                reports.append(self._teach_head(network, network.parts, LabeledImages(images.train, found), rest))
                is_drawn = bool(images.labels or images.masks)  # what a person gave is not passed over
                parts = Parts(found.names, "" if is_drawn else unsteady(network, images, run.device), is_drawn)
            if parts.reason:
                network.parts = fit_looks(
                    lambda: map(streams.streams.taps, lite_batches(images, run.device)()), run.seed
                )
                network.parts.to(run.device).eval()
            fusion = self.structural.fused_streams(maps, images)
            joined = add_memory(network, trunk, fusion, maps, images, run, self, certain=CERTAIN)
            network.gives_streams = any(one.name in maps for one in joined.fusion.maps)
            grid = (images.size[0] // CELL, images.size[1] // CELL)
            branches = fit_branches(
                network, images, lite_tensor, run.device, looks_names() if parts.reason else parts.names,
                joined.fusion, grid, self.grids, left_out=joined.out_of_fold,
                usual=USUAL if parts.is_drawn or len(images.calibration) >= FEWEST else 1.0,
            )  # fmt: skip
            findings = [*joined.report.get("findings", ()), parts.finding(len(images.calibration))]
            weight = self.logical
            if not parts.reason and not weight:
                weighed = weigh(network, images, lite_tensor, run.device, branches, joined.fusion, run.seed)
                findings.append(weighed.finding())
                weight = weighed.weight
            branches = branches.weighted(weight or 1.0)
        report = training_report(reports, sources) if found is None else csad_report(reports, sources, found)
        return Trained(
            network=network.cpu(),
            input=input_spec(images.size),
            fusion=msgspec.structs.replace(joined.fusion, components=branches.spec),
            strange=joined.strange,
            report=report | joined.report | {"findings": findings},
            members=branches.members,
        )

    def _find(self, images: TrainingImages, state: Mapping[str, Tensor], run: Run) -> ComponentLabels | None:
        """The components' label maps; None where good parts have none in common."""
        try:
            return label(images, state, run, self.masks)
        except DataError:
            if images.labels or images.masks:  # what a person gave is not passed over
                raise
            return None

    def _teach_head(
        self, network: ComponentsAndStreams, parts: ComponentParts, labeled: LabeledImages, run: Run
    ) -> TrainReport:
        def logits(batch: Tensor) -> Tensor:
            with torch.no_grad():
                ends = parts.ends(network.trunk(batch))
            found: Tensor = parts.head(*ends)
            return found

        how = Segmentation(rate=self.rate, batch=self.batch, alone=0.4, finer=2)
        return teach_segmentation(parts.head, logits, labeled, lite_tensor, how, run)


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What a picture is divided into."""

    names: tuple[str, ...]  # of the components, the background first
    reason: str  # why they do not serve; empty: they do
    is_drawn: bool = False  # by a person

    def finding(self, aside: int) -> dict[str, str]:
        """What the build says of it."""
        looks = f"the picture is divided into {LOOKS} classes by looks instead"
        kept = f"in most of the {aside} good images kept aside each has about its usual area"
        return {
            "found": "components are not found reliably" if self.reason else f"{len(self.names) - 1} components",
            "figures": "as drawn" if self.is_drawn else self.reason or kept,
            "chosen": looks if self.reason else "their areas and places are the logical branch",
            "overrule": "drawing them in a few images (`edgead components --help`)",
        }


class ComponentParts(nn.Module):
    """What the trunk gives -> logits of components (B, K, H/4, W/4)."""

    def __init__(self, trunk: EfficientNetLite, good: Batches, classes: int) -> None:
        """The taps of `trunk` lie at 1/4, 1/8 and 1/16; `classes` includes the background."""
        super().__init__()
        self.standard: Standardized
        self.standard, _ = standardize(lambda: (_low_and_deep(trunk(batch)) for batch in good()))
        low, _, deep = (trunk.channels[tap] for tap in trunk.taps)
        self.head = ComponentHead((low, deep), classes, widths=WIDTHS, dilations=DILATIONS)

    def ends(self, taps: Mapping[int, Tensor]) -> Pair:
        """The standardized taps at 1/4 and 1/16, which the head reads."""
        low, deep = self.standard(_low_and_deep(taps))
        return low, deep

    def forward(self, taps: Mapping[int, Tensor], standard: Pair) -> Tensor:
        logits: Tensor = self.head(*self.ends(taps))
        return logits


def _low_and_deep(taps: Mapping[int, Tensor]) -> Pair:
    low, _, deep = taps.values()
    return low, deep


class ComponentsAndStreams(Students):
    """The exported graph: an image (B, 3, H, W) -> the streams' maps and `components` (B, K, h, w); with a memory its
    maps too."""

    parts: nn.Module  # gives the logits, from the trunk's taps and those at 1/8 and 1/16 standardized

    def __init__(self, streams: Disagreement) -> None:
        super().__init__()
        self.streams, self.trunk = streams, streams.streams.trunk
        self.gives_streams = True  # or only what a fusion without them names

    def components(self, taps: Mapping[int, Tensor]) -> Tensor:
        logits: Tensor = self.parts(taps, self.streams.streams.standardized(taps))
        return logits

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        taps = self.trunk(image)
        maps = self.streams.maps_of(taps) if self.gives_streams else {}
        return {**maps, "components": self.components(taps), **self.remembered(taps)}


@torch.inference_mode()
def unsteady(network: ComponentsAndStreams, images: TrainingImages, device: str) -> str:
    """Why components do not serve: good images that were kept aside have too different amounts of them; empty where
    they serve."""
    batches = (images.calibration[start : start + CHUNK] for start in range(0, len(images.calibration), CHUNK))
    found = [network.components(network.trunk(lite_tensor(np.array(batch), device))).argmax(1) for batch in batches]
    classes = int(max(int(one.max()) for one in found)) + 1
    labels = torch.cat(found)
    areas = torch.stack([(labels == number).double().mean((1, 2)) for number in range(1, classes)], 1)
    if not areas.numel():
        return "the segmentation finds none of them in good images kept aside"
    usual = areas.median(0).values
    steady = ((areas - usual).abs() <= FAR * usual.clamp(min=SMALLEST)).all(1)
    if float(steady.double().mean()) >= STEADY:
        return ""
    return f"only in {int(steady.sum())} of {len(steady)} good images kept aside each has about its usual area"
