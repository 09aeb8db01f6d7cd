"""What good images are is checked wherever they are taken: copies, frames of one part, strange ones, another light."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from painted import texture

from edgead import Bundle
from edgead.types import Frame
from edgead_calibration.good_images import GoodImages, moved_in_words, one_each, part_numbers, thumbnail
from edgead_calibration.health import fit_health

Output = tuple[int, str, str]
Command = Callable[..., Output]
Image = NDArray[np.uint8]


def part(seed: int) -> Image:
    """A part that differs from others as parts on a line do, with the bright marks that tiny bundles see."""
    return np.asarray(cv2.resize(texture(seed, 12, 12), (256, 256)) // 6 + 20, np.uint8)


def filmed(image: Image, seed: int, noise: float = 3.0) -> Image:
    """Another frame of the same part: noise, and a lamp that flickers."""
    random = np.random.default_rng(seed)
    return np.clip(image * random.uniform(0.98, 1.02) + random.normal(0, noise, image.shape), 0, 255).astype(np.uint8)


def save(folder: Path, images: list[Image]) -> Path:
    folder.mkdir()
    for index, image in enumerate(images):
        cv2.imwrite(str(folder / f"{index}.png"), image)
    return folder


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    path = tmp_path / "copy.edgead"
    path.write_bytes(tiny_bundle.read_bytes())
    return path


def test_frames_of_one_part_have_its_number() -> None:
    images = [filmed(part(seed), 10 * seed + frame) for seed in range(4) for frame in range(5)]
    assert part_numbers(thumbnail(one) for one in images) == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5


def test_each_part_has_one_score() -> None:
    assert one_each([1.0, 3.0, 2.0, 5.0, 4.0], [0, 0, 1, 2, 2]) == [3.0, 2.0, 5.0]
    assert one_each([1.0, 3.0, 2.0], [0, 0, 0]) == [1.0, 3.0, 2.0]  # nothing is known of other parts: see FEWEST


def test_a_broken_part_among_good_ones_does_not_set_the_threshold(edgead: Command, copy: Path, tmp_path: Path) -> None:
    data, before = save(tmp_path / "good", [part(seed) for seed in range(20)]), copy.read_bytes()
    assert edgead("calibrate", copy, "--data", data, "--out", tmp_path / "clean.edgead")[0] == 0
    cv2.imwrite(str(data / "zz_broken.png"), marked(part(3)))
    code, out, said = edgead("calibrate", copy, "--data", data)
    assert code == 0
    assert "zz_broken.png is much stranger than the other good images and is not counted" in said
    thresholds = [
        Bundle.open(tmp_path / name).manifest.artifacts[0].thresholds for name in ("clean.edgead", "copy.edgead")
    ]
    assert thresholds[1].image == pytest.approx(thresholds[0].image)
    assert "(until now 0.6)" in out
    assert copy.with_name("copy.edgead.old").read_bytes() == before  # nothing is overwritten without a copy


def marked(image: Image) -> Image:
    image = image.copy()
    image[32:160, 32:160] = 250
    return image


def test_copies_are_left_out_and_one_part_is_too_few(edgead: Command, copy: Path, tmp_path: Path) -> None:
    before = copy.read_bytes()
    code, _, said = edgead("calibrate", copy, "--data", save(tmp_path / "same", [part(1)] * 20))
    assert code == 1
    assert "is a duplicate: it has the same pixels as 0.png" in said
    assert "left out 14 more images for the like reasons" in said
    assert "there are 1: give more" in said
    assert copy.read_bytes() == before


def test_a_promise_rests_on_different_parts(edgead: Command, copy: Path, tmp_path: Path) -> None:
    images = [filmed(part(seed), 10 * seed + frame) for seed in range(5) for frame in range(8)]
    code, _, said = edgead("calibrate", copy, "--data", save(tmp_path / "film", images))
    assert code == 0
    assert "40 images show 5 different parts: frames that hardly differ count once" in said
    assert Bundle.open(copy).manifest.artifacts[0].thresholds.images == 5


def test_another_light_than_the_builds_is_said() -> None:
    profile = fit_health([part(seed) for seed in range(10)])
    check = GoodImages()
    assert len(list(check.taken(Frame((part(seed) * 0.8).astype(np.uint8), seed) for seed in range(10)))) == 10
    assert any("these images are darker than those of the build" in one for one in check.findings(profile))
    same = GoodImages()
    assert len(list(same.taken(Frame(part(seed), seed) for seed in range(20, 30)))) == 10
    assert list(same.findings(profile)) == []


def test_images_that_are_all_strange_are_said(tiny_bundle: Path) -> None:
    old = Bundle.open(tiny_bundle).manifest.artifacts[0].thresholds
    assert moved_in_words([old.image_center] * 5, old, old) == ""
    assert "5 of 5 images are NG by the threshold until now" in moved_in_words([old.image + 1] * 5, old, old)
