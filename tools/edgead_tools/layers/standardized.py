"""Standardizes features: every channel's mean and deviation over good images taken out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from edgead_tools.layers.moments import moments

Pair = tuple[Tensor, Tensor]  # (B, C, H/8, W/8) and (B, C, H/16, W/16) of an image (B, 3, H, W)


class Standardized(nn.Module):
    """Features of good images come out with mean 0 and deviation 1 in every channel, level by level."""

    def __init__(self, centers: Sequence[Tensor], spreads: Sequence[Tensor]) -> None:
        """Both are (1, C, 1, 1) for each level."""
        super().__init__()
        for level, (center, spread) in enumerate(zip(centers, spreads, strict=True)):
            self.register_buffer(f"center{level}", center)
            self.register_buffer(f"spread{level}", spread)

    def forward(self, features: Iterable[Tensor]) -> list[Tensor]:
        """(B, C, h, w) of every level; gives the same shapes."""
        return [
            (one - self.get_buffer(f"center{level}")) / self.get_buffer(f"spread{level}")
            for level, one in enumerate(features)
        ]


@torch.no_grad()
def standardize(features: Callable[[], Iterable[Sequence[Tensor]]]) -> tuple[Standardized, list[Tensor]]:
    """The standardization of good images' features, and the standardized mean at every cell, (1, C, h, w) a level."""
    centers, spreads, means = [], [], []
    for _, mean, squares in moments(features()):
        center = mean.mean((1, 2), keepdim=True)
        spread = (squares.mean((1, 2), keepdim=True) - center**2).clamp(min=1e-12).sqrt()
        centers.append(center[None].float())
        spreads.append(spread[None].float())
        means.append(((mean - center) / spread)[None].float())
    return Standardized(centers, spreads), means
