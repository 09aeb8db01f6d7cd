"""CSAD as published: its counts, its losses against plain versions, its teacher's statistics, its checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from resnet_layouts import bottleneck_resnet
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgead_tools.backbones.resnet import ResNet, load_resnet
from edgead_tools.methods.csad.component_head import ComponentHead
from edgead_tools.methods.csad.paper_students import (
    CHANNELS,
    GlobalStudent,
    LocalStudent,
    PublishedCsad,
    Teacher,
    hardest,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_published_counts_of_parameters() -> None:
    parts = {
        "encoder": (ResNet("wide-resnet50-2"), 24_862_528),
        "head": (ComponentHead((256, 1024), 5), 9_237_861),
        "teacher": (Teacher(), 786_944),
        "local": (LocalStudent(), 9_452_800),
        "global": (GlobalStudent((256, 256)), 1_170_176),
    }
    assert {name: count(part) for name, (part, _) in parts.items()} == {name: n for name, (_, n) in parts.items()}


def gmac(module: nn.Module, *inputs: torch.Tensor) -> float:
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        module.to("meta").eval()(*(one.to("meta") for one in inputs))
    return counter.get_total_flops() / 2e9


def test_the_published_counts_of_operations() -> None:
    image = torch.empty(1, 3, 256, 256)
    stages = [torch.empty(1, 256, 64, 64), torch.empty(1, 512, 32, 32), torch.empty(1, 1024, 16, 16)]
    assert gmac(ResNet("wide-resnet50-2"), image) == pytest.approx(12.00, abs=0.01)
    assert gmac(ComponentHead((256, 1024), 5), stages[0], stages[2]) == pytest.approx(7.30, abs=0.02)
    assert gmac(LocalStudent(), image) == pytest.approx(69.02, abs=0.02)
    assert gmac(GlobalStudent((256, 256)), image) == pytest.approx(2.94, abs=0.01)


@pytest.mark.parametrize("side", [64, 96, 256])
def test_every_part_sees_the_same_grid(side: int) -> None:
    with torch.device("meta"):
        image = torch.empty(1, 3, side, side)
        network = PublishedCsad(ResNet("wide-resnet50-2"), (side, side), 4).eval()
        maps = network(image)
    assert maps["local"].shape == maps["global"].shape == (1, side // 4, side // 4)
    assert maps["components"].shape == (1, 4, side // 4, side // 4)


def test_a_torchvision_checkpoint_loads_strictly() -> None:
    state = bottleneck_resnet(1, torch.float16)
    network = PublishedCsad(load_resnet(state, "wide-resnet50-2"), (64, 64), 3)
    assert not any(parameter.requires_grad for parameter in network.encoder.parameters())
    assert torch.equal(network.encoder.stem.conv.weight, state["conv1.weight"].float())


def stages(images: int, seed: int = 0) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [
        torch.randn(images, channels, side, side, generator=random)
        for channels, side in ((256, 8), (512, 4), (1024, 2))
    ]


def test_the_teacher_is_standardized_over_the_images() -> None:
    torch.manual_seed(0)
    teacher = Teacher().eval()
    batches = [stages(3, seed) for seed in range(4)]
    with torch.no_grad():
        plain = torch.cat([teacher(batch) for batch in batches])
        mean = plain.mean((2, 3)).mean(0)
        deviation = (plain - mean[None, :, None, None]).square().mean((2, 3)).mean(0).sqrt()
        expected = (plain - mean[None, :, None, None]) / deviation[None, :, None, None]
        teacher.standardize(lambda: (teacher(batch) for batch in batches))
        found = torch.cat([teacher(batch) for batch in batches])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert found.shape == (12, CHANNELS, 8, 8)


def test_the_hardest_are_a_thousandth() -> None:
    errors = torch.rand(2, 5, 40, 50)
    expected = np.sort(errors.numpy().ravel())[-20:].mean()
    assert float(hardest(errors)) == pytest.approx(float(expected))
    assert float(hardest(torch.tensor([1.0, 3.0]))) == 3.0


def test_the_losses_are_the_published_ones() -> None:
    torch.manual_seed(1)
    network = PublishedCsad(load_resnet(bottleneck_resnet(1, torch.float32), "wide-resnet50-2"), (32, 32), 3).eval()
    plain, jittered = torch.randn(2, 2, 3, 32, 32)
    losses = network.losses(plain, jittered)
    with torch.no_grad():
        guess = network.wide(jittered)
        squares = (network.teach(plain) - network.local(plain)[0]) ** 2
        assert losses["local"].item() == pytest.approx(float(hardest(squares)), rel=1e-4)
        away = ((network.teach(jittered) - guess) ** 2).mean()
        assert losses["global"].item() == pytest.approx(float(away), rel=1e-4)
        apart = ((guess - network.local(jittered)[1]) ** 2).mean()
        assert losses["agreement"].item() == pytest.approx(float(apart), rel=1e-4)
    strange = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        nothing = (network.local(strange)[0] ** 2).mean()
    assert "penalty" not in losses
    assert network.losses(plain, jittered, strange)["penalty"].item() == pytest.approx(float(nothing), rel=1e-4)
    losses["agreement"].backward()
    for part in (network.wide.last, network.local.of_global):  # it teaches both
        assert all(parameter.grad is not None for parameter in part.parameters())
