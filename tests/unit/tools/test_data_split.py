"""Who trains, who sets ranges, who sets the threshold."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.errors import DataError, UsageError
from edgead_tools.data import MINIMUM, Sample, split


def samples(count: int, folder: str = "train") -> list[Sample]:
    return [Sample(Path("/data") / folder / f"{index}.png", f"{folder}/{index}.png") for index in range(count)]


def sizes(count: int, **shares: float) -> tuple[int, int, int]:
    sides = split(samples(count), 0, **shares)
    return len(sides.train), len(sides.calibration), len(sides.held_out)


@given(
    count=st.integers(MINIMUM, 100),
    seed=st.integers(0, 2**32),
    calibration=st.floats(0.01, 0.25),
    held_out=st.floats(0.01, 0.25),
    validation=st.integers(0, 20),
)
@settings(max_examples=50, deadline=None)
def test_the_sides_are_a_partition_and_none_is_empty(
    count: int, seed: int, calibration: float, held_out: float, validation: int
) -> None:
    aside = samples(validation, "validation")
    everything = [*samples(count), *aside]
    sides = split(everything, seed, calibration=calibration, held_out=held_out, validation=aside)
    parts = (sides.train, sides.calibration, sides.held_out)
    assert all(parts)
    assert sorted(sample.name for part in parts for sample in part) == sorted(sample.name for sample in everything)
    assert len(sides.train) >= count // 2
    for part in parts:
        assert list(part) == [sample for sample in everything if sample in part], "the given order is kept"


@settings(max_examples=30, deadline=None)
@given(st.integers(MINIMUM, 60), st.integers(0, 1000), st.randoms(use_true_random=False))
def test_only_the_seed_and_the_names_decide(count: int, seed: int, random: Random) -> None:
    listed = samples(count)
    elsewhere = [Sample(Path("/mnt") / sample.name, sample.name) for sample in listed]
    random.shuffle(elsewhere)
    for side in ("train", "calibration", "held_out"):
        here, there = getattr(split(listed, seed), side), getattr(split(elsewhere, seed), side)
        assert {sample.name for sample in here} == {sample.name for sample in there}


def test_the_split_is_pinned() -> None:
    sides = split(samples(20), 7)
    assert [sample.path.stem for sample in sides.held_out] == ["3", "4", "6", "14", "16"]
    assert [sample.path.stem for sample in sides.calibration] == ["1", "5"]


def test_another_seed_gives_another_split() -> None:
    assert len({split(samples(40), seed).held_out for seed in range(10)}) == 10


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (8, (4, 1, 3)),
        (11, (7, 1, 3)),
        (12, (8, 1, 3)),
        (20, (13, 2, 5)),
        (40, (30, 5, 5)),
        (100, (80, 10, 10)),
        (857, (685, 86, 86)),
    ],
)
def test_small_sets_give_up_more_than_their_share(count: int, expected: tuple[int, int, int]) -> None:
    assert sizes(count) == expected


def test_shares_are_followed_where_there_are_enough() -> None:
    assert sizes(200, calibration=0.05, held_out=0.2) == (150, 10, 40)


def test_validation_images_never_train() -> None:
    aside = samples(60, "validation")
    sides = split([*samples(360), *aside], 0, validation=aside)
    assert (len(sides.train), len(sides.calibration), len(sides.held_out)) == (360, 30, 30)
    assert {sample.name.split("/")[0] for sample in sides.train} == {"train"}
    assert {sample.name.split("/")[0] for sample in (*sides.calibration, *sides.held_out)} == {"validation"}


def test_validation_images_that_the_check_left_out_stay_out() -> None:
    aside = samples(10, "validation")
    sides = split([*samples(20), *aside[:6]], 0, calibration=0.1, held_out=0.2, validation=aside)
    assert (len(sides.train), len(sides.calibration), len(sides.held_out)) == (20, 2, 4)


def test_too_few_validation_images_are_treated_like_the_rest() -> None:
    aside = samples(3, "validation")
    sides = split([*samples(20), *aside], 0, validation=aside)
    assert len(sides.held_out) == 5
    assert len(sides.train) == 23 - 5 - 2


def test_too_few_images_are_counted() -> None:
    with pytest.raises(DataError, match=f"there are 7 good images to learn from and at least {MINIMUM} are needed"):
        split(samples(7), 0)


@pytest.mark.parametrize(("calibration", "held_out"), [(0.0, 0.1), (0.1, 0.0), (0.4, 0.2), (-0.1, 0.1)])
def test_impossible_shares_are_refused(calibration: float, held_out: float) -> None:
    with pytest.raises(UsageError, match=r"at most 0\.5 together"):
        split(samples(20), 0, calibration=calibration, held_out=held_out)


def test_no_part_is_learned_from_and_held_out() -> None:
    """Forty images of ten parts: whole parts are held out. Frames of one part alone cannot be told apart."""
    some = samples(40)
    numbers = {sample: index // 4 for index, sample in enumerate(some)}
    sides = split(some, 0, parts=numbers)
    held = {numbers[sample] for sample in sides.held_out}
    assert len(sides.held_out) == 8
    assert held.isdisjoint(numbers[sample] for sample in (*sides.train, *sides.calibration))
    assert split(some, 0, parts=dict.fromkeys(some, 0)) == split(some, 0)
    assert split(some, 0, parts={sample: index for index, sample in enumerate(some)}) == split(some, 0)
