"""AST-MFR's edge form: the teacher's standardised features, and the graph that is exported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from edgead_tools.nets.efficientnet_lite import EfficientNetLite
from edgead_tools.nets.feature_regeneration import StudentTeacher
from edgead_tools.nets.residual_map import ResidualMap, fit_residual_maps
from edgead_tools.nets.standardised import standardise

Batches = Callable[[], Iterable[Tensor]]  # normalised RGB images (B, 3, H, W), the same at every call


class StandardisedTaps(nn.Module):
    """A frozen trunk whose taps have mean 0 and deviation 1 in every channel over good images.

    Lite0's block outputs are linear: without it a few channels of large variance would be the direction.
    """

    def __init__(self, trunk: EfficientNetLite, images: Batches) -> None:
        super().__init__()
        self.trunk = trunk.requires_grad_(False)
        self.channels = [trunk.channels[tap] for tap in trunk.taps]
        self.standard, _ = standardise(lambda: (tuple(trunk(batch).values()) for batch in images()))

    def forward(self, image: Tensor) -> list[Tensor]:
        """The taps (B, C, h, w) in the order of their blocks."""
        taps: list[Tensor] = self.standard(self.trunk(image).values())
        return taps


class JudgedDifferences(nn.Module):
    """The exported graph: an image (B, 3, H, W) -> maps (B, h, w), `stage1` and so on."""

    def __init__(self, pair: StudentTeacher, maps: Sequence[ResidualMap]) -> None:
        super().__init__()
        self.pair, self.maps = pair, nn.ModuleList(maps)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        stages = zip(self.maps, self.pair.differences(image), strict=True)
        return {f"stage{n}": judge(difference) for n, (judge, difference) in enumerate(stages, 1)}


@torch.no_grad()
def judge_differences(pair: StudentTeacher, good: Batches) -> JudgedDifferences:
    """The graph with the statistics of every stage's difference over good images."""
    return JudgedDifferences(pair, fit_residual_maps(lambda: (pair.differences(batch) for batch in good())))
