"""A small ResNet of basic blocks: what is trained of the student of AST-MFR's edge form. Convolution, batch norm and
ReLU only, so that it quantizes, and unlike the teacher's inverted residuals by construction."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.resnet import ConvNorm

BLOCKS = 2  # of each stage


class BasicBlock(nn.Module):
    """Two 3x3 filters, and what came in added."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs, 3, stride, active=True)
        self.second = ConvNorm(outputs, outputs, 3, active=False)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else ConvNorm(inputs, outputs, 1, stride, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.shortcut(x) + self.second(self.first(x)))


class PlainResNet(nn.Module):
    """Stages that halve the grid and double the channels, `channels` = (width, 2 width, ...), on features."""

    def __init__(self, inputs: int, width: int, stages: int) -> None:
        super().__init__()
        self.channels = tuple(width << stage for stage in range(stages))
        self.stages = nn.ModuleList()
        for outputs in self.channels:
            rest = (BasicBlock(outputs, outputs, 1) for _ in range(BLOCKS - 1))
            self.stages.append(nn.Sequential(BasicBlock(inputs, outputs, 2), *rest))
            inputs = outputs

    def forward(self, features: Tensor) -> list[Tensor]:
        """(B, inputs, h, w) -> the stages' outputs (B, channels[n], h / 2, w / 2), h / 4, and so on."""
        outputs = []
        for stage in self.stages:
            features = stage(features)
            outputs.append(features)
        return outputs
