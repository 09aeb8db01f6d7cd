"""The tensors of DINOv2's ViT-S/14 and of FeatUp's stack for it: names and shapes, written from their descriptions."""

from __future__ import annotations

from collections.abc import Iterator

from sam_layouts import Entry


def _linear(name: str, outputs: int, inputs: int) -> Iterator[Entry]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, channels: int) -> Iterator[Entry]:
    yield f"{name}.weight", (channels,)
    yield f"{name}.bias", (channels,)


def _vit(depth: int) -> Iterator[Entry]:
    yield "cls_token", (1, 1, 384)
    yield "pos_embed", (1, 1370, 384)
    yield "mask_token", (1, 384)
    yield "patch_embed.proj.weight", (384, 3, 14, 14)
    yield "patch_embed.proj.bias", (384,)
    for block in range(depth):
        name = f"blocks.{block}"
        yield from _norm(f"{name}.norm1", 384)
        yield from _linear(f"{name}.attn.qkv", 1152, 384)
        yield from _linear(f"{name}.attn.proj", 384, 384)
        yield f"{name}.ls1.gamma", (384,)
        yield from _norm(f"{name}.norm2", 384)
        yield from _linear(f"{name}.mlp.fc1", 1536, 384)
        yield from _linear(f"{name}.mlp.fc2", 384, 1536)
        yield f"{name}.ls2.gamma", (384,)
    yield from _norm("norm", 384)


def _conv(name: str, outputs: int, inputs: int) -> Iterator[Entry]:
    yield f"{name}.weight", (outputs, inputs, 1, 1)
    yield f"{name}.bias", (outputs,)


def _jbu() -> Iterator[Entry]:
    for stage in range(1, 5):
        name = f"upsampler.up{stage}"
        yield f"{name}.range_temp", ()
        yield f"{name}.sigma_spatial", ()
        yield from _conv(f"{name}.range_proj.0", 32, 3)
        yield from _conv(f"{name}.range_proj.3", 32, 32)
        yield from _conv(f"{name}.fixup_proj.0", 49, 52)
        yield from _conv(f"{name}.fixup_proj.3", 49, 49)
    yield from _conv("upsampler.fixup_proj.1", 384, 384)


def dinov2_shapes(depth: int = 12) -> dict[str, tuple[int, ...]]:
    """Every tensor of dinov2_vits14_pretrain.pth, or of one with fewer blocks."""
    return dict(_vit(depth))


def featup_shapes() -> dict[str, tuple[int, ...]]:
    """Every tensor of dinov2_jbu_stack_cocostuff.ckpt."""
    return dict(_jbu())
