"""Implements FeatUp's joint bilateral upsampler: features doubled in size, guided by the picture (SAM-LAD 4.1).

Source: FeatUp (Fu et al., arXiv 2403.10516; MIT). Every doubled cell is a mean of 7 x 7 interpolated neighbors,
weighted by how alike the picture is there (a learned projection), by distance, and by a learned correction. Taps are
shifted products and sums: unfolding them would take 49 times the memory. The published stack has four stages; of fewer
the last ones are left out, and its last convolution follows all the same. Without any, features stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.keymap import load_published

STAGES = 4  # published
RADIUS = 3
SIDE = 2 * RADIUS + 1
KEY = 32  # channels that pictures are compared in
CORRECTED = 0.1  # weight of what is learned beside the filter, of each stage and at the end
COLDEST, HOTTEST = 1e-4, 1e4  # limits of the softmax's inverse temperature
EPSILON = 1e-5  # of the norm

_STAGE = r"upsampler\.up(\d)"
KEYS = (
    (rf"{_STAGE}\.range_temp", r"stages.\1.temperature"),
    (rf"{_STAGE}\.sigma_spatial", r"stages.\1.sigma"),
    (rf"{_STAGE}\.range_proj\.0\.(weight|bias)", r"stages.\1.key_in.\2"),
    (rf"{_STAGE}\.range_proj\.3\.(weight|bias)", r"stages.\1.key_out.\2"),
    (rf"{_STAGE}\.fixup_proj\.0\.(weight|bias)", r"stages.\1.fix_in.\2"),
    (rf"{_STAGE}\.fixup_proj\.3\.(weight|bias)", r"stages.\1.fix_out.\2"),
    (r"upsampler\.fixup_proj\.1\.(weight|bias)", r"last.\1"),
    (r"(scale_net|downsampler|model)\.(.*)", r"unused.\1.\2"),
)


class Stage(nn.Module):
    """Features (B, C, h, w) and the picture (B, 3, 2h, 2w) -> features (B, C, 2h, 2w)."""

    def __init__(self) -> None:
        super().__init__()
        taps = SIDE * SIDE
        self.temperature = nn.Parameter(torch.zeros(()))
        self.sigma = nn.Parameter(torch.ones(()))
        self.key_in, self.key_out = nn.Conv2d(3, KEY, 1), nn.Conv2d(KEY, KEY, 1)
        self.fix_in, self.fix_out = nn.Conv2d(3 + taps, taps, 1), nn.Conv2d(taps, taps, 1)

    def weights(self, guide: Tensor) -> Tensor:
        """The weight of each of the 49 taps, row by row, (B, 49, H, W)."""
        key = self.key_out(functional.gelu(self.key_in(guide)))
        alike = torch.stack([(tap * key).sum(1) for tap in _taps(key)], 1)
        sharpness = self.temperature.exp().clamp(COLDEST, HOTTEST)
        kernel = torch.softmax(sharpness * alike, 1) * self._near()
        kernel = kernel / kernel.sum(1, keepdim=True).clamp_min(1e-7)
        fixed: Tensor = self.fix_out(functional.gelu(self.fix_in(torch.cat([kernel, guide], 1))))
        return kernel + CORRECTED * fixed

    def _near(self) -> Tensor:
        line = torch.linspace(-1, 1, SIDE, device=self.sigma.device)
        squares = (line[:, None] ** 2 + line[None, :] ** 2).reshape(1, SIDE * SIDE, 1, 1)
        return torch.exp(-squares / (2 * self.sigma**2))

    def forward(self, source: Tensor, guide: Tensor) -> Tensor:
        weights = self.weights(guide)
        large = functional.interpolate(source, guide.shape[2:], mode="bicubic", align_corners=False)
        found = torch.zeros_like(large)
        for index, tap in enumerate(_taps(large)):
            found = found + weights[:, index : index + 1] * tap
        return found


class FeatUp(nn.Module):
    """Features (B, C, h, w) of a picture (B, 3, H, W) -> (B, C, h * 2^stages, w * 2^stages)."""

    def __init__(self, channels: int, grid: tuple[int, int], picture: tuple[int, int], stages: int = 3) -> None:
        """`grid` is h and w, `picture` H and W."""
        super().__init__()
        self.channels = channels
        self.stages = nn.ModuleDict({str(number): Stage() for number in range(1, stages + 1)})
        self.last = nn.Conv2d(channels, channels, 1)
        for number in range(1, stages + 1):
            for axis in (0, 1):
                rows = torch.from_numpy(pooling(picture[axis], grid[axis] << number))
                self.register_buffer(f"pool{number}_{axis}", rows, persistent=False)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        if not len(self.stages):
            return features
        rows = features.permute(0, 2, 3, 1)
        found = functional.layer_norm(rows, (self.channels,), eps=EPSILON).permute(0, 3, 1, 2)
        for number, stage in self.stages.items():
            down, across = (self.get_buffer(f"pool{number}_{axis}") for axis in (0, 1))
            found = stage(found, down @ image @ across.T)
        corrected: Tensor = found + CORRECTED * self.last(found)
        return corrected


def pooling(before: int, after: int) -> NDArray[np.float32]:
    """The matrix (after, before) of adaptive average pooling, which no export knows where `after` divides nothing."""
    matrix = np.zeros((after, before), np.float32)
    for index in range(after):
        start, end = index * before // after, -(-(index + 1) * before // after)
        matrix[index, start:end] = 1 / (end - start)
    return matrix


def _taps(values: Tensor) -> list[Tensor]:
    """The values (B, C, H, W) shifted by each of the 49 offsets, row by row; beyond the edge they are mirrored."""
    height, width = values.shape[2:]
    padded = functional.pad(values, (RADIUS,) * 4, mode="reflect")
    return [padded[:, :, y : y + height, x : x + width] for y in range(SIDE) for x in range(SIDE)]


def load_featup(
    state: Mapping[str, Tensor], channels: int, grid: tuple[int, int], picture: tuple[int, int], stages: int
) -> FeatUp:
    """The upsampler in eval mode from its checkpoint's tensors; raises WeightsError."""
    network = FeatUp(channels, grid, picture, stages)
    left = "|".join(str(number) for number in range(stages + 1, STAGES + 1)) or "0"
    unused = rf"unused\..*|stages\.({left})\..*"
    load_published(network, state, KEYS, unused=unused, source="the published FeatUp of DINOv2")
    return network.eval()
