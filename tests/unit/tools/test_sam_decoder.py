"""SAM's decoder without prompts: its two layers against a plain version, image by image, and what is folded."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgead_tools.backbones.sam_decoder import Attention, ImageDecoder, TwoWayLayer

pytestmark = pytest.mark.usefixtures("one_thread")


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


@pytest.fixture(scope="module")
def decoder() -> ImageDecoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ImageDecoder().eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def linear(layer: nn.Linear, rows: np.ndarray) -> np.ndarray:
    return rows @ array(layer.weight).T + array(layer.bias)


def norm(layer: nn.LayerNorm, rows: np.ndarray) -> np.ndarray:
    assert layer.eps == 1e-5
    centered = rows - rows.mean(1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(1, keepdims=True) + 1e-5) * array(layer.weight) + array(layer.bias)


def attend(layer: Attention, query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Eight heads side by side; rows are tokens."""
    q, k, v = linear(layer.q, query), linear(layer.k, key), linear(layer.v, value)
    width = q.shape[1] // 8
    mixed = np.empty_like(q)
    for head in range(8):
        part = slice(head * width, (head + 1) * width)
        for i in range(len(q)):
            match = np.array([q[i, part] @ k[j, part] / math.sqrt(width) for j in range(len(k))])
            shares = np.exp(match - match.max())
            mixed[i, part] = (shares / shares.sum()) @ v[:, part]
    return linear(layer.out, mixed)


def positions(frequencies: np.ndarray, height: int, width: int) -> np.ndarray:
    rows = []
    for r in range(height):
        for c in range(width):
            u = np.array([(c + 0.5) / width, (r + 0.5) / height])
            phase = 2 * math.pi * ((2 * u - 1) @ frequencies)
            rows.append(np.concatenate([np.sin(phase), np.cos(phase)]))
    return np.array(rows)


def decode(decoder: ImageDecoder, embedding: np.ndarray) -> np.ndarray:
    """Section 4 for one image (256, h, w)."""
    height, width = embedding.shape[1:]
    place = positions(array(decoder.frequencies), height, width)
    keys = np.array([
        embedding[:, r, c] + array(decoder.no_mask)[0] for r in range(height) for c in range(width)
    ])  # fmt: skip
    q0 = np.concatenate([array(decoder.iou_token), array(decoder.mask_tokens)])
    queries = q0
    for index, layer in enumerate((decoder.layer0, decoder.layer1)):
        if index == 0:
            queries = attend(layer.among_tokens, queries, queries, queries)
        else:
            queries = queries + attend(layer.among_tokens, queries + q0, queries + q0, queries)
        queries = norm(layer.norm1, queries)
        queries = norm(layer.norm2, queries + attend(layer.tokens_to_image, queries + q0, keys + place, keys))
        hidden = np.maximum(linear(layer.mlp.lin1, queries), 0)
        queries = norm(layer.norm3, queries + linear(layer.mlp.lin2, hidden))
        keys = norm(layer.norm4, keys + attend(layer.image_to_tokens, keys + place, queries + q0, queries))
    return keys.T.reshape(256, height, width)


@pytest.mark.parametrize(("height", "width"), [(3, 3), (2, 5)])
def test_the_decoder_equals_the_plain_version_on_a_batch(decoder: ImageDecoder, height: int, width: int) -> None:
    embedding = torch.randn(3, 256, height, width, dtype=torch.float64)
    with torch.no_grad():
        found = copy.deepcopy(decoder).double()(embedding)
    expected = [decode(decoder, array(one)) for one in embedding]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


def test_folding_changes_nothing_but_what_is_computed_again(decoder: ImageDecoder) -> None:
    embedding = torch.randn(2, 256, 4, 6)
    other = ImageDecoder().eval()
    other.load_state_dict(decoder.state_dict())
    other.fold(4, 6)
    assert other.tokens is not None
    assert other.tokens.shape == (1, 5, 256)
    with torch.no_grad():
        torch.testing.assert_close(other(embedding), decoder(embedding), rtol=0, atol=1e-6)


def test_positions_are_those_of_the_grid_at_hand(decoder: ImageDecoder) -> None:
    for height, width in ((64, 64), (14, 20)):
        expected = positions(array(decoder.frequencies), height, width)
        np.testing.assert_allclose(decoder.grid(height, width)[0].numpy(), expected, atol=2e-4)


def test_its_layers_and_tokens_have_the_published_sizes() -> None:
    with torch.device("meta"):
        network = ImageDecoder()
    layers = [module for module in network.children() if isinstance(module, TwoWayLayer)]
    assert sum(parameter.numel() for layer in layers for parameter in layer.parameters()) == 3_159_040
    assert network.iou_token.numel() + network.mask_tokens.numel() + network.no_mask.numel() == 1536
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_159_040 + 1536


def test_every_parameter_is_trained(decoder: ImageDecoder) -> None:
    network = ImageDecoder()
    network(torch.randn(2, 256, 3, 3)).square().mean().backward()
    silent = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert silent == []
