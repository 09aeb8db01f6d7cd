"""Implements the part of SAM that is prompted with points and gives masks, beside the transformer of `sam_decoder`.

Source: Segment Anything (arXiv 2304.02643, section 3 and appendix A; Apache-2.0). A point inside what is sought is the
code of its place plus a learned vector; where no box is given another learned vector stands in for it. Of the four
masks that are made the first is for several prompts at once; one point, which may mean a part or the whole, has the
other three.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.neck import EMBEDDING, EPSILON, LayerNorm2d
from edgead_tools.backbones.sam_decoder import NARROW, TOKENS, Attention

WIDE, FINE = 64, 32  # channels at twice and at four times the embedding's resolution
LAYERS = 3  # of each perceptron


class PointMasks(nn.Module):
    """Points to tokens, and what the transformer makes of them to masks and ratings."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Parameter(torch.randn(1, EMBEDDING))
        self.no_point = nn.Parameter(torch.randn(1, EMBEDDING))
        self.final_attention = Attention(NARROW)
        self.final_norm = nn.LayerNorm(EMBEDDING)
        self.enlarge = nn.Sequential(
            nn.ConvTranspose2d(EMBEDDING, WIDE, 2, 2),
            LayerNorm2d(WIDE, EPSILON),
            nn.GELU(),
            nn.ConvTranspose2d(WIDE, FINE, 2, 2),
            nn.GELU(),
        )
        self.filters = nn.ModuleList(Perceptron(FINE) for _ in range(TOKENS))
        self.rating = Perceptron(TOKENS)

    def add_points(self, codes: Tensor, places: Tensor) -> Tensor:
        """The decoder's codes (1, T, 256) with those of one point each, (P, T + 2, 256), from its place's (P, 256)."""
        prompts = torch.stack([places + self.point, self.no_point.expand_as(places)], 1)
        return torch.cat([codes.expand(len(places), -1, -1), prompts], 1)

    def forward(self, tokens: Tensor, image: Tensor, codes: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (P, 3, 4h, 4w) and ratings (P, 3) from what tokens (P, T, 256) and image (P, 256, h, w) ended as."""
        rows = image.flatten(2).transpose(1, 2)
        tokens = self.final_norm(tokens + self.final_attention(tokens + codes, rows + positions, rows))
        planes = self.enlarge(image)
        filters = torch.stack([self.filters[k](tokens[:, 1 + k]) for k in range(1, TOKENS)], 1)
        logits = (filters @ planes.flatten(2)).unflatten(2, planes.shape[2:])
        return logits, self.rating(tokens[:, 0])[:, 1:]


class Perceptron(nn.ModuleList):
    """Three linear layers with ReLU between, 256 channels to `outputs`."""

    def __init__(self, outputs: int) -> None:
        widths = (*(EMBEDDING for _ in range(LAYERS)), outputs)
        super().__init__(nn.Linear(inputs, width) for inputs, width in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in list(self)[:-1]:
            x = functional.relu(layer(x))
        y: Tensor = self[-1](x)
        return y
