"""Implements DINOv2's ViT-S/14: features of patches of 14 pixels (SAM-LAD 2).

Source: DINOv2 (Oquab et al., arXiv 2304.07193; Apache-2.0), a plain vision transformer (arXiv 2010.11929) with
LayerScale (arXiv 2103.17239); without register tokens. What comes out are the normalized patch tokens of the last
block. The published table of positions is for 37 x 37 patches and is interpolated once, for the size of a picture.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.keymap import load_published

PATCH = 14  # pixels
WIDTH, DEPTH, HEADS = 384, 12, 6
TABLE = 37  # patches a side that the published positions are for
EPSILON = 1e-6  # of the norms
SHIFT = 0.1  # patches, by which the published code enlarges the size it interpolates positions to

_BLOCK = r"(blocks\.\d+)"
KEYS = (
    (r"cls_token", "summary"),
    (r"pos_embed", "positions"),
    (r"mask_token", "unused.mask"),
    (r"patch_embed\.proj\.(weight|bias)", r"patch.\1"),
    (rf"{_BLOCK}\.(norm[12])\.(weight|bias)", r"\1.\2.\3"),
    (rf"{_BLOCK}\.attn\.(qkv|proj)\.(weight|bias)", r"\1.\2.\3"),
    (rf"{_BLOCK}\.ls([12])\.gamma", r"\1.scale\2"),
    (rf"{_BLOCK}\.mlp\.fc([12])\.(weight|bias)", r"\1.lin\2.\3"),
    (r"norm\.(weight|bias)", r"norm.\1"),
)
UNUSED = r"unused\..*"


class DinoV2(nn.Module):
    """Images (B, 3, H, W), RGB and normalized as ResNet's -> (B, 384, h, w), h and w the patches that fit best."""

    placed: Tensor  # (1, 1 + h * w, 384): positions for the size of the pictures

    def __init__(self, size: tuple[int, int]) -> None:
        """`size` is the height and width of the images in pixels, which are stretched where 14 does not divide them."""
        super().__init__()
        self.grid = (max(1, round(size[0] / PATCH)), max(1, round(size[1] / PATCH)))
        self.stretched = (PATCH * self.grid[0], PATCH * self.grid[1])
        self.summary = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.zeros(1, 1 + TABLE * TABLE, WIDTH))
        self.patch = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH, EPSILON)
        self.register_buffer("placed", torch.zeros(1, 1 + self.grid[0] * self.grid[1], WIDTH), persistent=False)

    @torch.no_grad()
    def place(self) -> None:
        """Interpolate the positions, which must be done again when they change."""
        table = self.positions[:, 1:].transpose(1, 2).reshape(1, WIDTH, TABLE, TABLE)
        if self.grid != (TABLE, TABLE):
            scale = [(side + SHIFT) / TABLE for side in self.grid]
            table = functional.interpolate(table, scale_factor=scale, mode="bicubic", align_corners=False)
        self.placed = torch.cat([self.positions[:, :1], table.flatten(2).transpose(1, 2)], 1)

    def stretch(self, image: Tensor) -> Tensor:
        """The images at a size that 14 divides."""
        if image.shape[2:] == self.stretched:
            return image
        return functional.interpolate(image, self.stretched, mode="bilinear", align_corners=False)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patch(self.stretch(image)).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.summary.expand(patches.shape[0], -1, -1), patches], 1) + self.placed
        tokens = self.norm(self.blocks(tokens))
        found: Tensor = tokens[:, 1:].transpose(1, 2).unflatten(2, self.grid)
        return found


class Block(nn.Module):
    """Attention among all tokens and a perceptron, (B, T, 384) throughout, each scaled channel by channel."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH, EPSILON)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)
        self.scale1 = nn.Parameter(torch.ones(WIDTH))
        self.norm2 = nn.LayerNorm(WIDTH, EPSILON)
        self.lin1 = nn.Linear(WIDTH, 4 * WIDTH)
        self.lin2 = nn.Linear(4 * WIDTH, WIDTH)
        self.scale2 = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.scale1 * self.proj(mixed)
        y: Tensor = x + self.scale2 * self.lin2(functional.gelu(self.lin1(self.norm2(x))))
        return y


def load_dinov2(state: Mapping[str, Tensor], size: tuple[int, int]) -> DinoV2:
    """The network in eval mode for images of that height and width, from its checkpoint's tensors; raises
    WeightsError."""
    network = DinoV2(size)
    load_published(network, state, KEYS, unused=UNUSED, source="the published DINOv2 ViT-S/14")
    network.place()
    return network.eval()
