"""Thresholds keep what they promise about good parts, and say when they cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgead.errors import DataError, UsageError
from edgead_calibration.thresholds import (
    _student_quantile,
    can_promise,
    far_out,
    fit_thresholds,
    rate_interval,
    threshold_summary,
)

scores = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=3, max_size=60)


@given(scores, st.floats(0.001, 0.5))
def test_calibration_never_divides_by_nothing(values: list[float], rate: float) -> None:
    fitted = fit_thresholds(values, values, rate)
    assert fitted.image > fitted.image_center
    assert fitted.pixel > fitted.pixel_center


@given(scores, st.floats(0.001, 0.5))
def test_its_own_good_images_are_refused_no_more_often_than_asked(values: list[float], rate: float) -> None:
    refused = np.mean(np.asarray(values) > fit_thresholds(values, values, rate).image)
    assert refused <= rate


@given(scores)
def test_a_smaller_rate_never_lowers_the_threshold_that_counting_gives(values: list[float]) -> None:
    rates = [rate for rate in (0.5, 0.3, 0.2, 0.1, 0.05) if can_promise(len(values), rate)]
    found = [fit_thresholds(values, values, rate).image for rate in rates]
    assert found == sorted(found)


def test_the_promised_rate_holds_on_new_parts() -> None:
    """The mean false-alarm rate over many lines is at most the rate asked for, for a skewed law of scores."""
    rng = np.random.default_rng(0)
    rates = []
    for _ in range(400):
        threshold = fit_thresholds(rng.lognormal(size=120), np.arange(3.0), 0.05).image
        rates.append(stats.lognorm(1.0).sf(threshold))
    assert np.mean(rates) == pytest.approx(0.05, abs=0.004)


def test_the_interval_covers_the_true_rate() -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(400):
        fitted = fit_thresholds(rng.normal(size=200), np.arange(3.0), 0.05)
        true = stats.norm.sf(fitted.image)
        covered.append(fitted.interval[0] <= true <= fitted.interval[1])
    assert np.mean(covered) == pytest.approx(0.95, abs=0.035)


@pytest.mark.parametrize(("images", "rank"), [(20, 19), (100, 99), (500, 480)])
def test_interval_equals_the_beta_quantiles(images: int, rank: int) -> None:
    expected = stats.beta.ppf([0.025, 0.975], images - rank + 1, rank)
    assert rate_interval(images, rank) == pytest.approx(tuple(expected), abs=1e-9)


@pytest.mark.parametrize(("probability", "freedom"), [(0.99, 19), (0.999, 4), (0.95, 2), (0.9, 100)])
def test_student_quantile_equals_scipy(probability: float, freedom: int) -> None:
    assert _student_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=1e-6)


def test_too_few_images_are_said_plainly() -> None:
    few = fit_thresholds(np.linspace(0, 1, 20), np.linspace(0, 1, 20), 0.01)
    assert not few.promised
    assert few.image > 1.0
    assert "too few to promise 1.00%" in threshold_summary(few)
    assert "99 are needed" in threshold_summary(few)
    enough = fit_thresholds(np.linspace(0, 1, 99), np.linspace(0, 1, 99), 0.01)
    assert enough.promised
    assert enough.image == 1.0


def test_a_good_image_that_is_far_out_is_found() -> None:
    scores = np.random.default_rng(0).normal(3, 1, 47)
    assert far_out(scores) == []
    scores[7] = 12.0
    assert far_out(scores) == [7]


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
@settings(max_examples=20, deadline=None)
def test_thresholds_refitted_in_another_light_keep_their_promise(contrast: float, shift: float, seed: int) -> None:
    """Scores change with the light, by a monotone law; the rate after a refit lies in its interval as often as said."""
    random = np.random.default_rng(seed)
    inside = []
    for _ in range(40):
        fitted = fit_thresholds(contrast * np.exp(random.normal(size=120)) + shift, np.arange(3.0), 0.05)
        true = stats.norm.sf(np.log((fitted.image - shift) / contrast))
        inside.append(fitted.interval[0] <= true <= fitted.interval[1])
    assert np.mean(inside) >= 0.8  # 0.95 expected; under 0.8 of 40 is one chance in 4000
