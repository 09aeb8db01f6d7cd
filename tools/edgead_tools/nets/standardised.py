"""Features of two levels with every channel's mean and deviation over good images taken out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from edgead_tools.nets.moments import moments

Pair = tuple[Tensor, Tensor]  # (B, C, H/8, W/8) and (B, C, H/16, W/16) of an image (B, 3, H, W)


class Standardised(nn.Module):
    """Features of good images come out with mean 0 and deviation 1 in every channel."""

    def __init__(self, centers: Pair, spreads: Pair) -> None:
        """Both are (1, C, 1, 1) for each level."""
        super().__init__()
        for level, (center, spread) in enumerate(zip(centers, spreads, strict=True)):
            self.register_buffer(f"center{level}", center)
            self.register_buffer(f"spread{level}", spread)

    def forward(self, fine: Tensor, coarse: Tensor) -> Pair:
        return (
            (fine - self.get_buffer("center0")) / self.get_buffer("spread0"),
            (coarse - self.get_buffer("center1")) / self.get_buffer("spread1"),
        )


@torch.no_grad()
def standardise(features: Callable[[], Iterable[Pair]]) -> tuple[Standardised, list[Tensor]]:
    """The standardisation of good images' features, and the standardised mean at every cell, (1, C, h, w) a level."""
    centers, spreads, means = [], [], []
    for _, mean, squares in moments(features()):
        center = mean.mean((1, 2), keepdim=True)
        spread = (squares.mean((1, 2), keepdim=True) - center**2).clamp(min=1e-12).sqrt()
        centers.append(center[None].float())
        spreads.append(spread[None].float())
        means.append(((mean - center) / spread)[None].float())
    return Standardised((centers[0], centers[1]), (spreads[0], spreads[1])), means
