"""STLM's feature aggregation: from the agreement of two streams to a segmentation (STLM 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.neck import EMBEDDING

WIDTH = 128
DILATION = 3
GAIN = -1.0 / EMBEDDING  # from the product of vectors of length sqrt(C) to the published one, of unit vectors, negated


class FeatureAggregation(nn.Module):
    """Products of normalized features (B, C, h, w), as `nets.sam_streams` gives them -> logits (B, h, w)."""

    def __init__(self, channels: int = 2 * EMBEDDING) -> None:
        super().__init__()
        self.residual = nn.Sequential(BasicBlock(channels, WIDTH), BasicBlock(WIDTH, WIDTH))
        self.segment = nn.Sequential(
            Pyramid(),
            _conv(3 * WIDTH, WIDTH, 3),
            nn.ReLU(),
            _conv(WIDTH, WIDTH, 3),
            nn.ReLU(),
            nn.Conv2d(WIDTH, 1, 1),
        )
        self.folded = False
        for module in self.residual.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, products: Tensor) -> Tensor:
        x = products if self.folded else products * GAIN
        logits: Tensor = self.segment(self.residual(x))
        return logits.squeeze(1)

    def fold(self) -> None:
        """Move the gain into the first convolutions' weights. It is a power of two, so the result stays the same to
        the bit, and what the graph computes on is of magnitude 1, which FP16 and INT8 can represent."""
        if not self.folded:
            (first, *_) = self.residual
            with torch.no_grad():
                for conv in (first.get_submodule("conv1.0"), first.get_submodule("shortcut.0")):
                    conv.get_parameter("weight").mul_(GAIN)
            self.folded = True


def _conv(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias that keeps the resolution, batch norm."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """ResNet's: two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, 3)
        self.conv2 = _conv(outputs, outputs, 3)
        self.shortcut = nn.Identity() if inputs == outputs else _conv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.conv2(functional.relu(self.conv1(x))) + self.shortcut(x))


class Pyramid(nn.Module):
    """What the whole image, a cell and its wider surroundings say of each cell, (B, 3 * WIDTH, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.image = _conv(WIDTH, WIDTH)
        self.cell = _conv(WIDTH, WIDTH)
        self.around = _conv(WIDTH, WIDTH, 3, DILATION)

    def forward(self, x: Tensor) -> Tensor:
        image = self.image(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])
        return functional.relu(torch.cat([image, self.cell(x), self.around(x)], 1))
