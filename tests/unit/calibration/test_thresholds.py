"""Thresholds keep what they promise about good parts, and say when they cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgead.errors import DataError, UsageError
from edgead_calibration.thresholds import (
    fit_thresholds,
    interval_at,
    rate_interval,
    threshold_summary,
)

scores = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=3, max_size=60)


@settings(max_examples=30, deadline=None)
@given(scores, st.floats(0.001, 0.5))
def test_calibration_never_divides_by_nothing(values: list[float], rate: float) -> None:
    fitted = fit_thresholds(values, values, rate)
    assert fitted.image > fitted.image_center
    assert fitted.pixel > fitted.pixel_center


@settings(max_examples=30, deadline=None)
@given(scores, st.floats(0.001, 0.5))
def test_good_images_never_contradict_the_rate_that_the_threshold_is_set_for(values: list[float], rate: float) -> None:
    fitted = fit_thresholds(values, values, rate)
    assert fitted.aimed_rate == (rate if fitted.promised else pytest.approx(1 / (fitted.images + 1)))
    assert fitted.interval[0] <= fitted.aimed_rate


@settings(max_examples=30, deadline=None)
@given(scores)
def test_a_smaller_rate_never_lowers_the_threshold(values: list[float]) -> None:
    found = [fit_thresholds(values, values, rate).image for rate in (0.5, 0.3, 0.2, 0.1, 0.05, 0.01)]
    assert found == sorted(found)


def test_the_promised_rate_holds_on_new_parts() -> None:
    """The mean false-alarm rate over many lines is at most the rate asked for, for a skewed law of scores."""
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(150):
        threshold = fit_thresholds(rng.lognormal(size=120), np.arange(3.0), 0.05).image
        rates.append(stats.lognorm(1.0).sf(threshold))
    assert np.mean(rates) == pytest.approx(0.05, abs=0.006)


def test_the_interval_covers_the_true_rate() -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(150):
        fitted = fit_thresholds(rng.normal(size=200), np.arange(3.0), 0.05)
        true = stats.norm.sf(fitted.image)
        covered.append(fitted.interval[0] <= true <= fitted.interval[1])
    assert np.mean(covered) >= 0.92


@pytest.mark.parametrize(("images", "above"), [(20, 1), (100, 1), (500, 20), (30, 30), (30, 0)])
def test_interval_equals_the_exact_one(images: int, above: int) -> None:
    expected = stats.binomtest(above, images).proportion_ci(0.95, "exact")
    assert rate_interval(images, above) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_scores_that_may_be_off_widen_the_interval_on_both_sides() -> None:
    values = np.linspace(0, 1, 101)
    narrow, wide = interval_at(values, 0.945), interval_at(values, 0.945, 0.03)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert wide == (pytest.approx(rate_interval(101, 3)[0]), pytest.approx(rate_interval(101, 9)[1]))


def test_too_few_images_set_the_threshold_for_what_they_can_promise_and_say_so() -> None:
    values = np.linspace(0, 1, 20)
    few, farther = (fit_thresholds(values, values, 0.01, extrapolate=extrapolate) for extrapolate in (False, True))
    assert not few.promised
    assert few.aimed_rate == pytest.approx(1 / 21)
    assert few.interval[0] == 0  # statistics without a fold of so few are worse than those of all
    assert few.image == pytest.approx(fit_thresholds(values, values, 1 / 21).image)
    assert farther.aimed_rate == 0.01
    assert farther.image > few.image
    for fitted, says in ((few, "set for 4.8%, the least they can promise"), (farther, "extrapolated to 1.00%")):
        assert "too few to promise 1.00% false alarms (99 are needed)" in threshold_summary(fitted)
        assert says in threshold_summary(fitted)
    enough = fit_thresholds(np.linspace(0, 1, 99), np.linspace(0, 1, 99), 0.01)
    assert enough.promised
    assert enough.image == pytest.approx(1.0, abs=0.1)


def test_the_threshold_varies_less_than_the_largest_score() -> None:
    """What the fitted tail is for: of a hundred parts the largest one lies anywhere, the rate above it as well."""
    random, logs = np.random.default_rng(5), []
    for _ in range(100):
        values = random.gamma(4, size=99)
        both = fit_thresholds(values, values, 0.01).image, values.max()
        logs.append(np.log(stats.gamma(4).sf(both) / 0.01))
    fitted, counted = np.std(logs, axis=0)
    assert fitted < 0.75 * counted
    assert np.median(logs, axis=0)[0] == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("images", [20, 150])
def test_one_outlier_moves_no_threshold_and_is_said(images: int) -> None:
    good = np.random.default_rng(0).gamma(8, size=images)
    alone, among = (fit_thresholds(values, values, 0.01) for values in (good, [*good, 100.0]))
    assert (among.image, among.pixel, among.images) == (alone.image, alone.pixel, images)
    assert among.outliers == 1
    assert "1 image with an outlying score is not counted" in threshold_summary(among)


@pytest.mark.parametrize(
    ("values", "rate", "error", "says"),
    [
        ([1.0, 2.0], 0.01, DataError, "at least 3"),
        ([1.0, float("nan"), 2.0], 0.01, DataError, "not a finite number"),
        ([1.0, 2.0, 3.0], 0.0, UsageError, "must lie in"),
        ([1.0, 2.0, 3.0], 0.9, UsageError, "must lie in"),
    ],
)
def test_unusable_input_is_refused(values: list[float], rate: float, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        fit_thresholds(values, values, rate)


@given(st.floats(0.2, 5.0), st.floats(-3.0, 3.0), st.integers(0, 2**32 - 1))
@settings(max_examples=6, deadline=None)
def test_thresholds_refitted_in_another_light_keep_their_promise(contrast: float, shift: float, seed: int) -> None:
    """Scores change with the light, by a monotone law; the rate after a refit lies in its interval as often as said."""
    random = np.random.default_rng(seed)
    inside = []
    for _ in range(40):
        fitted = fit_thresholds(contrast * np.exp(random.normal(size=120)) + shift, np.arange(3.0), 0.05)
        true = stats.norm.sf(np.log((fitted.image - shift) / contrast))
        inside.append(fitted.interval[0] <= true <= fitted.interval[1])
    assert np.mean(inside) >= 0.8  # 0.95 expected; under 0.8 of 40 is one chance in 4000


def test_images_of_one_part_count_once() -> None:
    values = np.random.default_rng(2).normal(size=60)
    single = fit_thresholds(values, values, 0.05)
    numbers = np.repeat(np.arange(60), 5).tolist()
    filmed = fit_thresholds(np.repeat(values, 5), np.repeat(values, 5), 0.05, parts=numbers)
    assert (filmed.images, filmed.parts, filmed.counted, single.parts) == (300, 60, 60, 0)
    assert filmed.image == pytest.approx(single.image)
    assert filmed.interval == pytest.approx(single.interval)
    assert filmed.promised == single.promised


def test_a_part_with_many_images_weighs_no_more_than_others() -> None:
    """Of ten parts one has ninety images: their scores are no more than a tenth of all."""
    values = np.concatenate([np.linspace(0, 1, 9), np.linspace(10, 11, 90)])
    parts = [*range(9), *[9] * 90]
    fitted = fit_thresholds(values, values, 0.3, parts=parts)
    assert fitted.image < 5
    assert fit_thresholds(values, values, 0.3).image > 10


def test_few_parts_promise_what_their_number_allows_and_it_is_said() -> None:
    random = np.random.default_rng(4)
    values, parts = random.normal(size=90), np.repeat(np.arange(9), 10).tolist()
    fitted = fit_thresholds(values, values, 0.01, parts=parts)
    assert not fitted.promised
    assert fitted.aimed_rate == pytest.approx(0.1)
    assert fitted.interval[1] > 0.3
    said = threshold_summary(fitted)
    assert "90 good images of about 9 different parts are too few to promise 1.00% false alarms" in said
    assert "set for 10.0%, the least they can promise" in said
