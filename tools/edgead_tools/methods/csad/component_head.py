"""The segmentation head on a frozen trunk, and the losses that teach it components (CSAD, 3.1 and 8; DeepLabV3+)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

GAMMA = 2.0  # of the focal loss
SMALL = 1e-5
WEIGHTS = {"ce": 0.5, "focal": 10.0, "dice": 1.0, "histogram": 10.0, "entropy": 1.0}  # the published code's


def conv(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class ComponentHead(nn.Module):
    """Taps (B, low, h, w) and (B, deep, h/4, w/4) -> logits (B, classes, h, w)."""

    def __init__(
        self,
        taps: tuple[int, int],
        classes: int,
        *,
        widths: tuple[int, int, int] = (48, 256, 256),
        dilations: Sequence[int] = (6, 12, 18),
    ) -> None:
        """`taps` are the channels of both; `widths` those of the low branch, of each branch of the pyramid, and of the
        fusion."""
        super().__init__()
        (low, deep), (narrow, pyramid, fused) = taps, widths
        self.low = conv(low, narrow)
        self.pyramid = nn.ModuleList([conv(deep, pyramid), *(conv(deep, pyramid, 3, rate) for rate in dilations)])
        self.pooled = conv(deep, pyramid)
        self.join = conv(pyramid * (2 + len(dilations)), pyramid)
        self.fuse = nn.Sequential(conv(pyramid + narrow, fused, 3), conv(fused, fused, 3), nn.Conv2d(fused, classes, 1))

    def forward(self, low: Tensor, deep: Tensor) -> Tensor:
        image = self.pooled(deep.mean((2, 3), keepdim=True)).expand(-1, -1, *deep.shape[2:])
        joined = self.join(torch.cat([*(branch(deep) for branch in self.pyramid), image], 1))
        large = functional.interpolate(joined, scale_factor=4.0, mode="bilinear", align_corners=False)
        logits: Tensor = self.fuse(torch.cat([large, self.low(low)], 1))
        return logits


def labeled_losses(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Cross entropy, focal and Dice loss, weighted, of logits (B, K, H, W) against labels (B, H, W) int64."""
    classes = logits.shape[1]
    logs = functional.log_softmax(logits, 1)
    chosen = functional.one_hot(labels, classes).permute(0, 3, 1, 2).to(logs.dtype)
    right = (logs * chosen).sum(1)  # log of the probability of the true class; gathering it is not deterministic
    probability = right.exp()
    focal = -((1 - probability) ** GAMMA) * torch.log(probability + SMALL)
    losses = {"ce": -right.mean(), "focal": focal.mean(), "dice": dice_loss(logs.exp(), chosen)}
    return {name: WEIGHTS[name] * loss for name, loss in losses.items()}


def dice_loss(probabilities: Tensor, chosen: Tensor) -> Tensor:
    """Soft Dice loss of (B, K, H, W) probabilities against one-hot labels, classes weighted by 1 / their pixels."""
    both = (probabilities * chosen).sum((2, 3))
    total = (probabilities + chosen).sum((2, 3))
    dice = 1 - (2 * both + SMALL) / (total + 2 * SMALL)
    pixels = chosen.sum((0, 2, 3))
    weight = torch.where(pixels > 0, 1 / pixels.clamp(min=1), torch.zeros_like(pixels))
    return (dice.mean(0) * weight / weight.sum()).sum()


def unlabeled_losses(logits: Tensor, shares: Tensor) -> dict[str, Tensor]:
    """Histogram and entropy loss, weighted, of logits (B, K, H, W) whose labels are unknown.

    `shares` (B, K) are the shares of the classes in label maps drawn at random: good parts hold as much of each.
    """
    probabilities = functional.softmax(logits, 1)
    away = (probabilities.mean((2, 3)) - shares).abs()[:, 1:].sum(1).mean()
    return {"histogram": WEIGHTS["histogram"] * away, "entropy": WEIGHTS["entropy"] * entropy(probabilities)}


def entropy_loss(logits: Tensor) -> Tensor:
    """The entropy of logits (B, K, H, W), weighted."""
    return WEIGHTS["entropy"] * entropy(functional.softmax(logits, 1))


def entropy(probabilities: Tensor) -> Tensor:
    """Mean of -p log(p + 1e-5)."""
    return -(probabilities * torch.log(probabilities + SMALL)).mean()
