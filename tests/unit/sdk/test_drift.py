"""Drift: no alarm where parts stay as they were, soon one where they do not, and the probable cause in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgead.bundle.manifest import THUMBNAIL, HealthProfile
from edgead.stream.drift import CALM, DriftMonitor, _Watch
from edgead.stream.health import ImageStats, measure


def scores(random: np.random.Generator, count: int, shift: float = 0.0) -> np.ndarray:
    return random.gamma(9, 1 / 3, count) + shift


def monitor(images: int, seed: int = 0, profile: HealthProfile | None = None) -> DriftMonitor:
    good = scores(np.random.default_rng(seed), images)
    return DriftMonitor(good.tolist(), float(np.quantile(good, 0.99)) + 1, profile)


def delay(watched: DriftMonitor, stream: np.ndarray) -> int | None:
    """After how many parts of the stream there is an alarm."""
    return next((index for index, score in enumerate(stream, start=1) if watched.update(float(score))), None)


@pytest.mark.parametrize("images", [10, 30, 300])
def test_a_stream_that_stays_as_it_was_raises_no_alarm(images: int) -> None:
    for seed in range(3):
        assert delay(monitor(images, seed), scores(np.random.default_rng(100 + seed), 5000)) is None


@pytest.mark.slow
@pytest.mark.parametrize("images", [10, 30, 100, 1000])
def test_at_most_one_alarm_in_100_000_parts_without_drift(images: int) -> None:
    alarms = sum(
        delay(monitor(images, seed), scores(np.random.default_rng(100 + seed), 100_000)) is not None
        for seed in range(20)
    )
    assert alarms <= 2


def test_the_time_to_a_false_alarm_is_at_least_what_is_said() -> None:
    """At the largest share that is allowed, where the test is no longer on the safe side."""
    random, times = np.random.default_rng(0), []
    for _ in range(60):
        watch, parts = _Watch("", lambda score: score > 0.7, 0.3), 0
        while watch.statistic < 100:
            watch.add(random.random())
            parts += 1
        times.append(parts)
    assert np.mean(times) >= 85  # 100 expected at least, with a standard error of 15


@pytest.mark.parametrize(("images", "shift"), [(30, 1.5), (30, 3.0), (300, -1.5), (300, 1.5), (300, 3.0)])
def test_a_shift_is_seen_within_a_hundred_parts(images: int, shift: float) -> None:
    watched = monitor(images)
    assert delay(watched, scores(np.random.default_rng(1), 300)) is None
    found = delay(watched, scores(np.random.default_rng(2), 400, shift))
    assert found is not None
    assert found <= 150
    assert watched.drift is not None
    assert ("higher" in watched.drift.change or "NG" in watched.drift.change) is (shift > 0)


def test_a_new_variant_among_the_parts_is_seen() -> None:
    random = np.random.default_rng(3)
    stream = np.where(random.random(3000) < 0.5, scores(random, 3000, 2.0), scores(random, 3000))
    assert delay(monitor(300), stream) is not None


def test_a_few_defects_are_no_drift() -> None:
    random = np.random.default_rng(4)
    stream = np.where(random.random(5000) < 0.05, 50.0, scores(random, 5000))
    assert delay(monitor(100), stream) is None


def test_nearly_every_part_ng_is_drift_whatever_the_number_of_good_scores() -> None:
    few = DriftMonitor([1.0, 2.0, 3.0], 4.0)
    found = delay(few, np.full(100, 9.0))
    assert found is not None
    assert found <= 40
    assert few.drift is not None
    assert few.drift.change == "most parts are NG"


def test_one_drift_is_one_alarm_and_is_over_when_parts_are_calm_again() -> None:
    watched, random = monitor(100), np.random.default_rng(5)
    alarms = [watched.update(float(score)) for score in scores(random, 1000, 3.0)]
    assert sum(alarm is not None for alarm in alarms) == 1
    assert watched.drift is not None
    for score in scores(random, 2 * CALM + 100):
        assert watched.update(float(score)) is None
    assert watched.drift is None


def test_parts_that_could_not_be_judged_tell_nothing() -> None:
    watched = monitor(30)
    assert all(watched.update(float("nan")) is None for _ in range(500))


def picture(seed: int) -> np.ndarray:
    image = np.full((96, 96, 3), 90, np.uint8)
    image[30:60, 24:72] = (60, 120, 180)
    return np.clip(image + np.random.default_rng(seed).integers(-6, 7, image.shape), 0, 255).astype(np.uint8)


def redder(image: np.ndarray) -> np.ndarray:
    return np.clip((1.0, 1.0, 1.08) * image, 0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def profile() -> HealthProfile:
    stats = [measure(picture(seed)) for seed in range(20)]

    def between(name: str) -> tuple[float, float]:
        values = [float(getattr(one, name)) for one in stats]
        return min(values), max(values)

    mean = np.mean([one.thumbnail for one in stats], axis=0).round().astype(np.uint8)
    assert mean.shape == (THUMBNAIL, THUMBNAIL, 3)
    return HealthProfile(
        images=20, sizes=((96, 96),), brightness=between("brightness"), contrast=between("contrast"),
        saturated=(0.0, 0.0), sharpness=between("sharpness"), color=between("color"), reach=(0.0, 0.0),
        likeness=0.9, likeness_of_color=0.9, thumbnail=mean.tobytes(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda stats: replace(stats, brightness=stats.brightness - 15), "brightness"),
        (lambda stats: replace(stats, sharpness=0.6 * stats.sharpness), "focus"),
        (lambda stats: replace(stats, thumbnail=np.roll(stats.thumbnail, 4, axis=1)), "position"),
        (lambda stats: replace(stats, thumbnail=redder(stats.thumbnail)), "red is 8 % stronger"),
        (lambda stats: replace(stats, thumbnail=stats.thumbnail[:, ::-1]), "new variant"),
        (lambda stats: stats, "new variant"),
    ],
)
def test_the_probable_cause_is_said(profile: HealthProfile, change: object, word: str) -> None:
    watched, random = monitor(100, profile=profile), np.random.default_rng(6)
    for index, score in enumerate(scores(random, 200, 3.0)):
        stats: ImageStats = change(measure(picture(100 + index % 10)))  # type: ignore[operator]
        if alarm := watched.update(float(score), stats):
            assert word in alarm.cause
            assert "edgead calibrate" in str(alarm)
            return
    pytest.fail("there was no alarm")
