"""Combines SAM and MobileSAM: an image encoder and the mask decoder, as teachers, with or without prompted points.

Every tensor of a published checkpoint is taken, or known to be superfluous: boxes, points outside a mask and masks as
prompts, and for a teacher all of `nets.sam_masks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from edgead_tools.backbones import sam_decoder, sam_vit, tiny_vit
from edgead_tools.backbones.keymap import Loaded, Rule, load_published
from edgead_tools.backbones.sam_decoder import ImageDecoder
from edgead_tools.backbones.sam_masks import PointMasks
from edgead_tools.backbones.sam_vit import SamVit
from edgead_tools.backbones.tiny_vit import TinyVit

SCALE = (1 / 58.395, 1 / 57.12, 1 / 57.375)  # input = pixel * SCALE + OFFSET, for R, G and B in 0..255
OFFSET = (-123.675 / 58.395, -116.28 / 57.12, -103.53 / 57.375)
SIDE = 1024  # pixels of the published encoders' input
UNUSED = r"unused\..*"
UNPROMPTED = r"(unused|masks)\..*"

Encoder = TypeVar("Encoder", bound=nn.Module, covariant=True)


class Sam(nn.Module, Generic[Encoder]):
    """Images (B, 3, H, W), RGB and normalized -> the embedding and what the decoder makes of it, (B, 256, H/16, W/16)
    each."""

    def __init__(self, encoder: Encoder, decoder: ImageDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.encoder(image)
        return embedding, self.decoder(embedding)


class PromptedSam(nn.Module):
    """SAM with masks: an image is encoded once, and asked about at any number of points."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder, self.masks = encoder, ImageDecoder(), PointMasks()

    def forward(self, embedding: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """What is at each of P points (x, y in 0..1) of the image with that embedding (1, 256, h, w): the logits of
        three masks (P, 3, 4h, 4w), a part to the whole, and the IoU each is thought to have, (P, 3)."""
        codes = self.masks.add_points(self.decoder.codes(), self.decoder.place(points))
        positions = self.decoder.grid(*embedding.shape[2:])
        tokens, image = self.decoder.look(embedding, codes, positions)
        found: tuple[Tensor, Tensor] = self.masks(tokens, image, codes, positions)
        return found


SamName = Literal["mobile-sam", "sam-vit-h"]
_PROMPTED: dict[SamName, tuple[Callable[[], nn.Module], Sequence[Rule]]] = {
    "mobile-sam": (TinyVit, tiny_vit.KEYS),
    "sam-vit-h": (SamVit, sam_vit.KEYS),
}


def load_prompted_sam(state: Mapping[str, Tensor], name: SamName, encoder: nn.Module | None = None) -> PromptedSam:
    """The named SAM (or with the given encoder) in eval mode from its checkpoint's tensors; raises WeightsError."""
    make, keys = _PROMPTED[name]
    sam = PromptedSam(encoder or make())
    load_published(sam, state, (*keys, *sam_decoder.KEYS), unused=UNUSED, source=f"the published {name}")
    return sam.eval()


def load_mobile_sam(state: Mapping[str, Tensor]) -> tuple[Sam[TinyVit], Loaded]:
    """MobileSAM in eval mode from its checkpoint's tensors, and what was taken of them; raises WeightsError."""
    sam = Sam(TinyVit(), ImageDecoder())
    keys = (*tiny_vit.KEYS, *sam_decoder.KEYS)
    return sam.eval(), load_published(sam, state, keys, unused=UNPROMPTED, source="the published MobileSAM")


def load_sam_vit_h(state: Mapping[str, Tensor], encoder: SamVit | None = None) -> tuple[Sam[SamVit], Loaded]:
    """SAM with ViT-H (or the given encoder) in eval mode from its checkpoint's tensors; raises WeightsError."""
    sam = Sam(encoder or SamVit(), ImageDecoder())
    keys = (*sam_vit.KEYS, *sam_decoder.KEYS)
    return sam.eval(), load_published(sam, state, keys, unused=UNPROMPTED, source="the published SAM ViT-H")


def tensor_from(images: Tensor) -> Tensor:
    """(B, 3, H, W) float32, RGB and normalized, from (B, H, W, 3) uint8 BGR."""
    planes = images.flip(3).permute(0, 3, 1, 2).to(torch.float32)
    scale, offset = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (SCALE, OFFSET))
    return planes * scale + offset
