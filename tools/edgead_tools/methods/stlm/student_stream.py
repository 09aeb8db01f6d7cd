"""The plain stream of the edge forms where the teacher is not the trunk: its features, guessed from the trunk's taps.

Small on purpose: the trunk has seen as much as the teacher has, only its words differ. Convolutions, batch norm and
ReLU6 only, so that it quantizes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.layers.denoising import Residual, conv
from edgead_tools.layers.standardized import Pair


class PlainStream(nn.Module):
    """Standardized taps at 1/8 and 1/16 in, the teacher's standardized features on the same grids out."""

    def __init__(self, taps: Sequence[int], targets: Sequence[int], *, width: int = 128) -> None:
        """`taps` and `targets` are channel counts, fine first."""
        super().__init__()
        half = width // 2
        self.coarse = nn.Sequential(conv(taps[1], width), Residual(width), Residual(width))
        self.to_coarse = nn.Conv2d(width, targets[1], 1)
        self.narrow = conv(width, half)
        self.fine = nn.Sequential(conv(taps[0] + half, half), Residual(half), Residual(half))
        self.to_fine = nn.Conv2d(half, targets[0], 1)

    def forward(self, fine: Tensor, coarse: Tensor) -> Pair:
        x = self.coarse(coarse)
        context = functional.interpolate(self.narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)
        y = self.fine(torch.cat([fine, context], 1))
        return self.to_fine(y), self.to_coarse(x)
