"""Implements the neck of SAM's image encoders: from the trunk's channels to 256 of the embedding (STLM 3, row 5)."""

from __future__ import annotations

from torch import Tensor, nn

EMBEDDING = 256  # channels
EPSILON = 1e-6


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (B, C, H, W) at every pixel; one node of the exported graph."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def neck(channels: int) -> nn.Sequential:
    """(B, channels, h, w) -> (B, EMBEDDING, h, w)."""
    return nn.Sequential(
        nn.Conv2d(channels, EMBEDDING, 1, bias=False),
        LayerNorm2d(EMBEDDING, EPSILON),
        nn.Conv2d(EMBEDDING, EMBEDDING, 3, padding=1, bias=False),
        LayerNorm2d(EMBEDDING, EPSILON),
    )
