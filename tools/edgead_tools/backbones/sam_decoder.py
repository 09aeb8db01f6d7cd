"""Implements the two-way transformer of SAM's mask decoder; STLM uses its image side without prompts (STLM 4).

Source: Segment Anything (arXiv 2304.02643, appendix A; Apache-2.0). Five learned tokens and the image's embedding
look at each other twice; the masks made of what the tokens end as are `nets.sam_masks`'s. All images of a batch, or
all prompts of an image, go through at once. The positions are computed for the grid at hand.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.backbones.neck import EMBEDDING

HEADS = 8
NARROW = 128  # channels inside the attention between tokens and image
INNER = 2048  # of the MLP
TOKENS = 4  # of masks; one more rates them

_LAYER = r"mask_decoder\.transformer\.layers\.([01])"
KEYS = (  # of MobileSAM's and SAM's checkpoints
    (r"prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix", "decoder.frequencies"),
    (r"prompt_encoder\.no_mask_embed\.weight", "decoder.no_mask"),
    (r"mask_decoder\.(iou_token|mask_tokens)\.weight", r"decoder.\1"),
    (rf"{_LAYER}\.self_attn\.([qkv]|out)_proj\.(weight|bias)", r"decoder.layer\1.among_tokens.\2.\3"),
    (
        rf"{_LAYER}\.cross_attn_token_to_image\.([qkv]|out)_proj\.(weight|bias)",
        r"decoder.layer\1.tokens_to_image.\2.\3",
    ),
    (
        rf"{_LAYER}\.cross_attn_image_to_token\.([qkv]|out)_proj\.(weight|bias)",
        r"decoder.layer\1.image_to_tokens.\2.\3",
    ),
    (rf"{_LAYER}\.(mlp\.lin[12]|norm[1-4])\.(weight|bias)", r"decoder.layer\1.\2.\3"),
    (r"prompt_encoder\.point_embeddings\.1\.weight", "masks.point"),
    (r"prompt_encoder\.not_a_point_embed\.weight", "masks.no_point"),
    (r"prompt_encoder\.(point_embeddings\.[023])\.weight", r"unused.\1"),
    (r"prompt_encoder\.mask_downscaling\.([01346])\.(weight|bias)", r"unused.mask_downscaling.\1.\2"),
    (
        r"mask_decoder\.transformer\.final_attn_token_to_image\.([qkv]|out)_proj\.(weight|bias)",
        r"masks.final_attention.\1.\2",
    ),
    (r"mask_decoder\.transformer\.norm_final_attn\.(weight|bias)", r"masks.final_norm.\1"),
    (r"mask_decoder\.output_upscaling\.([013])\.(weight|bias)", r"masks.enlarge.\1.\2"),
    (
        r"mask_decoder\.output_hypernetworks_mlps\.([0-3])\.layers\.([0-2])\.(weight|bias)",
        r"masks.filters.\1.\2.\3",
    ),
    (r"mask_decoder\.iou_prediction_head\.layers\.([0-2])\.(weight|bias)", r"masks.rating.\1.\2"),
)


class ImageDecoder(nn.Module):
    """Embeddings (B, 256, h, w) -> what the image side of the transformer makes of them, of the same shape."""

    frequencies: Tensor
    positions: Tensor | None
    tokens: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, EMBEDDING // 2))
        self.no_mask = nn.Parameter(torch.randn(1, EMBEDDING))
        self.iou_token = nn.Parameter(torch.randn(1, EMBEDDING))
        self.mask_tokens = nn.Parameter(torch.randn(TOKENS, EMBEDDING))
        self.layer0, self.layer1 = TwoWayLayer(), TwoWayLayer()
        self.register_buffer("positions", None)
        self.register_buffer("tokens", None)

    def forward(self, embedding: Tensor) -> Tensor:
        height, width = embedding.shape[2:]
        codes = self.codes()
        positions = self.grid(height, width) if self.positions is None else self.positions
        tokens = self._first_tokens(codes) if self.tokens is None else self.tokens
        _, image = self._look(embedding, codes, tokens, positions)
        return image

    def look(self, embedding: Tensor, codes: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """What tokens with the codes (P, T, 256) and an image's embedding (1, 256, h, w), its cells at `positions`,
        end as: (P, T, 256) and (P, 256, h, w)."""
        return self._look(embedding, codes, self._first_tokens(codes), positions)

    def _look(self, embedding: Tensor, codes: Tensor, tokens: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        image = (embedding + self.no_mask[:, :, None, None]).flatten(2).transpose(1, 2)
        tokens, image = self.layer0(tokens, image, codes, positions)
        tokens = self.layer1.norm1(tokens + self.layer1.among_tokens(tokens + codes, tokens + codes, tokens))
        tokens, image = self.layer1(tokens, image, codes, positions)
        return tokens, image.transpose(1, 2).reshape(-1, *embedding.shape[1:])

    def fold(self, height: int, width: int) -> None:
        """Make constants of what does not depend on the image, for a grid of height x width cells."""
        with torch.no_grad():
            self.positions, self.tokens = self.grid(height, width), self._first_tokens(self.codes())

    def codes(self) -> Tensor:
        """The learned tokens, (1, 5, 256): the rating's, then the masks'."""
        return torch.cat([self.iou_token, self.mask_tokens])[None]

    def grid(self, height: int, width: int) -> Tensor:
        """The codes of the centers of the cells, (1, height * width, 256)."""
        like = self.frequencies
        y = (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) / height
        x = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) / width
        centers = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)
        return self.place(centers.reshape(-1, 2))[None]

    def place(self, points: Tensor) -> Tensor:
        """The codes (N, 256) of points (N, 2), x and y in 0..1: sines and cosines of random frequencies."""
        phase = 2 * math.pi * ((2 * points - 1) @ self.frequencies)
        return torch.cat([phase.sin(), phase.cos()], 1)

    def _first_tokens(self, codes: Tensor) -> Tensor:
        """The tokens after the first attention among themselves, which has no code of position and no shortcut."""
        first: Tensor = self.layer0.norm1(self.layer0.among_tokens(codes, codes, codes))
        return first


class TwoWayLayer(nn.Module):
    """Tokens look at the image, are transformed, and are looked at by the image.

    `among_tokens` and `norm1`, which come before, are the caller's to apply: the first layer does it differently.
    """

    def __init__(self) -> None:
        super().__init__()
        self.among_tokens = Attention(EMBEDDING)
        self.norm1 = nn.LayerNorm(EMBEDDING)
        self.tokens_to_image = Attention(NARROW)
        self.norm2 = nn.LayerNorm(EMBEDDING)
        self.mlp = Mlp()
        self.norm3 = nn.LayerNorm(EMBEDDING)
        self.image_to_tokens = Attention(NARROW)
        self.norm4 = nn.LayerNorm(EMBEDDING)

    def forward(self, tokens: Tensor, image: Tensor, codes: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """`tokens` (B or 1, T, 256), `image` (B, N, 256); `codes` and `positions` are added where they are compared."""
        place = image + positions
        tokens = self.norm2(tokens + self.tokens_to_image(tokens + codes, place, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.image_to_tokens(place, tokens + codes, tokens))
        return tokens, image


class Mlp(nn.Module):
    """256 -> 2048 -> 256 with ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.lin1 = nn.Linear(EMBEDDING, INNER)
        self.lin2 = nn.Linear(INNER, EMBEDDING)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.lin2(functional.relu(self.lin1(x)))
        return y


class Attention(nn.Module):
    """Attention of `HEADS` heads that together are `inner` channels wide; (B, T, 256), (B, N, 256) -> (B, T, 256)."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.q = nn.Linear(EMBEDDING, inner)
        self.k = nn.Linear(EMBEDDING, inner)
        self.v = nn.Linear(EMBEDDING, inner)
        self.out = nn.Linear(inner, EMBEDDING)
        self.scale = (inner // HEADS) ** -0.5

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for layer, x in ((self.q, query), (self.k, key), (self.v, value))
        )
        share = torch.softmax((q * self.scale) @ k.transpose(2, 3), -1)
        mixed: Tensor = self.out((share @ v).transpose(1, 2).flatten(2))
        return mixed
