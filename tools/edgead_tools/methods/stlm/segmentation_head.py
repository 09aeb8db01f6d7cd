"""The head that turns a disagreement of streams into a segmentation, and the losses that teach it (STLM 6 and 8)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.layers.denoising import Residual, conv

WIDTH = 64
FOCUS = 4.0  # gamma of the focal loss
CEILING = 8.0  # of what the head sees, in standard deviations: beyond it more says nothing more
PRIOR = -2.0  # the first logit: most cells are good


class SegmentationHead(nn.Module):
    """Whitened residuals (B, C, h, w) -> logits (B, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(channels, WIDTH), Residual(WIDTH, 3), Residual(WIDTH, 3))
        self.logit = nn.Conv2d(WIDTH, 1, 1)
        assert self.logit.bias is not None
        nn.init.constant_(self.logit.bias, PRIOR)

    def forward(self, whitened: Tensor) -> Tensor:
        logit: Tensor = self.logit(self.body(whitened.abs().clamp(max=CEILING)))
        return logit.squeeze(1)


def shrink_masks(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks (B, H, W) as the targets (B, height, width) of 0 and 1: a cell is anomalous where a tenth of it is."""
    share = functional.adaptive_avg_pool2d(masks[:, None].float(), (height, width))[:, 0]
    return (share > 0.1).float()


def segmentation_losses(logits: Tensor, target: Tensor) -> dict[str, Tensor]:
    """L_focal = mean(BCE (1 - p_t)^4) and L_l1 = mean |p - y|, for logits and targets (B, h, w)."""
    probability = torch.sigmoid(logits)
    right = probability * target + (1 - probability) * (1 - target)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return {"focal": (entropy * (1 - right) ** FOCUS).mean(), "l1": (probability - target).abs().mean()}
