"""Implements the denoising stream of the edge forms: from the taps of a damaged image to the features of the whole one.

It branches off the trunk, squeezes what the taps say of the image through a narrow code, and builds the teacher's
features (the taps themselves, where the trunk is the teacher) from it. What a good part never showed does not pass the
code (the reverse-distillation effect), and what the pseudo-anomalies taught it to remove is removed (DeSTSeg's
denoising). Convolutions, batch norm and ReLU6 only, so that it quantizes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class Residual(nn.Module):
    """An inverted residual block: widen, filter depthwise, narrow, add."""

    def __init__(self, channels: int, kernel: int = 5, expansion: int = 2) -> None:
        super().__init__()
        inner = channels * expansion
        self.body = nn.Sequential(
            conv(channels, inner),
            conv(inner, inner, kernel, groups=inner),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.body(x)
        return y


class DenoisingStream(nn.Module):
    """Taps at 1/8 and 1/16 of the image in, the teacher's features of the clean image on the same grids out, all
    standardized per channel.

    `taps` are the channels of what comes in. `means` are the features' means over good images, (1, C, h, w) each:
    they start, as parameters, what the stream adds its prediction to, so that it begins at the mean good part and
    learns what differs from part to part.
    """

    def __init__(self, taps: Sequence[int], means: Sequence[Tensor], *, width: int = 128, code: int = 64) -> None:
        super().__init__()
        fine, coarse = (mean.shape[1] for mean in means)
        half = width // 2
        self.reduce = conv(taps[0], half, 3, 2)
        self.encode = nn.Sequential(conv(taps[1] + half, width), conv(width, width, 3, 2), Residual(width))
        self.code = nn.Conv2d(width, code, 1)
        self.decode = nn.Sequential(conv(code, width), Residual(width), Residual(width))
        self.coarse = nn.Sequential(Residual(width), Residual(width))
        self.to_coarse = nn.Conv2d(width, coarse, 1)
        self.narrow = conv(width, half)
        self.fine = nn.Sequential(Residual(half), Residual(half))
        self.to_fine = nn.Conv2d(half, fine, 1)
        self.means = nn.ParameterList([nn.Parameter(mean.clone()) for mean in means])
        for layer in (self.to_fine, self.to_coarse):
            nn.init.normal_(layer.weight, std=0.02)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        code = self.code(self.encode(torch.cat([coarse, self.reduce(fine)], 1)))
        x = self.coarse(_double(self.decode(code)))
        y = self.fine(_double(self.narrow(x)))
        return self.to_fine(y) + self.means[0], self.to_coarse(x) + self.means[1]


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
