"""The memory map against plain numpy: the choice of patches, distances by region, and what other folds say."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgead_calibration.tails import find_outliers
from edgead_tools.layers import memory_map
from edgead_tools.layers.memory_map import (
    average_taps,
    find_places,
    fit_memory_map,
    pool_taps,
    turned_ratio,
)
from edgead_tools.layers.patches import choose_patches, take
from edgead_tools.layers.projection import COMPONENTS, fit_projection, project
from edgead_tools.layers.regions import MARGIN, Layout

pytestmark = pytest.mark.usefixtures("one_thread")

CHANNELS = (5, 7)  # of the taps at 1/8 and 1/16


def taps(count: int, cells: int = 8, seed: int = 0, spread: float = 0.3) -> tuple[Tensor, Tensor]:
    """Taps of parts that lie still: every cell has a look of its own and differs a little from part to part."""
    random = torch.Generator().manual_seed(7)
    looks = [
        torch.randn(1, channels, side, side, generator=random)
        for channels, side in zip(CHANNELS, (2 * cells, cells), strict=True)
    ]
    random.manual_seed(seed)
    fine, coarse = (look + spread * torch.randn(count, *look.shape[1:], generator=random) for look in looks)
    return fine, coarse


def halves(count: int) -> list[Tensor]:
    return [torch.arange(start, count, 2) for start in range(2)]


def nearest(query: NDArray[np.float64], patches: NDArray[np.float64]) -> float:
    return float(((query - patches) ** 2).sum(1).min())


@pytest.mark.parametrize(("height", "width", "expected"), [(16, 16, (4, 4)), (6, 10, (3, 2)), (5, 7, (1, 1))])
def test_regions_divide_the_picture_evenly(height: int, width: int, expected: tuple[int, int]) -> None:
    layout = Layout.dividing(height, width)
    assert (layout.rows, layout.columns) == expected
    cells = torch.arange(2 * height * width, dtype=torch.float32).reshape(2, 1, height, width)
    gathered = layout.gather(cells)
    assert gathered.shape == (2, layout.regions, height * width // layout.regions, 1)
    assert torch.equal(layout.scatter(gathered[..., 0], height, width), cells[:, 0])


def test_a_region_has_the_patches_around_it() -> None:
    numbers = torch.arange(64.0).reshape(1, 1, 8, 8)
    corner, *_ = Layout(4, 4).surroundings(numbers)
    assert sorted(corner.flatten().tolist()) == [0, 1, 2, 8, 9, 10, 16, 17, 18]  # 2 x 2 cells and a margin of one
    assert MARGIN == 1


@pytest.mark.parametrize("places", [True, False])
def test_distances_are_those_to_the_nearest_patch(places: bool) -> None:
    fine, coarse = taps(6)
    fitted = fit_memory_map(pool_taps(fine, coarse), 20, halves(6), places=places, seed=3)
    layout = Layout(4, 4) if places else Layout(1, 1)
    assert fitted.map.patches.shape[0] == layout.regions
    new = taps(2, seed=9)
    found = fitted.map.distances(pool_taps(*new)).numpy()
    pooled = pool_taps(*new)
    query = project(pooled, fit_projection(pool_taps(fine, coarse))).double().numpy()
    patches = (-0.5 * fitted.map.patches[:, :-1]).transpose(1, 2).double().numpy()
    for image, row, column in ((0, 0, 0), (0, 3, 5), (1, 7, 7), (1, 4, 2)):
        region = (row // 2) * 4 + column // 2 if places else 0
        expected = nearest(query[image, :, row, column], patches[region])
        assert found[image, row, column] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_the_projection_keeps_distances_of_standardized_channels() -> None:
    cells = pool_taps(*taps(5))
    assert cells.shape[1] < COMPONENTS  # so that nothing is cut off
    rows = cells.permute(0, 2, 3, 1).reshape(-1, cells.shape[1]).double()
    standard = (rows - rows.mean(0)) / rows.std(0, correction=0)
    projected = project(cells, fit_projection(cells)).permute(0, 2, 3, 1).reshape(len(rows), -1).double()
    expected = ((standard[0] - standard[1:9]) ** 2).sum(1)
    assert torch.allclose(((projected[0] - projected[1:9]) ** 2).sum(1), expected, rtol=1e-4)


def test_no_image_is_judged_by_a_memory_that_holds_it() -> None:
    fine, coarse = taps(8)
    fitted = fit_memory_map(pool_taps(fine, coarse), 10_000, halves(8), places=True)
    held = fitted.map.distances(pool_taps(fine, coarse))
    assert held.median() < 1e-2  # the memory holds every patch, of which few cost something
    assert fitted.left_out.mean().abs() < 0.1  # by memories of the other fold they are what is usual
    assert 0.5 < float(fitted.left_out.std()) < 1.5
    first = fitted.first.distances(pool_taps(fine[1::2], coarse[1::2]))
    assert first.median() < 1e-2  # the first fold is left out, the second is held


def test_parts_that_lie_still_have_patches_by_region_and_moving_ones_have_not() -> None:
    fine, coarse = taps(10)
    still = fit_memory_map(pool_taps(fine, coarse), 16, halves(10))
    random = np.random.default_rng(0)
    places = [(4 * int(down), 4 * int(across)) for down, across in random.integers(0, 4, (10, 2))]
    moved = [
        torch.stack([torch.roll(one, (k * down // 2, k * across // 2), (1, 2)) for one, (down, across) in
                     zip(level, places, strict=True)])
        for level, k in ((fine, 2), (coarse, 1))
    ]  # fmt: skip
    moving = fit_memory_map(pool_taps(*moved), 40, halves(10))
    assert still.map.layout.regions == 16
    assert still.still < 1
    assert moving.map.layout.regions == 1
    assert moving.still > 1
    assert torch.all(moving.map.usual == moving.map.usual[0, 0])  # no place has a usual value of its own
    assert find_places(pool_taps(fine, coarse), 16, halves(10)) == (True, still.still)
    assert find_places(pool_taps(*moved), 40, halves(10)) == (False, moving.still)


def test_what_no_good_part_shows_stands_out_where_it_is() -> None:
    fitted = fit_memory_map(pool_taps(*taps(12)), 64, halves(12))
    fine, coarse = taps(1, seed=5)
    coarse[0, :, 3, 6] += 4.0
    found = fitted.map(pool_taps(fine, coarse))[0]
    assert divmod(int(found.argmax()), 8) == (3, 6)
    assert found[3, 6] > 5


def test_regions_with_fewer_patches_repeat_theirs() -> None:
    cells = torch.arange(2 * 64.0).reshape(2, 1, 8, 8)
    patches, cost = take(cells, choose_patches(cells, Layout(4, 4), 1000, torch.Generator()))
    assert cost.abs().max() == 0
    assert patches.shape == (16, 32, 1)  # a region inside has 4 x 4 cells of two pictures, one in a corner 3 x 3
    assert set(patches[0].flatten().tolist()) == set(cells[:, 0, :3, :3].flatten().tolist())


@pytest.mark.parametrize("places", [True, False])
def test_a_defect_in_one_good_image_does_not_become_a_good_part(places: bool) -> None:
    fine, coarse = taps(12)
    coarse[4, :, 3, 6] += 4.0  # of the good images one is none
    fitted = fit_memory_map(pool_taps(fine, coarse), 10_000, halves(12), places=places)
    assert divmod(int(fitted.left_out[4].argmax()), 8) == (3, 6)
    shown = fitted.map(pool_taps(fine[4:5], coarse[4:5]))[0]
    assert divmod(int(shown.argmax()), 8) == (3, 6)  # though the memory holds this very patch
    assert shown[3, 6] > 3


def defects(count: int) -> Tensor:
    """What defects of one kind add to cells: much, and a little of their own."""
    return 3 + 0.6 * torch.randn(count, sum(CHANNELS), 2, 2, generator=torch.Generator().manual_seed(5))


def test_defects_that_are_alike_in_several_good_images_do_not_hide_each_other() -> None:
    cells, bad = pool_taps(*taps(80)), [3, 18, 22, 37, 41, 64]
    cells[bad, :, 2:4, 5:7] += defects(len(bad))
    folds = [torch.arange(start, 80, 5) for start in range(5)]
    hidden = fit_memory_map(cells, 24, folds, places=True)
    found = fit_memory_map(cells, 24, folds, places=True, doubts=True)
    assert sorted(found.strange.tolist()) == bad
    assert hidden.strange.tolist() == []
    query = pool_taps(*taps(4, seed=9))
    query[:, :, 2:4, 5:7] += 3.0
    levels = [float(one.map(query)[:, 2:4, 5:7].mean()) for one in (hidden, found)]
    assert levels[1] > 2 * levels[0]


def test_strange_images_are_found_where_those_of_their_part_are_divided() -> None:
    """Parts in ten pictures each, of which one has a defect: by whole parts the difference of parts drowns it."""
    fine, coarse = taps(80, spread=0.1)
    parts = torch.randn(8, 7, 8, 8, generator=torch.Generator().manual_seed(4)).repeat_interleave(10, 0)
    cells, bad = pool_taps(fine, coarse + 2 * parts), [4, 15, 33, 68]
    cells[bad, :, 2:4, 5:7] += defects(len(bad))
    folds = [torch.arange(start, start + 20) for start in range(0, 80, 20)]
    found = fit_memory_map(cells, 64, folds, places=True, doubts=True, divided=halves(80))
    assert sorted(found.strange.tolist()) == bad


def test_images_that_are_strange_by_something_else_are_believed_less() -> None:
    cells, told = pool_taps(*taps(80)), [5, 50]
    folds = [torch.arange(start, 80, 5) for start in range(5)]
    found = fit_memory_map(cells, 24, folds, places=True, doubts=True, suspects=torch.tensor(told))
    assert sorted(found.strange.tolist()) == told
    assert fit_memory_map(cells, 24, folds, places=True, suspects=torch.tensor(told)).strange.tolist() == []


def test_good_images_are_not_doubted() -> None:
    cells = pool_taps(*taps(80))
    folds = [torch.arange(start, 80, 5) for start in range(5)]
    assert fit_memory_map(cells, 24, folds, places=True, doubts=True).strange.tolist() == []


@pytest.mark.parametrize(("bad", "told", "counted"), [([], [], False), ([], [5], True), ([3], [], True)])
def test_how_many_are_strange_tells_something_only_where_bad_parts_show_by_other_means(
    monkeypatch: pytest.MonkeyPatch, bad: list[int], told: list[int], counted: bool
) -> None:
    asked = []

    def recording(scores: NDArray[np.float64], *, by_number: bool = True) -> list[int]:
        asked.append(by_number)
        return find_outliers(scores, by_number=by_number)

    monkeypatch.setattr(memory_map, "find_outliers", recording)
    cells = pool_taps(*taps(80))
    cells[bad, :, 2:4, 5:7] += 3.0
    folds = [torch.arange(start, 80, 5) for start in range(5)]
    fit_memory_map(cells, 24, folds, places=True, doubts=True, suspects=torch.tensor(told, dtype=torch.long))
    assert asked[-1] is counted


def test_images_left_out_together_are_in_no_patch() -> None:
    numbers = torch.arange(3 * 64.0).reshape(3, 1, 8, 8)
    patches, _ = take(
        numbers, choose_patches(numbers, Layout(1, 1), 1000, torch.Generator(), without=torch.tensor([1]))
    )
    assert sorted(patches.flatten().tolist()) == [*range(64), *range(128, 192)]


def test_turned_copies_are_left_out_with_their_image_and_no_place_is_judged_by_them() -> None:
    fine, coarse = taps(8)
    cells = pool_taps(fine, coarse)
    copies = torch.cat([cells, cells.flip(3), cells.flip(2)])
    fitted = fit_memory_map(copies, 10_000, halves(8), images=8, places=False)
    assert fitted.left_out.shape == (8, 8, 8)
    assert fitted.map.distances(cells.flip(3)).median() < 1e-2  # copies are remembered
    alone = fit_memory_map(cells, 10_000, halves(8), places=False)
    mirrored = alone.map.distances(cells.flip(3)).mean()
    assert mirrored == pytest.approx(float(alone.map.distances(cells).mean()), abs=1e-2)  # a cell knows no direction
    first = fitted.first.distances(cells[::2].flip(2))
    assert first.median() > 1  # the copies of the first fold's images are left out with them


def test_turned_images_are_as_far_as_before_where_parts_lie_in_any_direction() -> None:
    upright = pool_taps(*taps(10))
    turned = upright + torch.randn(1, *upright.shape[1:], generator=torch.Generator().manual_seed(5))
    fold = torch.arange(0, 10, 2)
    assert turned_ratio(upright, upright[fold], fold) == pytest.approx(1, rel=1e-3)
    assert turned_ratio(upright, turned[fold], fold) > 1.5


def test_what_surrounds_a_cell_has_zeros_beyond_the_edge() -> None:
    around = average_taps(torch.ones(1, 2, 4, 4))
    assert around[0, 0].tolist() == pytest.approx(
        np.array([[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]]) / 9
    )


@pytest.mark.parametrize("spread", [1e-2, 1e-3, 1e-4])
def test_the_map_of_images_that_hardly_differ_is_one_that_fp32_resolves(spread: float) -> None:
    fitted = fit_memory_map(pool_taps(*taps(20, spread=spread)), 16, halves(20)).map
    cells = pool_taps(*taps(8, seed=1, spread=spread))
    found = fitted(cells)
    assert (found - copy.deepcopy(fitted).double()(cells.double())).abs().max() < 2e-3
    cells[0, :, 2, 3] += 1.0  # another look
    assert fitted(cells)[0, 2, 3] > 30
