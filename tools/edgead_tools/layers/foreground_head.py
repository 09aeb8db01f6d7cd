"""A head that says where each picture shows the part, and weighs maps by it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH = 32  # channels of the head


class ForegroundHead(nn.Module):
    """The standardized tap at 1/8, (B, C, h, w) -> how much each cell is the part's, (B, h, w) in 0..1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, WIDTH, 3, padding=1)
        self.second = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def logits(self, tap: Tensor) -> Tensor:
        """(B, h, w)."""
        found: Tensor = self.second(functional.relu(self.first(tap)))
        return found[:, 0]

    def forward(self, tap: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(tap))


def weigh(maps: Mapping[str, Tensor], foreground: Tensor) -> dict[str, Tensor]:
    """Maps at 1/8 and 1/16, (B, h, w) and (B, h / 2, w / 2), each cell as much as it is `foreground` (B, h, w); what is
    not comes out as 0, which is usual."""
    coarse = functional.max_pool2d(foreground[:, None], 2)[:, 0]
    return {name: one * (foreground if one.shape == foreground.shape else coarse) for name, one in maps.items()}
