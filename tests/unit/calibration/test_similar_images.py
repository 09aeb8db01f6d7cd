"""Pictures of few things, taken in a row, are told from parts that came independently."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from edgead_calibration.similar_images import _distances, _linked, _places_in_view, _same, find_groups

Array = NDArray[np.float32]


def scenes(count: int, each: int, random: np.random.Generator, noise: float = 0.3) -> list[Array]:
    """Pictures of `count` scenes, `each` of them in a row."""
    return [
        (center + noise * random.normal(size=40)).astype(np.float32)
        for center in random.normal(size=(count, 40))
        for _ in range(each)
    ]


def test_pictures_of_a_scene_in_a_row_are_one_group() -> None:
    pictures = scenes(9, 8, np.random.default_rng(0))
    assert find_groups(pictures, range(72)) == [number // 8 for number in range(72)]


def test_a_scene_that_comes_again_is_one_group() -> None:
    pictures = scenes(10, 8, np.random.default_rng(1))
    again = [*pictures[4:], *pictures[:4]]  # the first scene comes again at the end
    assert find_groups(again, range(80)) == [*[0] * 4, *(1 + row // 8 for row in range(72)), *[0] * 4]


@pytest.mark.parametrize("seed", range(5))
def test_independent_parts_are_none(seed: int) -> None:
    random = np.random.default_rng(seed)
    pictures = [*random.normal(size=(60, 40)).astype(np.float32)]
    assert find_groups(pictures, range(60)) == list(range(60))


@pytest.mark.parametrize("seed", range(5))
def test_six_kinds_of_parts_are_none_in_whatever_order_they_come(seed: int) -> None:
    random = np.random.default_rng(seed)
    pictures = scenes(6, 40, random)
    assert find_groups(pictures, range(240)) == list(range(240))  # kind by kind
    shuffled = [pictures[row] for row in random.permutation(240)]
    assert find_groups(shuffled, range(240)) == list(range(240))


def test_the_order_may_be_that_of_numbers_in_the_names() -> None:
    """Every part under five lights, listed light by light."""
    random = np.random.default_rng(0)
    pictures = scenes(20, 5, random)
    listed = [5 * part + light for light in range(5) for part in range(20)]
    names = [f"light{row % 5}_{1000 + 7 * row}" for row in listed]
    shown = [pictures[row] for row in listed]
    assert find_groups(shown, range(100), names) == [*range(20)] * 5
    assert find_groups(shown, range(100), ["a"] * 100) == list(range(100))


def test_neighbors_that_are_hardly_nearer_than_others_are_none() -> None:
    """Parts of one batch that differ nearly as much as those of different batches."""
    pictures = scenes(12, 8, np.random.default_rng(0), noise=1.2)
    assert find_groups(pictures, range(96)) == list(range(96))


def test_who_knows_that_images_which_look_alike_show_one_part_can_say_so() -> None:
    pictures = scenes(6, 40, np.random.default_rng(0))
    assert find_groups(pictures, range(240), always=True) == [number // 40 for number in range(240)]


def test_parts_that_are_known_to_be_one_stay_together() -> None:
    pictures = scenes(9, 8, np.random.default_rng(0))
    numbers = list(range(72))
    numbers[71] = 0  # the last shows the part of the first
    groups = find_groups(pictures, numbers)
    assert groups == [row // 8 % 8 for row in range(72)]


def test_groups_are_those_of_average_linkage() -> None:
    random = np.random.default_rng(3)
    rows = np.stack(scenes(12, 5, random, 0.6))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    distances = _distances(rows)
    np.fill_diagonal(distances, 0)
    distances = (distances + distances.T) / 2
    limit = _same(distances)
    expected = fcluster(linkage(squareform(distances.astype(float), checks=False)), limit, "distance")
    average = fcluster(linkage(squareform(distances.astype(float), checks=False), "average"), limit, "distance")
    found = _linked(distances / limit)
    assert len(set(zip(found, average, strict=True))) == len(set(found)) == len(set(average))
    assert len(set(expected)) <= len(set(average)) < len(rows)


@pytest.mark.parametrize("each", [3, 6, 12])
def test_the_order_tells_how_long_a_thing_is_in_view(each: int) -> None:
    rows = np.stack(scenes(20, each, np.random.default_rng(1)))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    distances = _distances(rows)
    assert _places_in_view(distances, _same(distances)) == pytest.approx(each, rel=0.25)


def test_parts_with_plain_faces_join_into_no_chains() -> None:
    """Sixty parts in six pictures each, of which every second looks much like the other plain ones."""
    random, common = np.random.default_rng(2), np.random.default_rng(3).normal(size=40)
    centers = [
        common + 0.45 * random.normal(size=40) if part % 2 else 1.2 * random.normal(size=40) for part in range(60)
    ]
    pictures = [(center + 0.25 * random.normal(size=40)).astype(np.float32) for center in centers for _ in range(6)]
    parts = np.arange(360) // 6
    plain = np.asarray(_linked((lambda all_of: all_of / _same(all_of))(_unit(pictures))))
    assert np.bincount(plain).max() >= 60  # what average linkage makes of their distances alone
    found = np.asarray(find_groups(pictures, range(360)))
    assert np.bincount(found).max() <= 18
    same, joined, other = parts[:, None] == parts, found[:, None] == found, ~np.eye(360, dtype=bool)
    assert (same & joined & other).sum() / (joined & other).sum() > 0.7  # of pairs in a group that show one part
    assert (same & joined & other).sum() / (same & other).sum() > 0.9


def _unit(pictures: list[Array]) -> Array:
    rows = np.stack(pictures)
    return _distances(rows / np.linalg.norm(rows, axis=1, keepdims=True))
