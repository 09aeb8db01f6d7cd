"""AST-MFR's edge form: teacher and student on one frozen trunk, and the graph that is exported."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.layers.foreground_head import ForegroundHead, weigh
from edgead_tools.layers.residual_map import ResidualMap, fit_residual_maps_in_folds, stack_levels
from edgead_tools.layers.standardized import Pair, standardize
from edgead_tools.methods.ast_mfr.feature_regeneration import (
    BEFORE_SQUARES,
    LEAST,
    Regeneration,
    cosine_distance,
    direction,
)
from edgead_tools.methods.ast_mfr.student import PlainResNet
from edgead_tools.methods.memory import Students

SOFTNESS = 4.0  # mean square at which a vector is as much a direction as a length; 1 is usual

Batches = Callable[[], Iterable[Tensor]]  # normalized RGB images (B, 3, H, W), the same at every call


class StandardizedTaps(nn.Module):
    """A frozen trunk whose taps have mean 0 and deviation 1 in every channel over good images.

    Lite0's block outputs are linear: without it a few channels of large variance would be the direction.
    """

    def __init__(self, trunk: EfficientNetLite, images: Batches) -> None:
        super().__init__()
        self.trunk = trunk.requires_grad_(False)
        self.channels = [trunk.channels[tap] for tap in trunk.taps]
        self.standard, _ = standardize(lambda: (tuple(trunk(batch).values()) for batch in images()))

    def forward(self, image: Tensor) -> list[Tensor]:
        """The taps (B, C, h, w) in the order of their blocks."""
        taps: list[Tensor] = self.standard(self.trunk(image).values())
        return taps


class RegeneratedTaps(nn.Module):
    """The tap at 1/4 is what the student starts from, those at 1/8 and 1/16 are the teacher's."""

    def __init__(self, taps: StandardizedTaps, width: int, mask_rate: float, softness: float = SOFTNESS) -> None:
        """`width` is the student's number of channels at 1/8; it has twice as many at 1/16."""
        super().__init__()
        first, *taught = taps.channels
        self.taps, self.softness = taps.eval(), softness
        self.student = PlainResNet(first, width, len(taught))
        pairs = zip(self.student.channels, taught, strict=True)
        self.regenerations = nn.ModuleList(Regeneration(*pair, mask_rate) for pair in pairs)

    def levels(self, image: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The regenerated and the teacher's features of both levels, (B, C, h, w) each, fine first."""
        return self._levels(self.taps(image))

    def _levels(self, taps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        first, *targets = taps
        stages = zip(self.regenerations, self.student(first), targets, strict=True)
        return [(regenerate(features), target) for regenerate, features, target in stages]

    def losses(self, image: Tensor) -> dict[str, Tensor]:
        """L_cos of the directions and L_L2 of the softened features, by level."""
        losses = {}
        for name, (found, target) in zip(("fine", "coarse"), self.levels(image), strict=True):
            losses[f"{name}_cos"] = cosine_distance(direction(found) - direction(target)).mean()
            losses[f"{name}_l2"] = functional.mse_loss(self._soften(found), self._soften(target))
        return losses

    def differences(self, image: Tensor) -> Pair:
        """Of the softened features: both levels stacked at 1/8, and the one at 1/16."""
        return self.compare(self.taps(image))

    def compare(self, taps: Sequence[Tensor]) -> Pair:
        """`differences` of an image's standardized taps."""
        fine, coarse = (self._soften(found) - self._soften(target) for found, target in self._levels(taps))
        return stack_levels(fine, coarse), coarse

    def _soften(self, features: Tensor) -> Tensor:
        return soften(features, self.softness)


def soften(features: Tensor, softness: float = SOFTNESS) -> Tensor:
    """Vectors of the channels with long ones shortened: x sqrt((1 + k) / (|x|^2 / C + k)), k being the softness.

    A direction forgets how long the vector was, and makes noise of one that was short; a length lets a few strong
    cells drown the rest. This lies between: k = 0 is the direction, large k the features themselves.
    """
    scaled = features * BEFORE_SQUARES
    mean_square = (scaled * scaled).mean(1, keepdim=True)
    stretch = math.sqrt(1 + softness) * BEFORE_SQUARES
    return features * (stretch * torch.rsqrt(mean_square + max(softness * BEFORE_SQUARES**2, LEAST)))


class FeatureDifferences(Students):
    """The exported graph: an image (B, 3, H, W) -> maps `stacked` (B, H/8, W/8) and `coarse` (B, H/16, W/16); with a
    memory its maps too."""

    def __init__(self, pair: RegeneratedTaps, stacked: ResidualMap, coarse: ResidualMap) -> None:
        super().__init__()
        self.pair, self.stacked, self.coarse = pair, stacked, coarse
        self.foreground: ForegroundHead | None = None  # where given, maps count where it finds the part

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        taps = self.pair.taps.trunk(image)
        standard = self.pair.taps.standard(taps.values())
        stacked, coarse = self.pair.compare(standard)
        maps = {"stacked": self.stacked(stacked), "coarse": self.coarse(coarse)}
        if self.foreground is not None:
            maps = weigh(maps, self.foreground(standard[1]))
        return {**maps, **self.remembered(taps)}

    @torch.no_grad()
    def weighed(self, maps: Mapping[str, NDArray[np.float32]], good: Batches) -> dict[str, NDArray[np.float32]]:
        """The maps (N, h, w) of the good images by name, as `forward` weighs them."""
        if self.foreground is None:
            return dict(maps)
        shown = torch.cat([self.foreground(self.pair.taps(batch)[1]).float().cpu() for batch in good()])
        weighed = weigh({name: torch.from_numpy(one) for name, one in maps.items()}, shown)
        return {name: one.numpy() for name, one in weighed.items()}


@torch.no_grad()
def judge_differences(
    pair: RegeneratedTaps, good: Batches, folds: NDArray[np.intp]
) -> tuple[FeatureDifferences, dict[str, NDArray[np.float32]]]:
    """The graph with the statistics of both differences over good images, and these images' maps out of fold."""
    (stacked, coarse), found = fit_residual_maps_in_folds(lambda: (pair.differences(batch) for batch in good()), folds)
    return FeatureDifferences(pair, stacked, coarse), dict(zip(("stacked", "coarse"), found, strict=True))
