"""The exported graph of the edge form: features of objects, and which cluster of features every cell belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.layers.standardized import Standardized, standardize
from edgead_tools.methods.memory import GoodMemory, memory_taps

FEATURES = ("fine", "coarse")  # the outputs (B, C, h, w) at 1/8 and 1/16


class GroundClusters(nn.Module):
    """Standardized taps, the first the finest -> how near every cell is to each cluster, (B, K, H/4, W/4).

    |f - c|^2 is smallest where 2 f c - |c|^2 is largest, and f is linear in the taps: each is brought to unit weight
    and to the grid of the first, and smoothed. So each tap has a 1x1 convolution before it is enlarged.
    """

    def __init__(self, channels: Iterable[int], centers: Tensor) -> None:
        """`centers` (K, C) are of features in which every tap is divided by the root of its channels."""
        super().__init__()
        parts = torch.split(centers, list(channels), dim=1)
        self.weights = nn.ParameterList(
            nn.Parameter(2 * part / part.shape[1] ** 0.5, requires_grad=False) for part in parts
        )
        self.bias = nn.Parameter(-(centers**2).sum(1), requires_grad=False)

    def forward(self, taps: list[Tensor]) -> Tensor:
        grid = taps[0].shape[2:]
        near = self.bias[None, :, None, None]
        for weight, tap in zip(self.weights, taps, strict=True):
            part = functional.conv2d(tap, weight[:, :, None, None])
            near = near + functional.interpolate(part, grid, mode="bilinear", align_corners=False)
        return functional.avg_pool2d(near, 3, 1, 1, count_include_pad=False)


class ObjectFeatures(nn.Module):
    """An image (B, 3, H, W) -> `fine` and `coarse` features, `components`, and the maps of a memory where it has one.

    `components` are left out where other masks are taken.
    """

    def __init__(
        self, trunk: EfficientNetLite, levels: Standardized, ground: GroundClusters | None, memory: GoodMemory | None
    ) -> None:
        """`trunk` has taps at 1/4, 1/8 and 1/16, which `levels` standardizes."""
        super().__init__()
        self.trunk, self.ground, self.memory = trunk, ground, memory
        for level in range(len(trunk.taps)):  # a product and a sum: a difference and a quotient are a distance's
            center, spread = levels.get_buffer(f"center{level}"), levels.get_buffer(f"spread{level}")
            self.register_buffer(f"scale{level}", 1 / spread)
            self.register_buffer(f"shift{level}", -center / spread)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        taps = self.trunk(image)
        found = [
            tap * self.get_buffer(f"scale{level}") + self.get_buffer(f"shift{level}")
            for level, tap in enumerate(taps.values())
        ]
        outputs = dict(zip(FEATURES, found[-2:], strict=True))
        if self.ground is not None:
            outputs["components"] = self.ground(found)
        if self.memory is not None:
            outputs |= self.memory(*memory_taps(taps))
        return outputs


def standardize_taps(trunk: EfficientNetLite, batches: Callable[[], Iterable[Tensor]]) -> Standardized:
    """The standardization of the trunk's taps over good images."""
    with torch.no_grad():
        levels, _ = standardize(lambda: (list(trunk(batch).values()) for batch in batches()))
    return levels


@torch.no_grad()
def read_outputs(
    network: Callable[[Tensor], Mapping[str, Tensor]], batches: Iterable[Tensor]
) -> Iterable[dict[str, NDArray[np.float32]]]:
    """What the network gives of every image, without a batch, one image after the other."""
    for batch in batches:
        outputs = {name: tensor.float().cpu().numpy() for name, tensor in network(batch).items()}
        for index in range(len(batch)):
            yield {name: array[index] for name, array in outputs.items()}
