"""AST-MFR's edge form: a standardized teacher, a student of a known cost, differences judged by what is usual."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import boards
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from edgead_tools.backbones.efficientnet_lite import EfficientNetLite, load_efficientnet_lite, tensor_from
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.layers.residual_map import ResidualMap
from edgead_tools.methods.ast_mfr.feature_differences import (
    SOFTNESS,
    RegeneratedTaps,
    StandardizedTaps,
    judge_differences,
    soften,
)
from edgead_tools.methods.ast_mfr.feature_regeneration import direction
from edgead_tools.methods.ast_mfr.student import PlainResNet

pytestmark = pytest.mark.usefixtures("one_thread")

CHANNELS = (24, 40, 112)  # of the teacher's taps at 1/4, 1/8 and 1/16


def batches(images: Tensor, size: int = 4) -> Callable[[], Iterable[Tensor]]:
    return lambda: images.split(size)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return tensor_from(torch.from_numpy(boards.boards(10)))


@pytest.fixture(scope="module")
def teacher(images: Tensor) -> StandardizedTaps:
    return StandardizedTaps(load_efficientnet_lite(load_state(find("efficientnet-lite0"))), batches(images))


@pytest.fixture
def pair(teacher: StandardizedTaps) -> RegeneratedTaps:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RegeneratedTaps(teacher, 8, 0.3).eval()


@torch.no_grad()
def test_the_teachers_channels_are_standardized_over_good_images(teacher: StandardizedTaps, images: Tensor) -> None:
    assert tuple(teacher.channels) == CHANNELS
    for tap, channels in zip(teacher(images), CHANNELS, strict=True):
        torch.testing.assert_close(tap.mean((0, 2, 3)), torch.zeros(channels), rtol=0, atol=1e-4)
        torch.testing.assert_close(tap.std((0, 2, 3), correction=0), torch.ones(channels), rtol=1e-3, atol=0)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@torch.no_grad()
def test_the_students_stages_have_the_teachers_grids() -> None:
    stages = PlainResNet(24, 8, 2).eval()(torch.zeros(2, 24, 16, 24))
    assert [tuple(stage.shape) for stage in stages] == [(2, 8, 8, 12), (2, 16, 4, 6)]


def softened(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector * np.sqrt((1 + SOFTNESS) / (np.mean(vector**2) + SOFTNESS))


@torch.no_grad()
def test_softening_is_the_plain_formula_of_every_cell() -> None:
    features = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0)) * 10
    found = soften(features).numpy()
    for n, y, x in np.ndindex(2, 3, 4):
        np.testing.assert_allclose(found[n, :, y, x], softened(features[n, :, y, x].double().numpy()), rtol=1e-5)


@torch.no_grad()
def test_softening_keeps_direction_and_order_of_length_and_bounds_it() -> None:
    features = torch.randn(1, 7, 1, 1, generator=torch.Generator().manual_seed(1))
    lengths = []
    for scale in (0.0, 0.1, 1.0, 10.0, 100.0):
        found = soften(scale * features)
        lengths.append(float(found.square().mean().sqrt()))
        torch.testing.assert_close(direction(found), direction(scale * features))
    assert lengths == sorted(set(lengths))
    assert lengths[-1] < np.sqrt(1 + SOFTNESS)
    unit = features / features.square().mean().sqrt()
    torch.testing.assert_close(soften(unit), unit)  # what is as long as features of good parts usually are


@torch.no_grad()
def test_softening_holds_in_half_precision() -> None:
    features = torch.randn(1, 112, 2, 2, generator=torch.Generator().manual_seed(2)) * 60
    torch.testing.assert_close(soften(features.half()).float(), soften(features), rtol=5e-3, atol=5e-3)


@torch.no_grad()
def test_losses_are_the_plain_formulas(pair: RegeneratedTaps, images: Tensor) -> None:
    losses = pair.losses(images[:2])
    assert list(losses) == ["fine_cos", "fine_l2", "coarse_cos", "coarse_l2"]
    for name, level in zip(("fine", "coarse"), pair.levels(images[:2]), strict=True):
        found, target = (side.permute(0, 2, 3, 1).flatten(0, 2).double().numpy() for side in level)
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(target, axis=1)
        cosine = 1 - (found * target).sum(1) / lengths
        squares = [np.mean((softened(a) - softened(b)) ** 2) for a, b in zip(found, target, strict=True)]
        assert float(losses[f"{name}_cos"]) == pytest.approx(cosine.mean(), rel=1e-4)
        assert float(losses[f"{name}_l2"]) == pytest.approx(np.mean(squares), rel=1e-4)


def test_only_student_and_regenerations_learn(pair: RegeneratedTaps, images: Tensor) -> None:
    torch.stack(list(pair.losses(images[:2]).values())).sum().backward()  # type: ignore[no-untyped-call]
    learned = {name.split(".")[0] for name, parameter in pair.named_parameters() if parameter.grad is not None}
    assert learned == {"student", "regenerations"}


@torch.no_grad()
def test_a_map_is_the_whitened_difference_against_what_is_usual(pair: RegeneratedTaps, images: Tensor) -> None:
    folds = np.arange(len(images)) % 2
    (network, out_of_fold), new = judge_differences(pair, batches(images), folds), images[:2] + 0.1
    assert {name: len(maps) for name, maps in out_of_fold.items()} == {"stacked": len(images), "coarse": len(images)}
    for (name, found), difference in zip(network(new).items(), pair.differences(new), strict=True):
        judge = network.get_submodule(name)
        assert isinstance(judge, ResidualMap)
        assert found.shape == (2, *difference.shape[2:])
        whitening, shift = judge.whitening[:, :, 0, 0].double().numpy(), judge.shift.double().numpy()
        expected = np.empty(found.shape)
        for n, y, x in np.ndindex(expected.shape):
            length = np.sqrt(np.mean((whitening @ difference[n, :, y, x].double().numpy() + shift) ** 2) + 1e-6)
            expected[n, y, x] = (length - judge.usual[y, x]) / judge.spread[y, x]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3, err_msg=name)


@torch.no_grad()
def test_the_stacked_difference_has_both_levels_at_the_fine_grid(pair: RegeneratedTaps, images: Tensor) -> None:
    stacked, coarse = pair.differences(images[:2])
    assert (stacked.shape, coarse.shape) == ((2, 152, 8, 8), (2, 112, 4, 4))
    fine = soften(pair.levels(images[:2])[0][0]) - soften(pair.levels(images[:2])[0][1])
    torch.testing.assert_close(stacked[:, :40, 3, 5], fine[:, :, 2:5, 4:7].mean((2, 3)))
    torch.testing.assert_close(stacked[:, 40:, 0, 0], coarse[:, :, 0, 0])


def test_parameters_and_multiply_adds_are_those_the_readme_names() -> None:
    """Whitening comes on top, 0.03 GMAC."""
    with torch.random.fork_rng(), torch.no_grad():
        taps = StandardizedTaps(EfficientNetLite("lite0").eval(), lambda: [torch.randn(2, 3, 64, 64)])
        network = RegeneratedTaps(taps, 64, 0.3).eval()
        with FlopCounterMode(display=False) as counter:
            network.differences(torch.zeros(1, 3, 256, 256))
    parts = (network.taps, network.student, network.regenerations)
    counts = [sum(parameter.numel() for parameter in part.parameters()) for part in parts]
    assert counts == [700_768, 652_160, 279_664]
    assert counter.get_total_flops() / 2e9 == pytest.approx(0.68, abs=0.005)
