"""Tails of scores: extrapolated with their uncertainty, and scores that do not belong to them are found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgead.errors import DataError
from edgead_calibration.tails import _excess, find_outliers, fit_tail

LAWS = {"light": stats.norm(5, 1), "usual": stats.gamma(4), "exponential": stats.expon(), "heavy": stats.t(3)}
RATE = 0.01


def test_the_rate_falls_from_the_share_above_the_start_to_nothing() -> None:
    tail = fit_tail(LAWS["usual"].rvs(size=60, random_state=0))
    assert tail.share == pytest.approx(21 / 61)
    assert tail.rate(tail.start) == pytest.approx(tail.share)
    rates = [tail.rate(tail.start + step) for step in np.linspace(0, 20, 50)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 1e-3


@pytest.mark.parametrize("rate", [0.2, 0.01, 0.0001])
def test_the_quantile_inverts_the_rate_and_lies_in_the_interval(rate: float) -> None:
    tail = fit_tail(LAWS["exponential"].rvs(size=40, random_state=1))
    score = tail.quantile(rate)
    low, high = tail.interval(score)
    assert low < rate < high
    below, above = tail.interval(score, 0.02)
    assert below * 0.9 < rate < above * 1.1  # the median


@given(st.floats(1e-3, 1e3), st.floats(-100, 100))
@settings(max_examples=20, deadline=None)
def test_another_unit_of_the_scores_changes_nothing(scale: float, shift: float) -> None:
    scores = LAWS["heavy"].rvs(size=50, random_state=2)
    plain, changed = fit_tail(scores), fit_tail(scale * scores + shift)
    assert changed.quantile(RATE) == pytest.approx(scale * plain.quantile(RATE) + shift, rel=1e-4, abs=1e-4)


def test_a_heavy_tail_is_told_from_a_light_one() -> None:
    shapes = {name: fit_tail(law.rvs(size=1000, random_state=3)).shape for name, law in LAWS.items()}
    assert shapes["light"] < shapes["exponential"] < shapes["heavy"]


def test_scores_that_are_all_alike_have_a_tail() -> None:
    assert fit_tail([2.0, 2.0, 2.0, 2.0]).quantile(0.01) == pytest.approx(2.0, abs=1e-6)


def test_two_scores_are_too_few() -> None:
    with pytest.raises(DataError, match="at least 3"):
        fit_tail([1.0, 2.0])


@pytest.mark.parametrize("images", [10, 30, 98])
@pytest.mark.parametrize("law", LAWS)
def test_an_extrapolated_threshold_keeps_about_the_rate(law: str, images: int) -> None:
    """The mean rate of new parts is at most about what was asked, twice that with ten; a normal law gives 5 %."""
    random, rates = np.random.default_rng(4), []
    for _ in range(60):
        scores = LAWS[law].rvs(size=images, random_state=random)
        rates.append(float(LAWS[law].sf(fit_tail(scores).quantile(RATE))))
    assert 0.0 <= np.mean(rates) < 2.5 * RATE


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("images", [30, 98])
def test_the_interval_covers_the_rate(law: str, images: int) -> None:
    random, inside = np.random.default_rng(5), []
    for _ in range(80):
        tail = fit_tail(LAWS[law].rvs(size=images, random_state=random))
        score = tail.quantile(RATE)
        low, high = tail.interval(score)
        inside.append(low <= LAWS[law].sf(score) <= high)
    assert np.mean(inside) >= 0.84  # 0.92 to 0.99 over thousands of draws


@pytest.mark.parametrize("share", [0.01, 0.05, 0.10])
@pytest.mark.parametrize("images", [100, 400])
def test_bad_parts_among_the_good_are_found(share: float, images: int) -> None:
    random = np.random.default_rng(6)
    bad = round(share * images)
    scores = np.concatenate([random.gamma(9, 1 / 3, images - bad), random.uniform(16, 25, bad)])
    assert sorted(find_outliers(scores)) == list(range(images - bad, images))


@pytest.mark.parametrize(("law", "most"), [("light", 0.05), ("usual", 0.1), ("exponential", 0.15), ("heavy", 0.3)])
@pytest.mark.parametrize("images", [20, 100])
def test_good_parts_are_rarely_called_outliers(law: str, most: float, images: int) -> None:
    random = np.random.default_rng(7)
    found = [bool(find_outliers(LAWS[law].rvs(size=images, random_state=random))) for _ in range(60)]
    assert np.mean(found) <= most


def test_many_bad_parts_whose_scores_reach_down_to_the_good_ones_are_found() -> None:
    """Eleven of 220, from hardly more than the good ones' largest to many times that."""
    random = np.random.default_rng(5)
    scores = np.concatenate([random.normal(0, 0.8, 209), np.geomspace(4.2, 22, 11)])
    assert set(find_outliers(scores)) == {*range(209, 220)}


def test_one_part_in_many_images_is_found_as_one() -> None:
    random = np.random.default_rng(6)
    scores = np.concatenate([random.normal(0, 1, 60), random.normal(30, 1, 15)])
    parts = [*range(60), *[60] * 15]
    assert set(find_outliers(scores, parts)) == {*range(60, 75)}
    assert find_outliers(scores) == []  # a fifth of the images: too many to be called strange


@pytest.mark.parametrize("bad", [20, 40])
@pytest.mark.parametrize("seed", range(3))
def test_bad_parts_of_all_degrees_that_leave_no_gap_are_found_by_their_number(bad: int, seed: int) -> None:
    """From among the good ones to three times their largest, evenly."""
    scores = np.concatenate([np.random.default_rng(seed).normal(0, 1, 400), np.linspace(2.4, 9, bad)])
    found = np.array(find_outliers(scores))
    assert (found >= 400).sum() >= 0.6 * bad
    assert (found < 400).sum() <= 0.1 * bad


@pytest.mark.parametrize("law", LAWS)
def test_the_number_of_good_parts_above_is_hardly_ever_an_excess(law: str) -> None:
    random = np.random.default_rng(8)
    drawn = [np.sort(LAWS[law].rvs(size=200, random_state=random))[::-1] for _ in range(40)]
    assert [_excess(scores, np.ones(200), 25) for scores in drawn] == [0] * 40


def test_scores_that_are_all_alike_are_no_excess() -> None:
    assert _excess(np.ones(50), np.ones(50), 6) == 0


def test_a_few_scores_have_no_outliers() -> None:
    assert find_outliers([1.0, 1.1, 1.2, 50.0]) == []


@pytest.mark.parametrize("seed", [1, 3, 4, 8])
def test_scores_that_were_picked_and_then_raised_are_too_many_whatever_they_are(seed: int) -> None:
    """So their number is not looked at where it is no news; a gap is."""
    random = np.random.default_rng(seed)
    scores = np.sort(np.exp(0.5 * random.normal(size=400)))
    scores[-50:] += random.uniform(0, 2, 50) * scores.std()
    assert len(find_outliers(scores)) > 40
    assert find_outliers(scores, by_number=False) == []
    scores[:3] = 3 * scores.max()
    assert sorted(find_outliers(scores, by_number=False)) == [0, 1, 2]
