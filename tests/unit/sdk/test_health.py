"""The camera's health: every trouble is told, good parts in their variation are not."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from lines import QUICK, Memory, Scripted

from edgead import Bundle, Detector, Frame, Verdict
from edgead.bundle import HealthProfile
from edgead.bundle.manifest import decode, encode
from edgead.errors import BundleError, DataError
from edgead.stream.capture import Camera
from edgead.stream.health import HealthCheck, health_issues, measure, offset, red_over_blue, reference_of
from edgead.stream.pipeline import Pipeline
from edgead.stream.sources.synthetic import Scene
from edgead_calibration.health import ENOUGH, fit_health, spread_out
from edgead_calibration.refit import refit_images
from edgead_tools.data.augment import augment

SCENE = Scene(240, 180, seed=5)
PROFILE = fit_health(SCENE.picture(index) for index in range(12))
TROUBLES = {
    "black": (lambda image: image // 40, "too dark"),
    "dark": (lambda image: image // 4, "too dark"),
    "saturated": (lambda image: cv2.convertScaleAbs(image, alpha=6), "too bright"),
    "covered": (lambda image: np.full_like(image, round(image.mean())), "next to nothing"),
    "blurred": (lambda image: cv2.GaussianBlur(image, (0, 0), 4), "blurred"),
    "shifted across": (lambda image: np.roll(image, 24, axis=1), "% across and 0 % down"),
    "shifted up": (lambda image: np.roll(image, -18, axis=0), "0 % across and -10 % down"),
    "small": (lambda image: cv2.resize(image, (120, 90)), "120 x 90 pixels, good parts had 240 x 180"),
    "exchanged": (lambda image: np.ascontiguousarray(image[:, :, ::-1]), "red and blue are exchanged"),
    "gray": (lambda image: cv2.cvtColor(image[:, :, 1], cv2.COLOR_GRAY2BGR), "gray where good parts had colors"),
}


@pytest.mark.parametrize("trouble", sorted(TROUBLES))
def test_every_trouble_is_told(trouble: str) -> None:
    spoil, words = TROUBLES[trouble]
    for index in (100, 101, 102):
        found = health_issues(measure(spoil(SCENE.picture(index))), PROFILE)
        assert len(found) == 1, found
        assert words in found[0]


@settings(max_examples=40, deadline=None)
@given(index=st.integers(0, 10**6), seed=st.integers(0, 10**6), gain=st.floats(0.8, 1.2))
def test_good_parts_in_their_variation_are_judged(index: int, seed: int, gain: float) -> None:
    """Moved, turned, zoomed and lit as much as training allows, under light a fifth weaker or stronger."""
    image = augment(SCENE.picture(index), np.random.default_rng(seed), flips=False, rotation=3.0)
    assert health_issues(measure(cv2.convertScaleAbs(image, alpha=gain)), PROFILE) == []


def test_defects_are_no_trouble_of_the_camera() -> None:
    scratched = replace(SCENE, defects=1)
    for index in range(20):
        assert health_issues(measure(scratched.picture(index)), PROFILE) == []
    missing = SCENE.picture(0)
    missing[45:135, 60:180] = missing[5, 5]  # half of the part is not there
    assert health_issues(measure(missing), PROFILE) == []


def test_parts_in_any_place_and_color_are_not_held_to_one() -> None:
    def part(seed: int) -> np.ndarray:
        random = np.random.default_rng(seed)
        image = random.integers(90, 110, (240, 320, 3)).astype(np.uint8)
        x, y = (int(value) for value in random.integers((40, 40), (280, 200)))
        cv2.rectangle(image, (x - 30, y - 20), (x + 30, y + 20), random.integers(0, 255, 3).tolist(), cv2.FILLED)
        return image

    profile = fit_health(part(seed) for seed in range(30))
    assert [health_issues(measure(part(seed)), profile) for seed in range(100, 140)] == [[]] * 40


def test_what_is_measured_of_pictures_that_can_be_counted_by_hand() -> None:
    image = np.zeros((96, 96, 3), np.uint8)
    image[:, 48:] = (0, 0, 255)
    signs = measure(image)
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    assert signs.size == (96, 96)
    assert signs.brightness == pytest.approx(gray.mean(), abs=1)
    assert signs.contrast == pytest.approx(gray.std(), abs=1)
    assert signs.color == pytest.approx(127.5, abs=2)
    assert (signs.saturated, signs.sharpness) == (0.0, 0.0)  # no green, and 255 red is 76 gray
    step = np.where(np.arange(96) < 48, 0, 200).astype(np.uint8)[None].repeat(96, axis=0)
    edge = measure(cv2.cvtColor(step, cv2.COLOR_GRAY2BGR))
    assert edge.sharpness == pytest.approx(200 / 101, rel=0.05)  # 2 of 94 differences of each row, half of all lines


def test_where_a_moved_scene_is_found() -> None:
    reference = reference_of(PROFILE)
    for right, down in ((0, 0), (4, 0), (0, -3), (5, 2)):
        moved = np.roll(reference, (down, right), axis=(0, 1))
        assert offset(moved, reference)[:2] == (right, down)
    assert red_over_blue(reference, reference) == pytest.approx(1.0)
    assert red_over_blue(reference[:, :, ::-1], reference) == pytest.approx(-1.0)
    gray = np.full_like(reference, 9)
    assert red_over_blue(gray, reference) == 0.0
    assert offset(gray, reference)[2] == 0.0


def test_a_frozen_camera_is_told_by_its_noise() -> None:
    check = HealthCheck(frozen_s=1.0)
    images = [SCENE.picture(index) for index in range(3)]

    def look(image: np.ndarray, clock: float) -> list[str]:
        return check.check(Frame(image, clock=clock), PROFILE)

    assert [look(images[number % 3], 10 + number) for number in range(20)] == [[]] * 20
    still = [look(images[0], 50 + 0.1 * number) for number in range(31)]
    assert still[:10] == [[]] * 10
    assert still[-1] == ["the picture is frozen: not a pixel has changed for 3 s"]
    assert look(images[1], 60.0) == []
    assert [look(images[1], 0.0) for _ in range(50)] == [[]] * 50  # files may be alike
    never = HealthCheck(frozen_s=0.0)
    assert [never.check(Frame(images[0], clock=1.0 + n), PROFILE) for n in range(30)] == [[]] * 30


def test_without_a_profile_an_even_picture_is_told() -> None:
    check = HealthCheck()
    assert check.check(Frame(tiny.good()), None) == []
    assert check.check(Frame(np.full((48, 64, 3), 77, np.uint8)), None) == [
        "the picture shows nothing but one even tone"
    ]


@pytest.mark.parametrize("size", [(8, 8), (9, 300), (1, 1), (2, 5000), (1080, 1920)])
def test_any_size_can_be_measured(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    signs = measure(image)
    assert all(np.isfinite([signs.brightness, signs.contrast, signs.sharpness, signs.color]))
    assert health_issues(signs, PROFILE)


def test_a_full_hd_frame_is_looked_at_within_a_millisecond_of_work() -> None:
    image = cv2.resize(SCENE.picture(0), (1920, 1080))
    measure(image)
    spent = []
    for _ in range(15):
        start = time.thread_time()
        health_issues(measure(image), PROFILE)
        spent.append(time.thread_time() - start)
    assert min(spent) < 2e-3  # 0.7 ms were measured; the margin is for slow machines


def test_the_profile_is_part_of_the_manifest(tiny_bundle: Path) -> None:
    manifest = tiny.manifest(health=PROFILE)
    assert decode(encode(manifest)) == manifest
    assert decode(encode(tiny.manifest())).health is None
    short = msgspec.structs.asdict(PROFILE) | {"thumbnail": b"abc"}
    with pytest.raises(ValueError, match="6912 bytes"):
        HealthProfile(**short)
    with pytest.raises(BundleError, match="health"):
        decode(encode(manifest).replace(b'"likeness":', b'"likenes":'))
    with pytest.raises(DataError, match="at least one good image"):
        fit_health([])
    assert list(spread_out(3)) == [0, 1, 2]
    many = spread_out(1000)
    assert (len(many), many[0], many[-1], len(set(many))) == (ENOUGH, 0, 990, ENOUGH)


def test_a_refit_on_site_renews_the_profile(tiny_bundle: Path) -> None:
    images = [tiny.good(number, 60, 90) for number in range(5)]
    renewed = refit_images(Bundle.open(tiny_bundle), images, 0.2).health
    assert renewed is not None
    assert (renewed.images, renewed.sizes) == (5, ((90, 60),))


def test_a_camera_in_trouble_is_invalid_and_never_ok(tmp_path: Path) -> None:
    sink = Memory()
    images = [tiny.good(number, 96, 128) for number in range(10)]
    bundle = tiny.write_tiny(tmp_path / "b.edgead", health=fit_health(images))
    shown = [images[0], images[0] // 30, tiny.bad(3, 96, 128), cv2.resize(images[1], (64, 48)), images[1]]
    with Detector(bundle, threads=1) as detector:
        line = Pipeline([Camera("", Scripted(shown, live=False))], detector, [sink], replace(QUICK, health=True))
        line.run()
    assert [result.verdict.value for result in sink.results] == ["OK", "INVALID", "NG", "INVALID", "OK"]
    assert "too dark" in sink.results[1].reasons[0]
    assert sink.results[3].frame_size == (48, 64)
    assert sink.results[1].verdict is Verdict.INVALID
    assert not np.isfinite(sink.results[1].score)
