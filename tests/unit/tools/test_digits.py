"""The generated digit scenes: what is wrong is where the truth says, and nothing that is judged was learned from."""

from __future__ import annotations

import digits
import numpy as np
import pytest


def place(picture: np.ndarray, at: int) -> np.ndarray:
    side = digits.SIDE / 3
    row, column = divmod(at, 3)
    inside = picture[round(row * side) : round((row + 1) * side), round(column * side) : round((column + 1) * side)]
    return np.asarray(inside)


def test_a_good_scene_has_the_digits_in_order() -> None:
    scene = digits.good(np.random.default_rng(0))
    assert scene.digits == tuple(range(1, 10))
    assert scene.wrong == ()
    assert all(place(scene.picture, at).max() > 200 for at in range(9))


def test_learned_and_judged_digits_are_different_ones() -> None:
    random = np.random.default_rng(1)
    learned, judged = ({digits.draw(3, random, learned=side).tobytes() for _ in range(200)} for side in (True, False))
    assert learned.isdisjoint(judged)


@pytest.mark.parametrize("kind", digits.KINDS)
def test_what_is_wrong_is_where_the_truth_says(kind: str) -> None:
    for seed in range(5):
        good, bad = digits.good(np.random.default_rng(seed)), digits.KINDS[kind](np.random.default_rng(seed))
        away = np.abs(good.picture.astype(int) - bad.picture).max(axis=2)
        changed = tuple(at for at in range(9) if place(away, at)[8:-8, 8:-8].max() > 60)
        assert changed == tuple(sorted(bad.wrong))
        expected = {"missing": None, "zero": 0}
        if kind in expected:
            assert bad.digits[bad.wrong[0]] is expected[kind]
