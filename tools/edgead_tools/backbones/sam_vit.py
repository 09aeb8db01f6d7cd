"""Implements SAM's ViT-H image encoder: a teacher, too large for anything else (STLM 5; pretrained weights 4).

Source: Segment Anything (arXiv 2304.02643; Apache-2.0), on ViTDet's backbone (arXiv 2203.16527). Attention stays
within windows except in four blocks; it knows where tokens are by decomposed relative positions. For an image of
another size than 1024 the absolute positions are interpolated (bicubic), the relative ones of the global blocks too
(linear, as published).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.neck import EPSILON, neck

PATCH = 16  # pixels
GRID = 64  # cells a side that the published positions are for
WINDOW = 14

_BLOCK = r"image_encoder\.(blocks\.\d+)"
KEYS = (
    (r"image_encoder\.pos_embed", "encoder.positions"),
    (r"image_encoder\.patch_embed\.proj\.(weight|bias)", r"encoder.patch.\1"),
    (rf"{_BLOCK}\.(norm[12])\.(weight|bias)", r"encoder.\1.\2.\3"),
    (rf"{_BLOCK}\.attn\.(qkv|proj)\.(weight|bias)", r"encoder.\1.attention.\2.\3"),
    (rf"{_BLOCK}\.attn\.rel_pos_([hw])", r"encoder.\1.attention.offsets_\2"),
    (rf"{_BLOCK}\.mlp\.lin([12])\.(weight|bias)", r"encoder.\1.lin\2.\3"),
    (r"image_encoder\.neck\.([0-3])\.(weight|bias)", r"encoder.neck.\1.\2"),
)


class SamVit(nn.Module):
    """Images (B, 3, H, W), RGB and normalized -> embeddings (B, 256, H/16, W/16); H and W multiples of 16.

    `every`: each so-manieth block is global; the rest look within windows.
    """

    def __init__(self, channels: int = 1280, depth: int = 32, heads: int = 16, every: int = 8) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, channels, PATCH, PATCH)
        self.positions = nn.Parameter(torch.zeros(1, GRID, GRID, channels))
        self.blocks = nn.Sequential(
            *(
                TransformerBlock(channels, heads, None if index % every == every - 1 else WINDOW)
                for index in range(depth)
            )
        )
        self.neck = neck(channels)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch(image).permute(0, 2, 3, 1)
        x = self.blocks(x + self._positions(*x.shape[1:3]))
        y: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return y

    def _positions(self, height: int, width: int) -> Tensor:
        if (height, width) == (GRID, GRID):
            return self.positions
        planes = self.positions.permute(0, 3, 1, 2)
        planes = functional.interpolate(planes, (height, width), mode="bicubic", align_corners=False)
        return planes.permute(0, 2, 3, 1)


class TransformerBlock(nn.Module):
    """Attention, within windows where `window` is given, and an MLP; (B, H, W, C) throughout."""

    def __init__(self, channels: int, heads: int, window: int | None) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(channels, EPSILON)
        self.attention = Attention(channels, heads, window or GRID)
        self.norm2 = nn.LayerNorm(channels, EPSILON)
        self.lin1 = nn.Linear(channels, 4 * channels)
        self.lin2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + (self.attention(y) if self.window is None else self._within_windows(y, self.window))
        z: Tensor = x + self.lin2(functional.gelu(self.lin1(self.norm2(x))))
        return z

    def _within_windows(self, x: Tensor, window: int) -> Tensor:
        """Attention in windows; what is padded with zeros at the bottom and right acts as keys."""
        height, width, channels = x.shape[1:]
        rows, columns = -(-height // window), -(-width // window)
        x = functional.pad(x, (0, 0, 0, columns * window - width, 0, rows * window - height))
        x = x.reshape(-1, rows, window, columns, window, channels).transpose(2, 3)
        x = self.attention(x.reshape(-1, window, window, channels))
        x = x.reshape(-1, rows, columns, window, window, channels).transpose(2, 3)
        return x.reshape(-1, rows * window, columns * window, channels)[:, :height, :width]


class Attention(nn.Module):
    """Attention over (B, H, W, C) with <q, R_rows> + <q, R_columns> added, R learned for every offset of two tokens."""

    def __init__(self, channels: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.offsets_h = nn.Parameter(torch.zeros(2 * size - 1, channels // heads))
        self.offsets_w = nn.Parameter(torch.zeros(2 * size - 1, channels // heads))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        q, k, v = self.qkv(x).unflatten(3, (3, self.heads, -1)).permute(3, 0, 4, 1, 2, 5).unbind(0)
        down = torch.einsum("bnhwc,hkc->bnhwk", q, _between(self.offsets_h, height))
        across = torch.einsum("bnhwc,wkc->bnhwk", q, _between(self.offsets_w, width))
        bias = (down[..., :, None] + across[..., None, :]).flatten(4).flatten(2, 3)
        q, k, v = (part.flatten(2, 3) for part in (q, k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        y: Tensor = self.proj(mixed.transpose(1, 2).reshape(x.shape))
        return y


def _between(offsets: Tensor, size: int) -> Tensor:
    """The vector of every pair of `size` rows, (size, size, C), from those of the offsets -n..n, (2n + 1, C)."""
    if len(offsets) != 2 * size - 1:
        offsets = functional.interpolate(offsets.T[None], 2 * size - 1, mode="linear", align_corners=False)[0].T
    place = torch.arange(size, device=offsets.device)
    return offsets[place[:, None] - place + size - 1]
