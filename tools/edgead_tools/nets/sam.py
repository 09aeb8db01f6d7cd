"""SAM and MobileSAM as teachers and as a start: an image encoder and the image side of the mask decoder.

Every tensor of a published checkpoint is taken, or known to be superfluous here: prompts, masks and their ratings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from edgead_tools.nets import sam_decoder, sam_vit, tiny_vit
from edgead_tools.nets.keymap import Loaded, load_published
from edgead_tools.nets.sam_decoder import ImageDecoder
from edgead_tools.nets.sam_vit import SamVit
from edgead_tools.nets.tiny_vit import TinyVit

SCALE = (1 / 58.395, 1 / 57.12, 1 / 57.375)  # input = pixel * SCALE + OFFSET, for R, G and B in 0..255
OFFSET = (-123.675 / 58.395, -116.28 / 57.12, -103.53 / 57.375)
UNUSED = r"unused\..*"

Encoder = TypeVar("Encoder", bound=nn.Module, covariant=True)


class Sam(nn.Module, Generic[Encoder]):
    """Images (B, 3, H, W), RGB and normalised -> the embedding and what the decoder makes of it, (B, 256, H/16, W/16)
    each."""

    def __init__(self, encoder: Encoder, decoder: ImageDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.encoder(image)
        return embedding, self.decoder(embedding)


def load_mobile_sam(state: Mapping[str, Tensor]) -> tuple[Sam[TinyVit], Loaded]:
    """MobileSAM in eval mode from its checkpoint's tensors, and what was taken of them; raises WeightsError."""
    sam = Sam(TinyVit(), ImageDecoder())
    keys = (*tiny_vit.KEYS, *sam_decoder.KEYS)
    return sam.eval(), load_published(sam, state, keys, unused=UNUSED, source="the published MobileSAM")


def load_sam_vit_h(state: Mapping[str, Tensor], encoder: SamVit | None = None) -> tuple[Sam[SamVit], Loaded]:
    """SAM with ViT-H (or the given encoder) in eval mode from its checkpoint's tensors; raises WeightsError."""
    sam = Sam(encoder or SamVit(), ImageDecoder())
    keys = (*sam_vit.KEYS, *sam_decoder.KEYS)
    return sam.eval(), load_published(sam, state, keys, unused=UNUSED, source="the published SAM ViT-H")


def tensor_from(images: Tensor) -> Tensor:
    """(B, 3, H, W) float32, RGB and normalised, from (B, H, W, 3) uint8 BGR."""
    planes = images.flip(3).permute(0, 3, 1, 2).to(torch.float32)
    scale, offset = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (SCALE, OFFSET))
    return planes * scale + offset
