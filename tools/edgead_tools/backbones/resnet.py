"""Implements bottleneck ResNets: WideResNet-50-2 and ResNeXt-50 32x4d, which differ only in the groups of 3x3 filters.

Source: torchvision's definitions and its ImageNet checkpoints (BSD-3-Clause). Cut after the third stage, at 1/16 of
the image: what anomaly detection reads lies before. The stride is the 3x3 filter's; the input is RGB of 0..1 less
ImageNet's mean, over its standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.keymap import load_published

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's R, G, B in 0..1
DEVIATION = (0.229, 0.224, 0.225)
# Input = pixel * SCALE + OFFSET, for R, G, B in 0..255.
SCALE = (1 / (255 * DEVIATION[0]), 1 / (255 * DEVIATION[1]), 1 / (255 * DEVIATION[2]))
OFFSET = (-MEAN[0] / DEVIATION[0], -MEAN[1] / DEVIATION[1], -MEAN[2] / DEVIATION[2])
STEM = 64
BLOCKS = (3, 4, 6)  # of each stage
OUTPUTS = (256, 512, 1024)  # channels of each stage's output, at 1/4, 1/8 and 1/16 of the image

KEYS = (
    (r"conv1\.(.*)", r"stem.conv.\1"),
    (r"bn1\.(.*)", r"stem.norm.\1"),
    (r"layer(\d)\.(\d+)\.conv1\.(.*)", r"stage\1.\2.narrow.conv.\3"),
    (r"layer(\d)\.(\d+)\.bn1\.(.*)", r"stage\1.\2.narrow.norm.\3"),
    (r"layer(\d)\.(\d+)\.conv2\.(.*)", r"stage\1.\2.filter.conv.\3"),
    (r"layer(\d)\.(\d+)\.bn2\.(.*)", r"stage\1.\2.filter.norm.\3"),
    (r"layer(\d)\.(\d+)\.conv3\.(.*)", r"stage\1.\2.widen.conv.\3"),
    (r"layer(\d)\.(\d+)\.bn3\.(.*)", r"stage\1.\2.widen.norm.\3"),
    (r"layer(\d)\.(\d+)\.downsample\.0\.(.*)", r"stage\1.\2.shortcut.conv.\3"),
    (r"layer(\d)\.(\d+)\.downsample\.1\.(.*)", r"stage\1.\2.shortcut.norm.\3"),
    (r"fc\.(.*)", r"classifier.\1"),
)
UNUSED = r"(stage4|classifier)\..*"


@dataclass(frozen=True, slots=True)
class Variant:
    """How a family member filters."""

    width: int  # channels of the first stage's 3x3 filters; they double with every stage
    groups: int


VARIANTS = {"wide-resnet50-2": Variant(128, 1), "resnext50-32x4d": Variant(128, 32)}  # by the name of their weights


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, and ReLU where `active`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, active: bool):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return functional.relu(x) if self.active else x


class Bottleneck(nn.Module):
    """Narrow, filter, widen, and add what came in."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.narrow = ConvNorm(inputs, width, 1, active=True)
        self.filter = ConvNorm(width, width, 3, stride, groups, active=True)
        self.widen = ConvNorm(width, outputs, 1, active=False)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else ConvNorm(inputs, outputs, 1, stride, active=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.shortcut(x) + self.widen(self.filter(self.narrow(x))))


class ResNet(nn.Module):
    """The stem and the first three stages."""

    def __init__(self, variant: str) -> None:
        super().__init__()
        shape = VARIANTS[variant]
        self.stem = ConvNorm(3, STEM, 7, 2, active=True)
        self.stage1 = _stage(0, shape)
        self.stage2 = _stage(1, shape)
        self.stage3 = _stage(2, shape)

    def forward(self, image: Tensor) -> list[Tensor]:
        """The stages' outputs (B, OUTPUTS[n], H / 4, W / 4), H / 8, H / 16; image (B, 3, H, W) RGB, normalized."""
        x = functional.max_pool2d(self.stem(image), 3, 2, 1)
        outputs = []
        for stage in (self.stage1, self.stage2, self.stage3):
            x = stage(x)
            outputs.append(x)
        return outputs


def _stage(index: int, shape: Variant) -> nn.Sequential:
    inputs, outputs = (STEM, *OUTPUTS)[index], OUTPUTS[index]
    width, stride = shape.width << index, 1 if index == 0 else 2
    first = Bottleneck(inputs, width, outputs, stride, shape.groups)
    rest = (Bottleneck(outputs, width, outputs, 1, shape.groups) for _ in range(BLOCKS[index] - 1))
    return nn.Sequential(first, *rest)


def load_resnet(state: Mapping[str, Tensor], variant: str) -> ResNet:
    """The pretrained network in eval mode and FP32, from torchvision's tensors (`edgead_tools.backbones.weights`).

    A file in half precision is cast. The fourth stage and the classifier are left out. Batch norm's counters say
    nothing here, and files older than they are may lack them.
    """
    network = ResNet(variant)
    counters = {
        key.removesuffix("running_mean") + "num_batches_tracked": torch.tensor(0)
        for key in state
        if key.endswith("running_mean")
    }
    load_published(network, counters | dict(state), KEYS, unused=UNUSED, source=f"the published {variant}")
    return network.eval()


def tensor_from(images: Tensor) -> Tensor:
    """(B, 3, H, W) float32, RGB and normalized, from (B, H, W, 3) uint8 BGR."""
    planes = images.flip(3).permute(0, 3, 1, 2).to(torch.float32)
    scale, offset = (planes.new_tensor(values)[:, None, None] for values in (SCALE, OFFSET))
    return planes * scale + offset
