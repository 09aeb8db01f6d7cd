"""The bottleneck ResNets: published checkpoints fit exactly, and the layers compute what their definition says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import published
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from edgead.errors import WeightsError
from edgead_tools.backbones.resnet import DEVIATION, MEAN, OUTPUTS, VARIANTS, ResNet, load_resnet, tensor_from

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = {"wide-resnet50-2": (24_862_528, 12.00), "resnext50-32x4d": (8_435_008, 4.39)}  # parameters, GMAC at 256


@pytest.fixture(scope="module")
def states() -> Iterator[dict[str, dict[str, Tensor]]]:
    made = {name: published.LAYOUTS[name]() for name in VARIANTS}
    yield made
    made.clear()


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_and_multiply_adds_are_the_published_ones(variant: str) -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = ResNet(variant).eval()
        stages = network(torch.empty(1, 3, 256, 256))
    parameters, multiply_adds = SIZES[variant]
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert counter.get_total_flops() / 2e9 == pytest.approx(multiply_adds, abs=0.005)
    assert [tuple(stage.shape) for stage in stages] == [(1, 256, 64, 64), (1, 512, 32, 32), (1, 1024, 16, 16)]


@pytest.mark.parametrize(("variant", "tensors"), [("wide-resnet50-2", 68_883_240), ("resnext50-32x4d", 25_028_904)])
def test_the_layout_written_for_tests_has_the_published_size(
    states: dict[str, dict[str, Tensor]], variant: str, tensors: int
) -> None:
    counted = {name: tensor for name, tensor in states[variant].items() if "running" not in name and tensor.ndim}
    assert sum(tensor.numel() for tensor in counted.values()) == tensors
    assert len(states[variant]) == 320


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_checkpoint_loads_by_name_and_is_cast(states: dict[str, dict[str, Tensor]], variant: str) -> None:
    state = states[variant]
    network = load_resnet(state, variant)
    own = network.state_dict()
    assert not network.training
    assert {tensor.dtype for tensor in own.values()} == {torch.float32, torch.int64}
    for name, key in {
        "stem.conv.weight": "conv1.weight",
        "stage1.0.shortcut.conv.weight": "layer1.0.downsample.0.weight",
        "stage2.3.filter.conv.weight": "layer2.3.conv2.weight",
        "stage3.5.widen.norm.weight": "layer3.5.bn3.weight",
        "stage3.0.narrow.conv.weight": "layer3.0.conv1.weight",
    }.items():
        assert torch.equal(own[name], state[key].float())


def test_a_checkpoint_without_counters_loads(states: dict[str, dict[str, Tensor]]) -> None:
    state = {name: tensor for name, tensor in states["resnext50-32x4d"].items() if tensor.ndim}
    assert len(state) == 267
    load_resnet(state, "resnext50-32x4d")


@pytest.mark.parametrize("damage", ["missing", "extra", "unknown", "shape", "the other network's"])
def test_a_checkpoint_that_does_not_fit_is_refused(states: dict[str, dict[str, Tensor]], damage: str) -> None:
    damaged = dict(states["resnext50-32x4d"])
    if damage == "missing":
        del damaged["layer3.2.conv2.weight"]
    elif damage == "extra":
        damaged["layer1.1.downsample.0.weight"] = torch.zeros(1)
    elif damage == "unknown":
        damaged["surprise"] = torch.zeros(1)
    elif damage == "shape":
        damaged["bn1.bias"] = torch.zeros(32)
    else:
        damaged = states["wide-resnet50-2"]
    with pytest.raises(WeightsError, match="the published resnext50-32x4d does not fit"):
        load_resnet(damaged, "resnext50-32x4d")


@torch.no_grad()
def test_the_features_are_what_torchs_functions_give_of_the_published_tensors(
    states: dict[str, dict[str, Tensor]],
) -> None:
    """The whole ResNeXt by its keys, without a module of ours."""
    state, image = states["resnext50-32x4d"], torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, weight, bias = (
            state[f"{name}.{entry}"] for entry in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt() * weight[:, None, None] + bias[
            :, None, None
        ]

    def block(x: Tensor, name: str, stride: int) -> Tensor:
        y = norm(functional.conv2d(x, state[f"{name}.conv1.weight"]), f"{name}.bn1").relu()
        y = functional.conv2d(y, state[f"{name}.conv2.weight"], stride=stride, padding=1, groups=32)
        y = norm(functional.conv2d(norm(y, f"{name}.bn2").relu(), state[f"{name}.conv3.weight"]), f"{name}.bn3")
        if f"{name}.downsample.0.weight" in state:
            shortcut = functional.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
            x = norm(shortcut, f"{name}.downsample.1")
        return (x + y).relu()

    x = norm(functional.conv2d(image, state["conv1.weight"], stride=2, padding=3), "bn1").relu()
    x = functional.max_pool2d(x, 3, 2, 1)
    for stage, found in enumerate(load_resnet(state, "resnext50-32x4d")(image), 1):
        for number in range((3, 4, 6)[stage - 1]):
            x = block(x, f"layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1)
        assert found.shape[1] == OUTPUTS[stage - 1]
        torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4)


def test_the_input_is_imagenets() -> None:
    image = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    expected = (image[..., ::-1] / 255 - MEAN) / DEVIATION
    np.testing.assert_allclose(tensor_from(torch.from_numpy(image)).numpy(), expected.transpose(0, 3, 1, 2), atol=1e-5)
