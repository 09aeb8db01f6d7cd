"""MobileSAM and SAM: checkpoints fit exactly or are refused, and ViT's attention is the published one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sam_layouts
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead.errors import WeightsError
from edgead_tools.backbones.keymap import Loaded
from edgead_tools.backbones.sam import Sam, load_mobile_sam, load_sam_vit_h, tensor_from
from edgead_tools.backbones.sam_vit import Attention, SamVit, TransformerBlock, _between

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"channels": 32, "depth": 4, "heads": 2, "every": 2}


@pytest.fixture(scope="module")
def mobile() -> dict[str, Tensor]:
    return sam_layouts.filled(sam_layouts.mobile_sam_shapes())


@pytest.fixture(scope="module")
def small() -> dict[str, Tensor]:
    return sam_layouts.filled(sam_layouts.sam_vit_shapes(**SMALL))


def test_the_layout_is_mobile_sams() -> None:
    shapes = sam_layouts.mobile_sam_shapes()
    counted = [math.prod(shape) for name, shape in shapes.items() if not name.endswith(("_mean", "_var", "_tracked"))]
    assert len(shapes) == 439
    assert sum(counted) - 2 * 128 == 10_130_092  # the frequencies are a buffer


def test_mobile_sam_loads_and_every_tensor_is_where_it_belongs(mobile: dict[str, Tensor]) -> None:
    sam, loaded = load_mobile_sam(mobile)
    assert not sam.training
    own = sam.state_dict()
    assert loaded == Loaded(tensors=len(own), unused=439 - len(own))
    block, layer = sam.encoder.stages[2].blocks[5], sam.decoder.layer1
    pairs = {
        "image_encoder.patch_embed.seq.2.bn.running_mean": sam.encoder.patch[2].norm.running_mean,
        "image_encoder.layers.0.blocks.1.conv2.c.weight": sam.encoder.stages[0].blocks[1].conv2.conv.weight,
        "image_encoder.layers.1.downsample.conv3.bn.bias": sam.encoder.stages[1].merge.conv3.norm.bias,
        "image_encoder.layers.2.blocks.5.attn.attention_biases": block.attention.table,
        "image_encoder.layers.2.blocks.5.attn.qkv.bias": block.attention.qkv.bias,
        "image_encoder.layers.2.blocks.5.local_conv.bn.running_var": block.local_conv.norm.running_var,
        "image_encoder.layers.2.blocks.5.mlp.fc2.weight": block.mlp.fc2.weight,
        "image_encoder.neck.3.bias": sam.encoder.neck[3].bias,
        "prompt_encoder.no_mask_embed.weight": sam.decoder.no_mask,
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": sam.decoder.frequencies,
        "mask_decoder.mask_tokens.weight": sam.decoder.mask_tokens,
        "mask_decoder.transformer.layers.1.self_attn.v_proj.bias": layer.among_tokens.v.bias,
        "mask_decoder.transformer.layers.1.cross_attn_image_to_token.out_proj.weight": layer.image_to_tokens.out.weight,
        "mask_decoder.transformer.layers.1.norm4.weight": layer.norm4.weight,
    }
    for name, tensor in pairs.items():
        assert torch.equal(tensor, mobile[name]), name


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"image_encoder.layers.1.blocks.0.attn.qkv.bias": None}, "missing encoder.stages.1.blocks.0.attention.qkv"),
        ({"image_encoder.layers.1.blocks.2.attn.qkv.bias": (384,)}, "not expected encoder.stages.1.blocks.2"),
        ({"mask_decoder.iou_token.weight": None, "mask_decoder.iou_tokens.weight": (1, 256)}, "unknown entry"),
        ({"mask_decoder.iou_prediction_head.layers.3.weight": (4, 256)}, "unknown entry"),
        ({"image_encoder.layers.2.blocks.3.attn.attention_biases": (5, 49)}, "other shapes for encoder.stages.2"),
        ({"surprise": (1,)}, "unknown entry 'surprise'"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(
    mobile: dict[str, Tensor], change: dict[str, tuple[int, ...] | None], match: str
) -> None:
    damaged = dict(mobile)
    for name, shape in change.items():
        if shape is None:
            del damaged[name]
        else:
            damaged[name] = torch.zeros(shape)
    with pytest.raises(WeightsError, match=match):
        load_mobile_sam(damaged)


def test_sams_vit_loads_in_its_layout(small: dict[str, Tensor]) -> None:
    sam, loaded = load_sam_vit_h(small, SamVit(**SMALL))
    assert loaded.tensors == len(sam.state_dict())
    assert loaded.tensors + loaded.unused == len(small)
    block = sam.encoder.blocks[3]
    assert torch.equal(block.attention.offsets_w, small["image_encoder.blocks.3.attn.rel_pos_w"])
    assert torch.equal(block.lin2.weight, small["image_encoder.blocks.3.mlp.lin2.weight"])
    with pytest.raises(WeightsError, match=r"missing encoder\.positions"):
        load_sam_vit_h({name: tensor for name, tensor in small.items() if "pos_embed" not in name}, SamVit(**SMALL))
    with pytest.raises(WeightsError, match="does not fit"):
        load_mobile_sam(small)


def test_vit_h_has_the_published_size_and_layout() -> None:
    with torch.device("meta"):
        encoder = SamVit()
        state = {name: torch.zeros(shape) for name, shape in sam_layouts.sam_vit_shapes().items()}
        sam, loaded = load_sam_vit_h(state, encoder)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 637_026_048
    assert loaded.tensors == len(sam.state_dict())
    assert [index for index, block in enumerate(encoder.blocks) if block.window is None] == [7, 15, 23, 31]


@pytest.mark.parametrize("size", [1024, 448])
def test_the_teacher_fits_any_size(size: int) -> None:
    with torch.device("meta"):
        for encoder in (SamVit(), SamVit(**SMALL)):
            assert encoder(torch.zeros(1, 3, size, size)).shape == (1, 256, size // 16, size // 16)


def plain_attention(image: np.ndarray, layer: Attention, heads: int) -> np.ndarray:
    """All tokens (H, W, C) to each other, token by token, with <q, R_h> + <q, R_w>."""
    height, width, channels = image.shape
    w = {name: tensor.double().numpy() for name, tensor in layer.state_dict().items()}
    c = channels // heads
    places = list(np.ndindex(height, width))
    lines = [(w["qkv.weight"] @ image[place] + w["qkv.bias"]).reshape(3, heads, c) for place in places]
    out = np.empty_like(image)
    for i, (row, column) in enumerate(places):
        mixed = np.zeros((heads, c))
        for head in range(heads):
            q = lines[i][0, head]
            match = np.array([
                q @ lines[j][1, head] / math.sqrt(c)
                + q @ w["offsets_h"][row - y + height - 1]
                + q @ w["offsets_w"][column - x + width - 1]
                for j, (y, x) in enumerate(places)
            ])  # fmt: skip
            shares = np.exp(match - match.max())
            mixed[head] = sum(s * line[2, head] for s, line in zip(shares / shares.sum(), lines, strict=True))
        out[row, column] = w["proj.weight"] @ mixed.ravel() + w["proj.bias"]
    return out


def stirred(module: nn.Module) -> nn.Module:
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in module.parameters():
            parameter.copy_(0.4 * torch.randn_like(parameter))
    return module.eval()


def test_attention_with_relative_positions_equals_the_plain_version() -> None:
    layer = stirred(Attention(12, 2, 4)).double()
    x = torch.randn(2, 4, 4, 12, dtype=torch.float64)
    with torch.no_grad():
        found = layer(x)
    expected = [plain_attention(one.double().numpy(), layer, 2) for one in x]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)


def test_windows_are_padded_after_the_norm() -> None:
    """A block of 14-token windows on a smaller map: the padding is zero where keys are made, and is cropped."""
    block = stirred(TransformerBlock(8, 2, 14))
    x = torch.randn(1, 5, 6, 8)
    with torch.no_grad():
        normed = functional.layer_norm(x, (8,), block.norm1.weight, block.norm1.bias, 1e-6)
        padded = torch.zeros(1, 14, 14, 8)
        padded[:, :5, :6] = normed
        y = x + block.attention(padded)[:, :5, :6]
        z = functional.layer_norm(y, (8,), block.norm2.weight, block.norm2.bias, 1e-6)
        expected = y + block.lin2(functional.gelu(block.lin1(z)))
        torch.testing.assert_close(block(x), expected)


def test_relative_positions_are_interpolated_between_their_ends() -> None:
    offsets = torch.arange(-63.0, 64.0)[:, None].expand(-1, 3)
    same = _between(offsets, 64)[:, :, 0]
    assert torch.equal(same, torch.arange(64.0)[:, None] - torch.arange(64.0))
    fewer = _between(offsets, 28)[:, :, 1]
    scale = 127 / 55  # half-pixel centers: offset d of 55 lies at d * 127 / 55 of 127
    torch.testing.assert_close(fewer, (torch.arange(28.0)[:, None] - torch.arange(28.0)) * scale, rtol=0, atol=1e-3)


def test_sam_gives_the_embedding_and_the_decoders(mobile: dict[str, Tensor]) -> None:
    sam, _ = load_mobile_sam(mobile)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        embedding, decoded = sam(image)
        assert torch.equal(embedding, sam.encoder(image))
        assert torch.equal(decoded, sam.decoder(embedding))
    assert isinstance(sam, Sam)
    assert embedding.shape == decoded.shape == (1, 256, 4, 6)


def test_pixels_are_normalized_in_rgb() -> None:
    blue, green, red = 10, 100, 200
    found = tensor_from(torch.tensor([blue, green, red], dtype=torch.uint8).expand(1, 2, 2, 3))
    expected = [(red - 123.675) / 58.395, (green - 116.28) / 57.12, (blue - 103.53) / 57.375]
    torch.testing.assert_close(found[0, :, 0, 1], torch.tensor(expected))
