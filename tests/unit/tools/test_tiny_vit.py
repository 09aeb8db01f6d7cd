"""TinyViT: its size, its window attention against a plain version, and a stream that fits any image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgead_tools.backbones.neck import LayerNorm2d
from edgead_tools.backbones.tiny_vit import ConvBlock, TinyVit, WindowAttention

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def stirred(module: nn.Module) -> nn.Module:
    """With every parameter moved from where it starts, so that none can be forgotten."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module.eval()


def plain_norm(token: np.ndarray, norm: nn.LayerNorm) -> np.ndarray:
    centered = token - token.mean()
    return centered / math.sqrt((centered**2).mean() + norm.eps) * array(norm.weight) + array(norm.bias)


def plain_softmax(values: np.ndarray) -> np.ndarray:
    shares = np.exp(values - values.max())
    return shares / shares.sum()


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def plain_attention(image: np.ndarray, layer: WindowAttention, heads: int) -> np.ndarray:
    """Section 3, one window, one head and one token at a time; (H, W, C) -> (H, W, C)."""
    height, width, channels = image.shape
    w = layer.window
    padded = np.zeros((math.ceil(height / w) * w, math.ceil(width / w) * w, channels))
    padded[:height, :width] = image
    out = np.empty_like(padded)
    for top in range(0, padded.shape[0], w):
        for left in range(0, padded.shape[1], w):
            places = [(r, c) for r in range(w) for c in range(w)]
            tokens = [plain_norm(padded[top + r, left + c], layer.norm) for r, c in places]
            lines = [array(layer.qkv.weight) @ token + array(layer.qkv.bias) for token in tokens]
            mixed = np.zeros((len(places), channels))
            for head in range(heads):
                own = [line[96 * head : 96 * (head + 1)] for line in lines]  # q | k | v of this head, 32 each
                for i, (r, c) in enumerate(places):
                    match = [
                        own[i][:32] @ own[j][32:64] / math.sqrt(32)
                        + array(layer.table)[head, abs(r - y) * w + abs(c - x)]
                        for j, (y, x) in enumerate(places)
                    ]
                    shares = plain_softmax(np.array(match))
                    mixed[i, 32 * head : 32 * head + 32] = sum(
                        share * line[64:] for share, line in zip(shares, own, strict=True)
                    )
            for (r, c), token in zip(places, mixed, strict=True):
                out[top + r, left + c] = array(layer.proj.weight) @ token + array(layer.proj.bias)
    return out[:height, :width]


@pytest.mark.parametrize(("height", "width", "window"), [(6, 6, 3), (4, 7, 3), (2, 3, 4)])
def test_window_attention_equals_the_plain_version(height: int, width: int, window: int) -> None:
    layer = stirred(WindowAttention(64, window)).double()
    assert isinstance(layer, WindowAttention)
    image = torch.randn(2, height, width, 64, dtype=torch.float64)
    with torch.no_grad():
        found = layer(image)
        layer.fold()
        folded = layer(image)
    expected = [plain_attention(array(one), layer, heads=2) for one in image]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)
    assert torch.equal(found, folded)


def test_layer_norm_over_channels_equals_the_plain_version() -> None:
    norm = stirred(LayerNorm2d(6, 1e-6))
    assert isinstance(norm, LayerNorm2d)
    x = torch.randn(2, 6, 3, 4)
    found = array(norm(x))
    for b, r, c in np.ndindex(2, 3, 4):
        np.testing.assert_allclose(found[b, :, r, c], plain_norm(array(x)[b, :, r, c], norm), atol=1e-6)


def test_a_convolution_block_starts_as_the_activation_alone() -> None:
    x = torch.randn(1, 16, 5, 5)
    assert torch.equal(ConvBlock(16).eval()(x), nn.functional.gelu(x))


def test_a_stage_is_its_blocks_in_the_published_order() -> None:
    block = TinyVit().eval().stages[1].blocks[0]
    x = torch.randn(1, 8, 8, 128)
    with torch.no_grad():
        y = x + block.attention(x)
        y = block.local_conv.norm(block.local_conv.conv(y.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)  # no shortcut
        mlp = block.mlp
        y = y + mlp.fc2(nn.functional.gelu(mlp.fc1(mlp.norm(y)), approximate="none"))
        torch.testing.assert_close(block(x), y)


@pytest.mark.parametrize(("height", "width"), [(448, 448), (224, 320)])
def test_any_size_gives_a_sixteenth(height: int, width: int) -> None:
    with torch.device("meta"):
        assert TinyVit()(torch.zeros(2, 3, height, width)).shape == (2, 256, height // 16, width // 16)


def test_its_parts_have_the_published_sizes() -> None:
    with torch.device("meta"):
        network = TinyVit()
    assert sum(parameter.numel() for parameter in network.parameters()) == 5_743_892
    assert [len(stage.blocks) for stage in network.stages] == [2, 2, 6, 2]
    assert [tuple(stage.blocks[0].attention.table.shape) for stage in network.stages[1:]] == [
        (4, 49),
        (5, 196),
        (10, 49),
    ]
    strides = [stage.merge.conv2.conv.stride[0] for stage in network.stages[:3]]
    assert strides == [2, 2, 1]
    assert {module.eps for module in network.neck.modules() if isinstance(module, nn.LayerNorm)} == {1e-6}
    inside = [module for module in network.stages.modules() if isinstance(module, nn.LayerNorm | nn.BatchNorm2d)]
    assert {module.eps for module in inside} == {1e-5}


def test_random_weights_start_as_published() -> None:
    network = TinyVit()
    for module in network.modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert not module.bias.any()
        if isinstance(module, WindowAttention):
            assert not module.table.any()
