"""Masked feature regeneration: masks of the asked-for rate, distances that survive FP16, a student that learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from edgead_tools.methods.ast_mfr.feature_regeneration import (
    Regeneration,
    StudentTeacher,
    cosine_distance,
    direction,
    random_mask,
)
from edgead_tools.methods.ast_mfr.paper import teach
from edgead_tools.training.loop import Optimizer
from edgead_tools.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def features(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@given(rate=st.floats(0, 0.99), seed=st.integers(0, 2**31), count=st.integers(1, 3), side=st.integers(16, 40))
@settings(deadline=None, max_examples=50)
def test_the_masking_rate_is_honored(rate: float, seed: int, count: int, side: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        mask = random_mask(torch.zeros(count, 5, side, side), rate)
    cells = count * side * side
    assert mask.shape == (count, 1, side, side)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    tolerance = 6 * (rate * (1 - rate) / cells) ** 0.5 + 1e-9  # six standard deviations of the share
    assert 1 - mask.mean().item() == pytest.approx(rate, abs=tolerance)


class Ones(nn.Module):
    """Features of 1 for three stages."""

    def forward(self, image: Tensor) -> list[Tensor]:
        return [image.new_ones(len(image), 4, 16 >> stage, 16 >> stage) for stage in range(3)]


def seen(regeneration: Regeneration, stage: Tensor) -> Tensor:
    """What reaches the first convolution."""
    inputs: list[Tensor] = []
    hook = regeneration.first.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    regeneration(stage)
    hook.remove()
    return inputs[0]


def test_one_mask_an_image_and_stage_for_all_channels() -> None:
    stages = Ones()(torch.zeros(8, 3, 64, 64))
    masked = [seen(Regeneration(4, 4, 0.5).train(), stage) for stage in stages]
    for each in masked:
        assert set(each.unique().tolist()) == {0.0, 1.0}  # nothing is scaled up
        assert torch.equal(each, each[:, :1].expand_as(each))
        assert all(not torch.equal(each[0], other) for other in each[1:])
    fine = masked[0][:, :1, ::2, ::2]
    assert not torch.equal(fine, masked[1][:, :1])


def test_masks_are_off_at_rest_and_at_rate_0() -> None:
    stage = features(0, 2, 4, 8, 8)
    assert torch.equal(seen(Regeneration(4, 6, 0.9).eval(), stage), stage)
    assert torch.equal(seen(Regeneration(4, 6, 0.0).train(), stage), stage)
    assert not torch.equal(seen(Regeneration(4, 6, 0.9).train(), stage), stage)


def plain_convolution(image: NDArray[np.float64], layer: nn.Conv2d) -> NDArray[np.float64]:
    """3x3, one row and column of zeros around, for one image (C, h, w)."""
    assert layer.bias is not None
    weight, bias = (tensor.detach().double().numpy() for tensor in (layer.weight, layer.bias))
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    output = np.empty((len(weight), *image.shape[1:]))
    for channel, y, x in np.ndindex(output.shape):
        output[channel, y, x] = (weight[channel] * padded[:, y : y + 3, x : x + 3]).sum() + bias[channel]
    return output


@torch.no_grad()
def test_the_regeneration_is_two_convolutions_and_a_relu() -> None:
    regeneration, stage = Regeneration(3, 5, 0.3).eval(), features(1, 2, 3, 4, 6)
    for image, found in zip(stage.double().numpy(), regeneration(stage).numpy(), strict=True):
        expected = plain_convolution(np.maximum(plain_convolution(image, regeneration.first), 0), regeneration.second)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def distance_of(one: Tensor, other: Tensor) -> Tensor:
    return cosine_distance(direction(one) - direction(other))


def plain_distance(one: Tensor, other: Tensor) -> NDArray[np.float64]:
    """1 - <a, b> cell by cell."""
    a, b = one.double().numpy(), other.double().numpy()
    distance = np.empty((len(a), *a.shape[2:]))
    for n, y, x in np.ndindex(distance.shape):
        u, v = a[n, :, y, x], b[n, :, y, x]
        distance[n, y, x] = 1 - (u / np.sqrt((u * u).sum())) @ (v / np.sqrt((v * v).sum()))
    return distance


def test_the_distance_is_the_distance_of() -> None:
    one, other = features(2, 2, 7, 3, 4), features(3, 2, 7, 3, 4) * 50
    np.testing.assert_allclose(distance_of(one, other).numpy(), plain_distance(one, other), atol=1e-5)


@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 1e4))
@settings(deadline=None, max_examples=50)
def test_the_distance_ignores_lengths_and_stays_in_its_range(seed: int, scale: float) -> None:
    one, other = features(seed, 1, 6, 3, 3), features(seed + 1, 1, 6, 3, 3)
    distance = distance_of(one, other)
    assert distance.min() >= 0
    assert distance.max() <= 2 + 1e-5
    torch.testing.assert_close(distance_of(one * scale, other), distance, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(distance_of(other, one), distance)


def test_features_of_zero_have_no_direction_and_a_finite_distance() -> None:
    one = torch.zeros(1, 4, 2, 2, requires_grad=True)
    distance = distance_of(one, features(4, 1, 4, 2, 2))
    torch.testing.assert_close(distance, torch.full((1, 2, 2), 0.5))
    distance.sum().backward()
    assert one.grad is not None
    assert torch.isfinite(one.grad).all()


def near_pair(channels: int, distance: float, length: float) -> tuple[Tensor, Tensor]:
    """Two fields of vectors of that length, (1, channels, 16, 16), at that cosine distance from each other."""
    one, across = features(5, 1, channels, 16, 16).double(), features(6, 1, channels, 16, 16).double()
    one = one / one.norm(dim=1, keepdim=True)
    across = across - (across * one).sum(1, keepdim=True) * one
    across = across / across.norm(dim=1, keepdim=True)
    cosine = 1 - distance
    return length * one, length * (cosine * one + (1 - cosine**2) ** 0.5 * across)


@pytest.mark.parametrize("length", [1.0, 75.0, 1500.0])
def test_in_half_precision_the_difference_keeps_what_1_minus_the_product_loses(length: float) -> None:
    """Section 10 of the specification: 1024 channels, a true distance of 2e-3, everything rounded to FP16."""
    one, other = (tensor.half() for tensor in near_pair(1024, 2e-3, length))
    found = distance_of(one, other)
    product = 1 - (direction(one) * direction(other)).sum(1)
    assert found.dtype == product.dtype == torch.float16
    kept, lost = ((tensor.double() - 2e-3).abs().mean().item() for tensor in (found, product))
    assert kept < 1e-5
    assert lost > 10 * kept


def test_in_half_precision_squares_stay_finite() -> None:
    long = torch.full((1, 1024, 2, 2), 40.0, dtype=torch.float16)  # length 1280: its square is beyond FP16
    assert torch.isinf((long * long).sum(1)).all()
    assert torch.isfinite(direction(long)).all()
    assert distance_of(long, long).abs().max() == 0


class Teacher(nn.Module):
    """Two stages of fixed convolutions."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first, self.second = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1)

    def forward(self, image: Tensor) -> list[Tensor]:
        first = self.first(image)
        return [first, self.second(first.relu())]


def pair(mask_rate: float = 0.0) -> StudentTeacher:
    return StudentTeacher(Teacher(0), Teacher(1), [Regeneration(6, 6, mask_rate), Regeneration(8, 8, mask_rate)])


def test_the_losses_are_twice_the_mean_distance_of_each_stage() -> None:
    network, image = pair().eval(), features(7, 2, 3, 16, 16)
    maps, losses = network(image), network.losses(image)
    assert list(maps) == list(losses) == ["stage1", "stage2"]
    for name, stage in zip(maps, range(2), strict=True):
        regenerated = network.regenerations[stage](network.student(image)[stage])
        expected = plain_distance(regenerated.detach(), network.teacher(image)[stage])
        np.testing.assert_allclose(maps[name].detach().numpy(), expected, atol=1e-5)
        assert losses[name].item() == pytest.approx(2 * expected.mean(), abs=1e-5)


def test_a_student_without_regenerations_learns_too(tmp_path: Path) -> None:
    network, image = StudentTeacher(Teacher(0), Teacher(1), [nn.Identity(), nn.Identity()]), features(8, 4, 3, 16, 16)
    with torch.no_grad():
        before = {name: loss.item() for name, loss in network.losses(image).items()}
    run = Run(tmp_path, steps=60, threads=1)
    teach(network, lambda step, random: network.losses(image), Optimizer(1e-2), run, steps_per_epoch=1)
    with torch.no_grad():
        assert all(loss.item() < 0.7 * before[name] for name, loss in network.losses(image).items())


def test_student_and_regenerations_learn_and_the_teacher_does_not() -> None:
    network, image = pair(0.3), features(8, 4, 3, 16, 16)
    network.student.train()
    before = {name: tensor.clone() for name, tensor in network.teacher.state_dict().items()}
    optimizer = torch.optim.Adam([one for one in network.parameters() if one.requires_grad], 1e-2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        seen = []
        for _ in range(60):
            total = torch.stack(list(network.losses(image).values())).sum()
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            seen.append(total.item())
    assert seen[-1] < 0.5 * seen[0]
    assert all(
        parameter.grad is not None
        for part in (network.student, network.regenerations)
        for parameter in part.parameters()
    )
    assert all(parameter.grad is None for parameter in network.teacher.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.teacher.state_dict().items())
    assert not network.teacher.training
