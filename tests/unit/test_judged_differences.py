"""AST-MFR's edge form: a standardised teacher, a student of a known cost, differences judged by what is usual."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import boards
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from edgead_tools.nets.efficientnet_lite import EfficientNetLite, load_efficientnet_lite, tensor_from
from edgead_tools.nets.feature_regeneration import Regeneration, StudentTeacher, cosine_distance
from edgead_tools.nets.judged_differences import JudgedDifferences, StandardisedTaps, judge_differences
from edgead_tools.nets.plain_resnet import PlainResNet
from edgead_tools.nets.residual_map import ResidualMap
from edgead_tools.weights import find, load_state

pytestmark = pytest.mark.usefixtures("one_thread")

CHANNELS = (24, 40, 112)  # of the teacher's taps at 1/4, 1/8 and 1/16


def batches(images: Tensor, size: int = 4) -> Callable[[], Iterable[Tensor]]:
    return lambda: images.split(size)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return tensor_from(torch.from_numpy(boards.boards(10)))


@pytest.fixture(scope="module")
def teacher(images: Tensor) -> StandardisedTaps:
    return StandardisedTaps(load_efficientnet_lite(load_state(find("efficientnet-lite0"))), batches(images))


@pytest.fixture
def pair(teacher: StandardisedTaps) -> StudentTeacher:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student = PlainResNet(8)
        channels = zip(student.channels, CHANNELS, strict=True)
        return StudentTeacher(teacher, student, [Regeneration(*each, 0.3) for each in channels]).eval()


@torch.no_grad()
def test_the_teachers_channels_are_standardised_over_good_images(teacher: StandardisedTaps, images: Tensor) -> None:
    assert tuple(teacher.channels) == CHANNELS
    for tap, channels in zip(teacher(images), CHANNELS, strict=True):
        torch.testing.assert_close(tap.mean((0, 2, 3)), torch.zeros(channels), rtol=0, atol=1e-4)
        torch.testing.assert_close(tap.std((0, 2, 3), correction=0), torch.ones(channels), rtol=1e-3, atol=0)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@torch.no_grad()
def test_the_students_stages_have_the_teachers_grids() -> None:
    stages = PlainResNet(8).eval()(torch.zeros(2, 3, 64, 96))
    assert [tuple(stage.shape) for stage in stages] == [(2, 8, 16, 24), (2, 16, 8, 12), (2, 32, 4, 6)]


@torch.no_grad()
def test_a_map_is_the_whitened_difference_against_what_is_usual(pair: StudentTeacher, images: Tensor) -> None:
    network, new = judge_differences(pair, batches(images)), images[:2] + 0.1
    for (name, found), judge, difference in zip(network(new).items(), network.maps, pair.differences(new), strict=True):
        assert isinstance(judge, ResidualMap)
        assert found.shape == (2, *difference.shape[2:])
        whitening, shift = judge.whitening[:, :, 0, 0].double().numpy(), judge.shift.double().numpy()
        expected = np.empty(found.shape)
        for n, y, x in np.ndindex(expected.shape):
            length = np.sqrt(np.mean((whitening @ difference[n, :, y, x].double().numpy() + shift) ** 2) + 1e-6)
            expected[n, y, x] = (length - judge.usual[y, x]) / judge.spread[y, x]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3, err_msg=name)


@torch.no_grad()
def test_without_whitening_and_statistics_the_map_is_the_published_distance(
    pair: StudentTeacher, images: Tensor
) -> None:
    """The length that is judged is the root of twice the cosine distance, over the root of the channels."""
    maps = []
    for channels, side in zip(CHANNELS, (16, 8, 4), strict=True):
        place = torch.zeros(side, side), torch.ones(side, side)
        maps.append(ResidualMap(torch.zeros(channels), torch.eye(channels), *place))
    for found, difference, channels in zip(
        JudgedDifferences(pair, maps)(images).values(), pair.differences(images), CHANNELS, strict=True
    ):
        expected = (2 * cosine_distance(difference) / channels + 1e-6).sqrt()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_parameters_and_multiply_adds_are_those_of_the_proposal() -> None:
    """Section 12 of the specification: 1.70 M and 0.94; whitening comes on top."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        trunk, student = EfficientNetLite("lite0").eval(), PlainResNet(32).eval()
        regenerations = [Regeneration(*each, 0.3).eval() for each in zip(student.channels, CHANNELS, strict=True)]
        image = torch.empty(1, 3, 256, 256)
        trunk(image)
        for regenerate, stage in zip(regenerations, student(image), strict=True):
            regenerate(stage)
    parts = (trunk, student, *regenerations)
    counts = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    assert counts[0] == 700_768
    assert sum(counts[1:2]) == pytest.approx(0.70e6, abs=5e3)
    assert sum(counts[2:]) == pytest.approx(0.29e6, abs=5e3)
    assert sum(counts) == 1_697_184
    assert counter.get_total_flops() / 2e9 == pytest.approx(0.94, abs=0.005)
