"""EfficientNet-Lite: the published weights fit exactly, and the features are the ones that classify."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from edgead.errors import WeightsError
from edgead_tools.backbones.efficientnet_lite import (
    EfficientNetLite,
    SameConv,
    block_shapes,
    load_efficientnet_lite,
    tensor_from,
)
from edgead_tools.backbones.weights import find, load_state

# Mean and standard deviation of each tap for `fixed_image`. Stored after the network with these weights had named
# 222 of 250 ImageNet photographs rightly (top-1 0.888); a wrong epsilon, padding or scaling moves every one of them.
REFERENCE = {
    2: (0.88697, 9.54785),
    4: (0.34512, 9.56964),
    7: (-0.10719, 8.64874),
    10: (-0.20515, 6.42099),
    14: (0.39792, 4.91044),
    15: (0.06346, 1.99331),
}


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return load_state(find("efficientnet-lite0"))


def fixed_image() -> Tensor:
    """Ramps of three slopes with a colored square, (1, 128, 128, 3) uint8 BGR."""
    y, x = np.mgrid[0:128, 0:128]
    image = np.stack([x * 2 % 256, y * 2 % 256, (x * 3 + y * 5) % 256], -1).astype(np.uint8)
    image[40:80, 50:90] = (30, 200, 90)
    return torch.from_numpy(image[None])


def test_taps_match_the_stored_activations(state: dict[str, Tensor]) -> None:
    network = load_efficientnet_lite(state, taps=tuple(REFERENCE))
    with torch.inference_mode():
        taps = network(tensor_from(fixed_image()))
    for block, (mean, deviation) in REFERENCE.items():
        assert taps[block].mean().item() == pytest.approx(mean, abs=3e-4)
        assert taps[block].std().item() == pytest.approx(deviation, rel=3e-4)


def test_the_default_trunk_ends_at_its_last_tap(state: dict[str, Tensor]) -> None:
    network = load_efficientnet_lite(state)
    assert not network.training
    assert len(network.blocks) == 11
    assert sum(parameter.numel() for parameter in network.parameters()) == 700_768
    with torch.inference_mode():
        taps = network(torch.zeros(2, 3, 64, 96))
    assert {block: tuple(tap.shape) for block, tap in taps.items()} == {
        2: (2, 24, 16, 24),
        4: (2, 40, 8, 12),
        10: (2, 112, 4, 6),
    }


def test_further_blocks_are_there_and_not_run(state: dict[str, Tensor]) -> None:
    network = load_efficientnet_lite(state, taps=(4, 10), further=1)
    assert len(network.blocks) == 12
    whole = load_efficientnet_lite(state, taps=(10, 11))
    image = tensor_from(fixed_image())
    with torch.inference_mode():
        taps = network(image)
        assert list(taps) == [4, 10]
        assert torch.equal(network.blocks[11](taps[10]), whole(image)[11])


def test_the_whole_network_has_its_published_size(state: dict[str, Tensor]) -> None:
    network = load_efficientnet_lite(state, classifier=True)
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_652_008
    assert network.classify(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)


@pytest.mark.parametrize(("variant", "size"), [("lite1", 5_416_680), ("lite2", 6_092_072)])
def test_the_larger_members_are_a_table_line(variant: str, size: int) -> None:
    assert len(block_shapes(variant)) == 21
    network = EfficientNetLite(variant, classifier=True)
    assert sum(parameter.numel() for parameter in network.parameters()) == size


@pytest.mark.parametrize("size", [15, 16])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2)])
def test_same_padding_puts_the_odd_pixel_last(size: int, kernel: int, stride: int) -> None:
    conv = SameConv(1, 1, kernel, stride, bias=False)
    image = torch.rand(1, 1, size, size)
    total = (-(-size // stride) - 1) * stride + kernel - size  # TensorFlow's definition
    padded = functional.pad(image, (total // 2, total - total // 2) * 2)
    assert torch.equal(conv(image), functional.conv2d(padded, conv.weight, stride=stride))
    assert conv(image).shape[2] == -(-size // stride)


@pytest.mark.parametrize("damage", ["missing", "extra", "shape"])
def test_a_checkpoint_that_does_not_fit_is_refused(state: dict[str, Tensor], damage: str) -> None:
    damaged = dict(state)
    if damage == "missing":
        del damaged["_blocks.3._bn1.weight"]
    elif damage == "extra":
        damaged["_blocks.0._expand_conv.weight"] = torch.zeros(1)  # the name is known, the network has no such layer
    else:
        damaged["_conv_stem.weight"] = torch.zeros(32, 3, 5, 5)
    with pytest.raises(WeightsError, match="does not fit"):
        load_efficientnet_lite(damaged)


def test_an_unknown_entry_is_refused(state: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="unknown entry 'surprise'"):
        load_efficientnet_lite({**state, "surprise": torch.zeros(1)})
