"""STLM's two streams with their shared decoder, what they are taught, and the graph that is exported (STLM 1, 8, 13).

Vectors are normalized to the root mean square 1, not to length 1: of C channels, products of two are C times and
distances C times those of unit vectors. These are numbers that FP16 and INT8 can represent.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.sam_decoder import ImageDecoder
from edgead_tools.backbones.tiny_vit import TinyVit
from edgead_tools.methods.stlm.feature_aggregation import FeatureAggregation
from edgead_tools.methods.stlm.segmentation_head import segmentation_losses

FLOOR = 1e-6  # of a vector's mean square: it keeps FP16 from dividing by zero and changes no feature of a trained SAM

Levels = Sequence[tuple[Tensor, Tensor]]  # encoder and decoder: (plain, denoising), (B, C, h, w) each
Targets = Sequence[Tensor]  # of one stream: the teacher's encoder and decoder, (B, C, h, w) each


class SamStreams(nn.Module):
    """Images (B, 3, H, W), RGB and normalized -> one map (B, H/16, W/16).

    With a head it is `segmentation`, the probability of a defect; without one `distance`, the product over the levels
    of the cosine distance between the streams, times the 256 channels for each level: the published one is often
    smaller than what a threshold may be.
    """

    def __init__(
        self, plain: TinyVit, denoising: TinyVit, decoder: ImageDecoder, head: FeatureAggregation | None
    ) -> None:
        super().__init__()
        self.plain, self.denoising, self.decoder, self.head = plain, denoising, decoder, head

    def levels(self, image: Tensor) -> Levels:
        """What both streams see; the decoder reads both at once, stacked beside the batch."""
        embeddings = torch.stack([self.plain(image), self.denoising(image)], 1)
        decoded = self.decoder(embeddings.flatten(0, 1)).unflatten(0, (-1, 2))
        return [(level[:, 0], level[:, 1]) for level in (embeddings, decoded)]

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        levels = self.levels(image)
        if self.head is None:
            return {"distance": distance(levels)}
        return {"segmentation": torch.sigmoid(self.head(products(levels)))}

    def losses(self, image: Tensor, plain: Targets, denoising: Targets, target: Tensor) -> dict[str, Tensor]:
        """L_plain, L_deno and, with a head, L_focal and L_l1 on the cells (B, h, w) of `target`; all weigh the same,
        and every one trains all it depends on."""
        levels = self.levels(image)
        pairs = list(zip(levels, plain, denoising, strict=True))
        losses = {
            "plain": torch.stack([cosine_distance(own, teachers) for (own, _), teachers, _ in pairs]).sum(),
            "denoising": torch.stack([cosine_distance(own, teachers) for (_, own), _, teachers in pairs]).sum(),
        }
        return losses if self.head is None else losses | segmentation_losses(self.head(products(levels)), target)

    def fold(self, height: int, width: int) -> None:
        """Make constants of what does not depend on the image, for images of that size; the maps stay the same."""
        self.plain.fold()
        self.denoising.fold()
        self.decoder.fold(height // 16, width // 16)
        if self.head is not None:
            self.head.fold()


def normalize(features: Tensor) -> Tensor:
    """Features (B, C, h, w) with a root mean square of 1 over the channels: n(v) times the root of C."""
    return features * torch.rsqrt(features.square().mean(1, keepdim=True).clamp(min=FLOOR))


def cosine_distance(one: Tensor, other: Tensor) -> Tensor:
    """The mean of 1 - <n(a), n(b)> over all positions of features (B, C, h, w)."""
    return (1 - (normalize(one) * normalize(other)).mean(1)).mean()


def products(levels: Levels) -> Tensor:
    """n(plain) * n(denoising), channel by channel and times C, the levels side by side."""
    return torch.cat([normalize(plain) * normalize(denoising) for plain, denoising in levels], 1)


def distance(levels: Levels) -> Tensor:
    """The product over the levels of C (1 - <n(plain), n(denoising)>), (B, h, w), as C |a - b|^2 / 2, which does not
    cancel where they agree."""
    maps = [0.5 * (normalize(plain) - normalize(denoising)).square().sum(1) for plain, denoising in levels]
    return torch.stack(maps).prod(0)


def cells(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks (B, H, W) as targets (B, height, width) of 0 and 1: interpolated bilinearly, 1 from one half on."""
    planes = masks[:, None].to(torch.float32)
    shrunk = functional.interpolate(planes, (height, width), mode="bilinear", align_corners=False)
    return (shrunk >= 0.5).to(torch.float32)[:, 0]
