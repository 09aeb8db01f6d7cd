"""A small ResNet of basic blocks: the student of the edge forms. Convolution, batch norm and ReLU only, so that it
quantizes, and unlike the teacher's inverted residuals by construction."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.nets.resnet import ConvNorm

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
    """A stem to 1/4 of the image and three stages, `channels` = (width, 2 width, 4 width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.channels = (width, 2 * width, 4 * width)
        self.stem = nn.Sequential(ConvNorm(3, width, 3, 2, active=True), ConvNorm(width, width, 3, 2, active=True))
        self.stages = nn.ModuleList()
        inputs = width
        for index, outputs in enumerate(self.channels):
            first = BasicBlock(inputs, outputs, 1 if index == 0 else 2)
            rest = (BasicBlock(outputs, outputs, 1) for _ in range(BLOCKS - 1))
            self.stages.append(nn.Sequential(first, *rest))
            inputs = outputs

    def forward(self, image: Tensor) -> list[Tensor]:
        """The stages' outputs (B, channels[n], H / 4, W / 4), H / 8, H / 16."""
        x = self.stem(image)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs
