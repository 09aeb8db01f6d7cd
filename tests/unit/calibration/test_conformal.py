"""Out-of-fold scores: folds, the correction of what training did, and the rate that a threshold on them keeps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edgead_calibration.conformal import MINIMUM, assign_folds, carry_over, correct_optimism
from edgead_calibration.thresholds import fit_thresholds, interval_at

Array = NDArray[np.float64]
Law = Callable[[np.random.Generator, tuple[int, int]], Array]
LAWS: dict[str, Law] = {
    "light": lambda random, shape: random.normal(size=shape),
    "heavy": lambda random, shape: random.standard_t(4, size=shape),
}
FEATURES, RATE = 12, 0.01


@pytest.mark.parametrize("images", [2, 7, 40, 1000])
def test_every_fold_holds_images_from_everywhere(images: int) -> None:
    folds = assign_folds(images)
    assert set(folds) == set(range(min(5, images)))
    assert np.ptp(np.bincount(folds)) <= 8
    if images >= 40:
        assert all(np.flatnonzero(folds == fold).max() >= images // 2 for fold in range(5))
        assert np.mean(folds[1:] == folds[:-1]) >= 0.7  # neighbors stay together


def test_images_of_one_part_are_in_one_fold() -> None:
    parts = [0] * 30 + [1] * 20 + [*range(2, 12)] * 3
    folds = assign_folds(80, groups=parts)
    assert all(len({fold for fold, part in zip(folds, parts, strict=True) if part == one}) == 1 for one in range(12))
    assert sorted(np.bincount(folds)) == [9, 9, 12, 20, 30]
    assert set(assign_folds(20, groups=[0, 1] * 10)) == {0, 1}


def test_what_training_gained_is_added_to_images_that_were_trained_on() -> None:
    random, seen = np.random.default_rng(0), np.arange(400) < 320
    new = random.gamma(9, 1 / 3, 400)
    found = correct_optimism(np.where(seen, 0.7 * new - 1, new), seen)
    assert np.median(found.scores[seen]) == pytest.approx(np.median(new), abs=0.2)
    assert np.quantile(found.scores[seen], 0.95) == pytest.approx(np.quantile(new, 0.95), abs=0.5)
    np.testing.assert_array_equal(found.scores[~seen], new[~seen])
    assert found.shift > 1
    assert found.margin > 0


def test_images_that_gained_nothing_are_left_alone() -> None:
    random, seen = np.random.default_rng(1), np.arange(400) < 320
    scores = random.gamma(9, 1 / 3, 400)
    found = correct_optimism(scores, seen)
    assert np.mean(found.scores - scores) == pytest.approx(0, abs=0.1)
    assert found.shift < 0.1
    assert found.stretch < 1.2  # its standard error is 0.2
    lower = correct_optimism(np.where(seen, scores + 1, scores), seen)  # never made smaller
    assert lower.shift == 0
    assert np.median(lower.scores[seen]) == pytest.approx(np.median(scores[seen]) + 1)


def test_strange_images_do_not_move_the_correction() -> None:
    random, seen = np.random.default_rng(2), np.arange(200) < 160
    scores = random.gamma(9, 1 / 3, 200)
    spoiled = scores.copy()
    spoiled[[3, 50, 90, 165, 180]] = 40
    plain, moved = correct_optimism(scores, seen), correct_optimism(spoiled, seen)
    assert moved.shift == pytest.approx(plain.shift, abs=0.1)
    assert moved.stretch == pytest.approx(plain.stretch, abs=0.1)


def test_a_handful_corrects_nothing() -> None:
    scores = np.array([1.0, 2.0, 3.0, 4.0, 9.0, 9.0, 9.0])
    found = correct_optimism(scores, np.arange(7) < 7 - (MINIMUM - 1))
    assert (found.shift, found.stretch, found.margin) == (0, 1, 0)
    np.testing.assert_array_equal(found.scores, scores)


def test_scores_are_carried_over_to_another_network() -> None:
    scores = np.random.default_rng(3).normal(5, 2, 50)
    found, growth = carry_over(scores, scores[:9], 3 * scores[:9] - 4)
    assert growth == pytest.approx(3)
    np.testing.assert_allclose(found, 3 * scores - 4)
    assert carry_over([1.0, 2.0], [1.0], [1.5])[0].tolist() == [1.5, 2.5]


def _distance(rows: Array, good: Array) -> Array:
    return np.sqrt((((rows - good.mean(0)) / (good.std(0) + 1e-9)) ** 2).mean(1))


def _rate_and_interval(law: Law, images: int, random: np.random.Generator) -> tuple[float, tuple[float, float]]:
    """One build in small: residuals of trained-on images are a tenth shorter, statistics are refitted by folds, the
    held-out images judged by those of all others; the rate is that of 4,000 new parts."""
    kept = max(round(0.2 * images), min(5, images // 4) + min(5, images // 8))
    held = kept // 2 + kept % 2
    seen, fitted = np.arange(images) < images - kept, np.arange(images) < images - held
    rows = law(random, (images, FEATURES))
    rows[seen] *= 0.9
    scores, known = np.empty(images), np.flatnonzero(fitted)
    folds = assign_folds(len(known))
    for fold in range(folds.max() + 1):
        scores[known[folds == fold]] = _distance(rows[known[folds == fold]], rows[known[folds != fold]])
    scores[~fitted] = _distance(rows[~fitted], rows[fitted])
    found = correct_optimism(scores, seen)
    limits = fit_thresholds(found.scores.tolist(), found.scores.tolist(), RATE, (found.margin, found.margin))
    new = _distance(law(random, (4000, FEATURES)), rows[fitted])
    return float(np.mean(new > limits.image)), limits.interval


def _coverage(law: str, images: int, draws: int) -> float:
    random, inside = np.random.default_rng(4), []
    for _ in range(draws):
        rate, (low, high) = _rate_and_interval(LAWS[law], images, random)
        inside.append(low <= rate <= high)
    return float(np.mean(inside))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("images", [10, 30, 100])
def test_the_rate_of_new_parts_lies_in_the_interval(law: str, images: int) -> None:
    assert _coverage(law, images, 40) >= 0.87  # under 35 of 40 at 95 % is one chance in 100


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("images", [10, 30, 100, 1000])
def test_the_interval_holds_as_often_as_it_says(law: str, images: int) -> None:
    assert _coverage(law, images, 1000) >= 0.94


def test_the_margin_widens_the_interval() -> None:
    scores = np.linspace(0, 1, 200)
    assert interval_at(scores, 0.99)[1] < interval_at(scores, 0.99, 0.05)[1]
