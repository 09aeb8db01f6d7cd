"""SAM's mask decoder as STLM uses it: the image side of its two-way transformer, without prompts (STLM 4).

Source: Segment Anything (arXiv 2304.02643, appendix A; Apache-2.0). Five learned tokens and the image's embedding
look at each other twice; what the tokens end as, and the masks made of it, are not computed. All images of a batch
go through at once. The positions are computed for the grid at hand.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.nets.neck import EMBEDDING

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
    (r"prompt_encoder\.(point_embeddings\.[0-3]|not_a_point_embed)\.weight", r"unused.\1"),
    (r"prompt_encoder\.mask_downscaling\.([01346])\.(weight|bias)", r"unused.mask_downscaling.\1.\2"),
    (
        r"mask_decoder\.transformer\.final_attn_token_to_image\.([qkv]|out)_proj\.(weight|bias)",
        r"unused.final_attention.\1.\2",
    ),
    (r"mask_decoder\.transformer\.norm_final_attn\.(weight|bias)", r"unused.final_norm.\1"),
    (r"mask_decoder\.output_upscaling\.([013])\.(weight|bias)", r"unused.output_upscaling.\1.\2"),
    (
        r"mask_decoder\.output_hypernetworks_mlps\.([0-3])\.layers\.([0-2])\.(weight|bias)",
        r"unused.hypernetworks.\1.\2.\3",
    ),
    (r"mask_decoder\.iou_prediction_head\.layers\.([0-2])\.(weight|bias)", r"unused.iou_head.\1.\2"),
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
        codes = torch.cat([self.iou_token, self.mask_tokens])[None]
        positions = self._positions(height, width) if self.positions is None else self.positions
        tokens = self._first_tokens() if self.tokens is None else self.tokens
        image = (embedding + self.no_mask[:, :, None, None]).flatten(2).transpose(1, 2)
        tokens, image = self.layer0(tokens, image, codes, positions)
        tokens = self.layer1.norm1(tokens + self.layer1.among_tokens(tokens + codes, tokens + codes, tokens))
        _, image = self.layer1(tokens, image, codes, positions)
        x: Tensor = image.transpose(1, 2).reshape(-1, EMBEDDING, height, width)
        return x

    def fold(self, height: int, width: int) -> None:
        """Make constants of what does not depend on the image, for a grid of height x width cells."""
        with torch.no_grad():
            self.positions, self.tokens = self._positions(height, width), self._first_tokens()

    def _positions(self, height: int, width: int) -> Tensor:
        """Sines and cosines of random frequencies over the centres of the cells, (1, height * width, 256)."""
        like = self.frequencies
        y = (torch.arange(height, dtype=like.dtype, device=like.device) + 0.5) / height
        x = (torch.arange(width, dtype=like.dtype, device=like.device) + 0.5) / width
        place = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1).reshape(-1, 2)
        phase = 2 * math.pi * ((2 * place - 1) @ like)
        return torch.cat([phase.sin(), phase.cos()], 1)[None]

    def _first_tokens(self) -> Tensor:
        """The tokens after the first attention among themselves, which has no code of position and no shortcut."""
        tokens = torch.cat([self.iou_token, self.mask_tokens])[None]
        first: Tensor = self.layer0.norm1(self.layer0.among_tokens(tokens, tokens, tokens))
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
