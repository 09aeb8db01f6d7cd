"""Probability of detection: the fit finds the size it was made with, as surely as it says."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edgead.bundle import Detection, PlantedDefect
from edgead.errors import DataError
from edgead_calibration.detection import ALL, detection_at, fit_hits

A90, SLOPE = 0.06, 3.0


def draw(random: np.random.Generator, count: int) -> tuple[list[float], list[bool]]:
    """Defects whose detection follows the model, with 90 % of those of A90 found."""
    sizes = np.exp(random.uniform(np.log(0.005), np.log(0.25), count))
    chance = 1 / (1 + np.exp(-(np.log(9) + SLOPE * np.log(sizes / A90))))
    return sizes.tolist(), (random.random(count) < chance).tolist()


def test_many_defects_tell_the_size_found_in_nine_of_ten_cases() -> None:
    fit = fit_hits(*draw(np.random.default_rng(0), 1000))
    assert fit.a90 == pytest.approx(A90, rel=0.2)
    assert fit.a90 is not None
    assert fit.a90_95 is not None
    assert fit.a90 < fit.a90_95 < 1.4 * A90


@pytest.mark.parametrize("count", [60, 150])
def test_a90_95_is_large_enough_in_95_percent_of_the_cases(count: int) -> None:
    random = np.random.default_rng(1)
    fits = [fit_hits(*draw(random, count)) for _ in range(60)]
    held = [fit.a90_95 is None or fit.a90_95 >= A90 for fit in fits]
    assert np.mean(held) >= 0.88  # 0.95 expected; under 53 of 60 is one chance in 100


def test_the_band_holds_the_true_probability() -> None:
    random, sizes, inside = np.random.default_rng(2), np.array([0.02, 0.05, 0.1]), []
    true = 1 / (1 + np.exp(-(np.log(9) + SLOPE * np.log(sizes / A90))))
    for _ in range(40):
        _, low, high = fit_hits(*draw(random, 120)).probability(sizes)
        inside.append((low <= true) & (true <= high))
    assert np.mean(inside) >= 0.8  # 0.90, one-sided 95 % on either side


def test_sizes_that_separate_have_a_size_all_the_same() -> None:
    sizes = np.geomspace(0.01, 0.2, 40)
    fit = fit_hits(sizes.tolist(), (sizes > 0.05).tolist())
    assert fit.a90 is not None
    assert fit.a90_95 is not None
    assert 0.045 < fit.a90 < 0.07
    assert fit.a90 < fit.a90_95 < 0.15


def test_what_is_never_found_has_no_size() -> None:
    fit = fit_hits(np.geomspace(0.01, 0.2, 40).tolist(), [False] * 40)
    assert fit.a90 is None
    assert fit.a90_95 is None


def test_a_handful_tells_nothing() -> None:
    with pytest.raises(DataError, match="at least 10"):
        fit_hits([0.1] * 9, [True] * 9)


def planted() -> list[PlantedDefect]:
    """Forty defects of two kinds; spots score ten times their size, scratches half of that."""
    sizes = np.geomspace(0.01, 0.3, 40)
    return [
        PlantedDefect(kind=kind, size=float(size), contrast=40.0, score=float(size) * (10 if kind == "spot" else 5))
        for size, kind in zip(sizes, ["spot", "scratch"] * 20, strict=True)
    ]


def test_faint_defects_have_a_curve_of_their_own() -> None:
    """Forty that are found by their size, and as many faint ones of the same sizes that are not found."""
    faint = [msgspec.structs.replace(one, contrast=12.0, score=0.0) for one in planted()]
    curves = {curve.kind: curve for curve in detection_at([*planted(), *faint], (480, 640), 0.3).curves}
    assert curves["under 30 gray levels"].found == 0
    assert curves["under 30 gray levels"].a90_95 is None
    assert curves["30 gray levels or more"].a90_95 is not None
    assert curves[ALL].a90 is None


def test_each_kind_has_its_curve_and_a_higher_threshold_finds_less() -> None:
    low, high = (detection_at(planted(), (480, 640), threshold) for threshold in (0.3, 1.0))
    assert [curve.kind for curve in low.curves] == [ALL, "spot", "scratch"]
    assert all(a.found > b.found for a, b in zip(low.curves, high.curves, strict=True))
    spot, scratch = low.curves[1:]
    assert spot.a90_95 is not None
    assert scratch.a90_95 is not None
    assert spot.a90_95 < scratch.a90_95
    assert list(spot.probability) == sorted(spot.probability)
    assert all(a <= b <= c for a, b, c in zip(spot.low, spot.probability, spot.high, strict=True))


def test_the_size_is_said_in_pixels_or_millimeters() -> None:
    curve = detection_at(planted(), (480, 640), 0.3).curves[0]
    assert curve.a90_95 is not None
    assert f"{curve.a90_95 * 480:.1f} pixels of a frame or more" in curve.in_words((480, 640))
    assert f"{curve.a90_95 * 480 * 0.05:.3g} mm or more" in curve.in_words((480, 640), 0.05)
    nothing = detection_at(planted(), (480, 640), 1e9).curves[0]
    assert "at no size up to 144.0 pixels" in nothing.in_words((480, 640))


def test_too_few_planted_defects_have_no_curve() -> None:
    assert detection_at(planted()[:6], (10, 10), 1.0) == Detection(
        frame=(10, 10), planted=tuple(planted()[:6]), curves=()
    )
