"""Planted defects have the size, the contrast and the place that were asked for."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from edgead_tools.data.defects import DefectKind, plant_defect

KINDS: tuple[DefectKind, ...] = get_args(DefectKind)


def flat(level: int = 128) -> np.ndarray:
    return np.full((200, 240, 3), level, np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [6.0, 20.0, 40.0])
def test_it_covers_its_area(kind: DefectKind, size: float) -> None:
    random = np.random.default_rng(0)
    areas = []
    for _ in range(6):
        spoiled, _ = plant_defect(flat(), kind, size, 80, random)
        areas.append(np.count_nonzero((spoiled != 128).any(axis=2) & (np.abs(spoiled.astype(int) - 128) > 20).any(2)))
    assert np.sqrt(np.mean(areas)) == pytest.approx(size, rel=0.3)


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_its_contrast(kind: DefectKind) -> None:
    random = np.random.default_rng(1)
    changes = [plant_defect(flat(), kind, 20, 40, random)[1] for _ in range(8)]
    assert np.mean(changes) == pytest.approx(40, rel=0.2)


def test_dark_parts_get_brighter_and_bright_ones_darker() -> None:
    random = np.random.default_rng(2)
    assert all(plant_defect(flat(5), "spot", 20, 60, random)[0].max() > 50 for _ in range(5))
    assert all(plant_defect(flat(250), "spot", 20, 60, random)[0].min() < 200 for _ in range(5))


def test_it_lies_where_it_is_judged() -> None:
    random, judged = np.random.default_rng(3), np.zeros((200, 240), np.bool_)
    judged[50:100, 150:200] = True
    for _ in range(10):
        spoiled, _ = plant_defect(flat(), "spot", 8, 80, random, judged)
        y, x = np.argwhere((spoiled != 128).any(axis=2)).mean(0)
        assert 45 < y < 105
        assert 145 < x < 205


def test_the_image_itself_stays() -> None:
    image = flat()
    plant_defect(image, "scratch", 20, 80, np.random.default_rng(4))
    assert (image == 128).all()


def test_the_same_draws_plant_the_same() -> None:
    first, second = (plant_defect(flat(), "grain", 20, 50, np.random.default_rng(5))[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
