"""The tensors of MobileSAM's and SAM's published checkpoints: names and shapes, written from their descriptions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

Entry = tuple[str, tuple[int, ...]]


def _linear(name: str, outputs: int, inputs: int) -> Iterator[Entry]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, channels: int) -> Iterator[Entry]:
    yield f"{name}.weight", (channels,)
    yield f"{name}.bias", (channels,)


def _conv(name: str, *shape: int) -> Iterator[Entry]:
    """A convolution `c` and its batch norm `bn`."""
    yield f"{name}.c.weight", shape
    yield from _norm(f"{name}.bn", shape[0])
    yield f"{name}.bn.running_mean", (shape[0],)
    yield f"{name}.bn.running_var", (shape[0],)
    yield f"{name}.bn.num_batches_tracked", ()


def _neck(channels: int) -> Iterator[Entry]:
    yield "image_encoder.neck.0.weight", (256, channels, 1, 1)
    yield from _norm("image_encoder.neck.1", 256)
    yield "image_encoder.neck.2.weight", (256, 256, 3, 3)
    yield from _norm("image_encoder.neck.3", 256)


def _tiny_vit(blocks: Sequence[int]) -> Iterator[Entry]:
    root = "image_encoder"
    yield from _conv(f"{root}.patch_embed.seq.0", 32, 3, 3, 3)
    yield from _conv(f"{root}.patch_embed.seq.2", 64, 32, 3, 3)
    for block in range(2):
        name = f"{root}.layers.0.blocks.{block}"
        yield from _conv(f"{name}.conv1", 256, 64, 1, 1)
        yield from _conv(f"{name}.conv2", 256, 1, 3, 3)
        yield from _conv(f"{name}.conv3", 64, 256, 1, 1)
    for layer, (inputs, outputs) in enumerate(((64, 128), (128, 160), (160, 320))):
        name = f"{root}.layers.{layer}.downsample"
        yield from _conv(f"{name}.conv1", outputs, inputs, 1, 1)
        yield from _conv(f"{name}.conv2", outputs, 1, 3, 3)
        yield from _conv(f"{name}.conv3", outputs, outputs, 1, 1)
    for layer, channels, heads, window in ((1, 128, 4, 7), (2, 160, 5, 14), (3, 320, 10, 7)):
        for block in range(blocks[layer - 1]):
            name = f"{root}.layers.{layer}.blocks.{block}"
            yield f"{name}.attn.attention_biases", (heads, window * window)
            yield from _norm(f"{name}.attn.norm", channels)
            yield from _linear(f"{name}.attn.qkv", 3 * channels, channels)
            yield from _linear(f"{name}.attn.proj", channels, channels)
            yield from _conv(f"{name}.local_conv", channels, 1, 3, 3)
            yield from _norm(f"{name}.mlp.norm", channels)
            yield from _linear(f"{name}.mlp.fc1", 4 * channels, channels)
            yield from _linear(f"{name}.mlp.fc2", channels, 4 * channels)
    yield from _norm(f"{root}.norm_head", 320)
    yield from _linear(f"{root}.head", 1000, 320)
    yield from _neck(320)


def _vit(channels: int, depth: int, heads: int, every: int) -> Iterator[Entry]:
    root = "image_encoder"
    yield f"{root}.pos_embed", (1, 64, 64, channels)
    yield f"{root}.patch_embed.proj.weight", (channels, 3, 16, 16)
    yield f"{root}.patch_embed.proj.bias", (channels,)
    for block in range(depth):
        name, offsets = f"{root}.blocks.{block}", 127 if block % every == every - 1 else 27
        yield from _norm(f"{name}.norm1", channels)
        yield f"{name}.attn.rel_pos_h", (offsets, channels // heads)
        yield f"{name}.attn.rel_pos_w", (offsets, channels // heads)
        yield from _linear(f"{name}.attn.qkv", 3 * channels, channels)
        yield from _linear(f"{name}.attn.proj", channels, channels)
        yield from _norm(f"{name}.norm2", channels)
        yield from _linear(f"{name}.mlp.lin1", 4 * channels, channels)
        yield from _linear(f"{name}.mlp.lin2", channels, 4 * channels)
    yield from _neck(channels)


def _attention(name: str, inner: int) -> Iterator[Entry]:
    for part in "qkv":
        yield from _linear(f"{name}.{part}_proj", inner, 256)
    yield from _linear(f"{name}.out_proj", 256, inner)


def _prompts_and_masks() -> Iterator[Entry]:
    yield "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", (2, 128)
    for point in range(4):
        yield f"prompt_encoder.point_embeddings.{point}.weight", (1, 256)
    yield "prompt_encoder.not_a_point_embed.weight", (1, 256)
    yield "prompt_encoder.no_mask_embed.weight", (1, 256)
    for index, shape in ((0, (4, 1, 2, 2)), (1, (4,)), (3, (16, 4, 2, 2)), (4, (16,)), (6, (256, 16, 1, 1))):
        yield f"prompt_encoder.mask_downscaling.{index}.weight", shape
        yield f"prompt_encoder.mask_downscaling.{index}.bias", shape[:1]
    yield "mask_decoder.iou_token.weight", (1, 256)
    yield "mask_decoder.mask_tokens.weight", (4, 256)
    root = "mask_decoder.transformer"
    for layer in range(2):
        yield from _attention(f"{root}.layers.{layer}.self_attn", 256)
        yield from _attention(f"{root}.layers.{layer}.cross_attn_token_to_image", 128)
        yield from _attention(f"{root}.layers.{layer}.cross_attn_image_to_token", 128)
        yield from _linear(f"{root}.layers.{layer}.mlp.lin1", 2048, 256)
        yield from _linear(f"{root}.layers.{layer}.mlp.lin2", 256, 2048)
        for norm in range(1, 5):
            yield from _norm(f"{root}.layers.{layer}.norm{norm}", 256)
    yield from _attention(f"{root}.final_attn_token_to_image", 128)
    yield from _norm(f"{root}.norm_final_attn", 256)
    for index, shape in ((0, (256, 64, 2, 2)), (1, (64,)), (3, (64, 32, 2, 2))):
        yield f"mask_decoder.output_upscaling.{index}.weight", shape
        yield f"mask_decoder.output_upscaling.{index}.bias", (shape[1] if len(shape) > 1 else 64,)
    for number in range(4):
        for layer, (outputs, inputs) in enumerate(((256, 256), (256, 256), (32, 256))):
            yield from _linear(f"mask_decoder.output_hypernetworks_mlps.{number}.layers.{layer}", outputs, inputs)
    for layer, (outputs, inputs) in enumerate(((256, 256), (256, 256), (4, 256))):
        yield from _linear(f"mask_decoder.iou_prediction_head.layers.{layer}", outputs, inputs)


def mobile_sam_shapes(blocks: Sequence[int] = (2, 6, 2)) -> dict[str, tuple[int, ...]]:
    """Every tensor of mobile_sam.pt, or of one with other numbers of blocks in the stages of attention."""
    return dict([*_tiny_vit(blocks), *_prompts_and_masks()])


def sam_vit_shapes(
    channels: int = 1280, depth: int = 32, heads: int = 16, every: int = 8
) -> dict[str, tuple[int, ...]]:
    """Every tensor of sam_vit_h_4b8939.pth, or of a smaller SAM in its layout."""
    return dict([*_vit(channels, depth, heads, every), *_prompts_and_masks()])


def filled(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Seeded noise in the scale of a network that passes signals on; norms near one, variances above zero."""
    random = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=random)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(100)
        elif name.endswith("running_var"):
            state[name] = 1 + 0.5 * torch.tanh(noise)
        elif not shape:
            state[name] = noise
        elif len(shape) == 1:
            state[name] = 0.1 * noise + (1.0 if name.endswith("weight") else 0.0)
        elif (len(shape) == 2 and shape[0] <= 5) or "rel_pos" in name or "pos_embed" in name or "biases" in name:
            state[name] = noise
        else:
            state[name] = noise / noise[0].numel() ** 0.5
    return state
