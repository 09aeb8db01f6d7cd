"""The feature aggregation: its layers, its size, and the gain that moves into its first weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgead_tools.methods.stlm.feature_aggregation import BasicBlock, FeatureAggregation, Pyramid

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def ready(module: nn.Module) -> nn.Module:
    """In eval mode with statistics that are not those it starts with."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 2)
    return module.eval()


def test_it_has_the_published_size_and_start() -> None:
    head = FeatureAggregation()
    assert sum(parameter.numel() for parameter in head.parameters()) == 1_870_465
    first = head.residual[0].conv1[0].weight
    assert first.std().item() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)  # fan-out, ReLU
    assert head.segment[1][0].weight.abs().max() <= (1 / (3 * 128 * 9)) ** 0.5  # torch's own
    assert head(torch.randn(2, 512, 5, 7)).shape == (2, 5, 7)


def test_a_basic_block_is_two_convolutions_and_a_shortcut() -> None:
    block = ready(BasicBlock(6, 4))
    x = torch.randn(2, 6, 5, 5)
    conv1, conv2, shortcut = block.conv1, block.conv2, block.shortcut
    y = conv1[1](functional.conv2d(x, conv1[0].weight, padding=1)).relu()
    y = conv2[1](functional.conv2d(y, conv2[0].weight, padding=1))
    torch.testing.assert_close(block(x), (y + shortcut[1](functional.conv2d(x, shortcut[0].weight))).relu())
    same = ready(BasicBlock(4, 4))
    assert isinstance(same.shortcut, nn.Identity)


def test_the_pyramid_sees_the_image_the_cell_and_its_surroundings() -> None:
    pyramid = ready(Pyramid())
    x = torch.randn(2, 128, 8, 6)
    image, cell, around = pyramid(x).split(128, 1)
    pooled = functional.adaptive_avg_pool2d(x, 1)
    pooled = pyramid.image[1](functional.conv2d(pooled, pyramid.image[0].weight)).relu()
    resized = functional.interpolate(pooled, (8, 6), mode="bilinear", align_corners=False)
    torch.testing.assert_close(image, resized)
    torch.testing.assert_close(cell, pyramid.cell[1](functional.conv2d(x, pyramid.cell[0].weight)).relu())
    wide = functional.conv2d(x, pyramid.around[0].weight, padding=3, dilation=3)
    torch.testing.assert_close(around, pyramid.around[1](wide).relu())


def test_folding_the_gain_changes_no_bit() -> None:
    head = ready(FeatureAggregation(8))
    x = torch.randn(2, 8, 6, 6)
    with torch.no_grad():
        before = head(x)
        head.fold()
        assert torch.equal(head(x), before)
        head.fold()  # once is enough
        assert torch.equal(head(x), before)
