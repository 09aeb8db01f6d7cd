"""Implements TinyViT-5M in MobileSAM's form: an encoder onto SAM's embedding at 1/16 of the image (STLM 3).

Source: TinyViT (arXiv 2207.10666) as changed by MobileSAM (arXiv 2306.14289, Apache-2.0): the last merge keeps its
resolution, and SAM's neck takes the place of the classifier. Where a map is no multiple of the window it is padded
with zeros at the bottom and right; these are normalized like tokens and act as keys, as in the published model.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.neck import neck

HEAD = 32  # channels of an attention head
CHANNELS = (64, 128, 160, 320)  # of the four stages
ATTENTION = ((2, 7), (6, 14), (2, 7))  # blocks and window of the last three stages; the first has convolutions
DEVIATION = 0.02  # of linear weights that start at random

_NORM = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
_CONV = r"image_encoder\.layers\.(\d\.blocks\.\d\.(?:conv[123]|local_conv))"
_MERGE = r"image_encoder\.layers\.(\d)\.downsample\.(conv[123])"
_BLOCK = r"image_encoder\.layers\.(\d\.blocks\.\d)"
KEYS = (  # of MobileSAM's checkpoint
    (r"image_encoder\.patch_embed\.seq\.([02])\.c\.weight", r"encoder.patch.\1.conv.weight"),
    (rf"image_encoder\.patch_embed\.seq\.([02])\.bn\.{_NORM}", r"encoder.patch.\1.norm.\2"),
    (rf"{_CONV}\.c\.weight", r"encoder.stages.\1.conv.weight"),
    (rf"{_CONV}\.bn\.{_NORM}", r"encoder.stages.\1.norm.\2"),
    (rf"{_MERGE}\.c\.weight", r"encoder.stages.\1.merge.\2.conv.weight"),
    (rf"{_MERGE}\.bn\.{_NORM}", r"encoder.stages.\1.merge.\2.norm.\3"),
    (rf"{_BLOCK}\.attn\.attention_biases", r"encoder.stages.\1.attention.table"),
    (rf"{_BLOCK}\.attn\.(norm|qkv|proj)\.(weight|bias)", r"encoder.stages.\1.attention.\2.\3"),
    (rf"{_BLOCK}\.mlp\.(norm|fc1|fc2)\.(weight|bias)", r"encoder.stages.\1.mlp.\2.\3"),
    (r"image_encoder\.neck\.([0-3])\.(weight|bias)", r"encoder.neck.\1.\2"),
    (r"image_encoder\.(norm_head|head)\.(weight|bias)", r"unused.\1.\2"),
)


class TinyVit(nn.Module):
    """Images (B, 3, H, W), RGB and normalized -> embeddings (B, 256, H/16, W/16); H and W multiples of 16."""

    def __init__(self) -> None:
        super().__init__()
        first, *rest = CHANNELS
        self.patch = nn.Sequential(_conv(3, first // 2, 3, 2), nn.GELU(), _conv(first // 2, first, 3, 2))
        stages: list[nn.Module] = [ConvStage(first, rest[0])]
        for index, (blocks, window) in enumerate(ATTENTION):
            channels = rest[index]
            following = rest[index + 1] if index + 1 < len(rest) else None
            stages.append(AttentionStage(channels, following, blocks, window))
        self.stages = nn.Sequential(*stages)
        self.neck = neck(rest[-1])
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=DEVIATION)
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor) -> Tensor:
        x: Tensor = self.neck(self.stages(self.patch(image)))
        return x

    def fold(self) -> None:
        """Make the attention biases constants; they are no longer trained."""
        for module in self.modules():
            if isinstance(module, WindowAttention):
                module.fold()


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(OrderedDict[str, nn.Module](conv=conv, norm=nn.BatchNorm2d(outputs)))


class ConvBlock(nn.Module):
    """MBConv: widen four times, filter depthwise, narrow, add; it starts as the identity before the last GELU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = 4 * channels
        self.conv1 = _conv(channels, inner)
        self.conv2 = _conv(inner, inner, 3, groups=inner)
        self.conv3 = _conv(inner, channels)
        nn.init.zeros_(self.conv3.get_submodule("norm").get_parameter("weight"))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.gelu(self.conv2(functional.gelu(self.conv1(x))))
        return functional.gelu(x + self.conv3(y))


class Merge(nn.Module):
    """Between stages: more channels at half the resolution, or at the same where `stride` is 1."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs)
        self.conv2 = _conv(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = _conv(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(x)))))
        return y


class ConvStage(nn.Module):
    """The first stage, at 1/4 of the image, and its merge to 1/8."""

    def __init__(self, channels: int, following: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(ConvBlock(channels), ConvBlock(channels))
        self.merge = Merge(channels, following, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.merge(self.blocks(x))
        return y


class AttentionStage(nn.Module):
    """Blocks of window attention, and the merge to the next stage's channels if there is one."""

    def __init__(self, channels: int, following: int | None, blocks: int, window: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(TinyVitBlock(channels, window) for _ in range(blocks)))
        stride = 1 if following == CHANNELS[-1] else 2
        self.merge = Merge(channels, following, stride) if following else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.merge(self.blocks(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        return y


class TinyVitBlock(nn.Module):
    """Attention in windows, a depthwise convolution (no shortcut, no activation), an MLP; (B, H, W, C) throughout."""

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.attention = WindowAttention(channels, window)
        self.local_conv = _conv(channels, channels, 3, groups=channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        x = self.local_conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y: Tensor = x + self.mlp(x)
        return y


class Mlp(nn.Module):
    """LayerNorm, four times as wide, GELU, narrow again."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(functional.gelu(self.fc1(self.norm(x))))
        return y


class WindowAttention(nn.Module):
    """LayerNorm and attention within windows of `window` x `window` tokens, (B, H, W, C) -> the same shape.

    The bias of a pair of tokens is learned for each head and each distance (|rows|, |columns|). Query, key and value
    lie side by side for each head, not head by head for each of them.
    """

    index: Tensor
    folded: Tensor | None

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.window, self.heads = window, channels // HEAD
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.table = nn.Parameter(torch.zeros(self.heads, window * window))
        token = torch.arange(window * window)
        row, column = token // window, token % window
        distance = (row[:, None] - row).abs() * window + (column[:, None] - column).abs()
        self.register_buffer("index", distance, persistent=False)
        self.register_buffer("folded", None)

    def bias(self) -> Tensor:
        """What is added to the attention of every pair of tokens, (heads, window^2, window^2)."""
        return self.table[:, self.index] if self.folded is None else self.folded

    def fold(self) -> None:
        self.folded = self.bias().detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        height, width, channels = x.shape[1:]
        window, tokens = self.window, self.window**2
        rows, columns = -(-height // window), -(-width // window)
        padding = rows * window - height, columns * window - width
        if any(padding):
            x = functional.pad(x, (0, 0, 0, padding[1], 0, padding[0]))
        x = x.reshape(-1, rows, window, columns, window, channels).transpose(2, 3).reshape(-1, tokens, channels)
        q, k, v = self.qkv(self.norm(x)).reshape(-1, tokens, self.heads, 3 * HEAD).transpose(1, 2).split(HEAD, 3)
        share = torch.softmax((q * HEAD**-0.5) @ k.transpose(2, 3) + self.bias(), -1)
        x = self.proj((share @ v).transpose(1, 2).reshape(-1, tokens, channels))
        x = x.reshape(-1, rows, columns, window, window, channels).transpose(2, 3)
        x = x.reshape(-1, rows * window, columns * window, channels)
        return x[:, :height, :width] if any(padding) else x
