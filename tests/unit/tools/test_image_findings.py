"""What good images say of the camera: color, and the detail that an input shows of them."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
import pytest
import tiny

from edgead import Bundle
from edgead.bundle import InputSpec
from edgead.stream.health import measure
from edgead.types import ImageU8
from edgead_tools.pipeline.build_page import BuildSummary, limits
from edgead_tools.pipeline.image_findings import (
    ALL,
    Detail,
    color_findings,
    detail_finding,
    image_findings,
    larger_input,
    measure_detail,
)

HEIGHT, WIDTH = 300, 400
INPUT = InputSpec(height=256, width=256, scale=(1.0,) * 3, offset=(0.0,) * 3)
LARGE = 2048, 2448


def picture(seed: int, *, soft: float = 0.0, noise: float = 2.0) -> ImageU8:
    """As much detail in every octave, down to the pixel, seen through a lens that spreads a point by `soft` pixels."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)[None])
    frequency[0, 0] = np.inf
    scene = np.fft.irfft2(np.fft.rfft2(random.normal(size=(HEIGHT, WIDTH))) / frequency, (HEIGHT, WIDTH))
    scene = 128 + 40 * scene / scene.std()
    seen = cv2.GaussianBlur(scene, (0, 0), soft) if soft else scene
    seen = seen + noise * random.normal(size=seen.shape)
    return np.repeat(np.clip(seen.round(), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize(("soft", "low", "high"), [(0.0, 1.0, 1.8), (1.0, 2.0, 3.2), (2.0, 3.8, 6.0), (4.0, 7.0, 12.0)])
@pytest.mark.parametrize("noise", [1.0, 6.0])
def test_detail_ends_where_the_lens_ends_it_and_noise_is_none(
    soft: float, low: float, high: float, noise: float
) -> None:
    found = [measure_detail(picture(seed, soft=soft, noise=noise), (HEIGHT, WIDTH)) for seed in range(3)]
    assert low < np.median([one.sharp for one in found]) < high
    assert all(one.kept == pytest.approx(1) for one in found)  # not resized


def test_a_sharp_picture_loses_what_a_soft_one_does_not_have() -> None:
    half = HEIGHT // 2, WIDTH // 2
    sharp, soft = (measure_detail(picture(1, soft=one), half) for one in (0.0, 2.0))
    assert 0.5 < sharp.kept < 0.9
    assert soft.kept > ALL
    narrow = measure_detail(picture(1), (HEIGHT, WIDTH // 2))
    assert sharp.kept < narrow.kept < 1


def test_resizing_to_the_size_that_is_named_keeps_what_is_said() -> None:
    image = picture(2, soft=1.0)
    sharp = measure_detail(image, (HEIGHT, WIDTH)).sharp
    kept = measure_detail(image, (round(HEIGHT / sharp), round(WIDTH / sharp))).kept
    assert kept == pytest.approx(ALL, abs=0.02)


def test_a_picture_without_any_detail_loses_none() -> None:
    assert measure_detail(np.full((64, 64, 3), 7, np.uint8), (32, 32)) == Detail(1.0, 1.0)


@pytest.mark.parametrize(
    ("sharp", "overlap", "square", "option"),
    [
        (8.0, 32, False, "--size 320x256"),  # few tiles are as well seen at once
        (2.0, 32, False, "--tiles 6x5"),
        (2.0, None, False, "--size 1248x1024"),
        (2.0, 32, True, "--size 1248"),
        (1.2, 32, False, "--tiles auto"),  # more tiles than a survey looks at
    ],
)
def test_the_smallest_input_that_shows_all_is_named(
    sharp: float, overlap: int | None, square: bool, option: str
) -> None:
    assert larger_input(LARGE, Detail(0.4, sharp), INPUT, overlap, square=square) == option


def test_what_the_input_shows_is_told() -> None:
    less = detail_finding(LARGE, Detail(0.41, 2.0), INPUT, "--tiles 6x5")
    assert less == {
        "found": "the frames hold more detail than the input shows",
        "figures": "frames of 2448 x 2048 are seen at 256 x 256, 9.6 times smaller, which keeps 41% of their detail",
        "chosen": "41% of the detail counts, where --tiles 6x5 would show 95%",
        "overrule": "--tiles 6x5",
    }
    assert detail_finding(LARGE, Detail(0.41, 1.0), INPUT, "--tiles auto")["chosen"].endswith(
        "tells which tiles show more"
    )
    everything = detail_finding((128, 128), Detail(1.0, 1.3), INPUT, "--size 128x128")
    assert everything["figures"] == "frames of 128 x 128 are seen at 256 x 256"
    assert everything["chosen"] == "a larger input would show nothing finer"


@pytest.mark.parametrize(
    ("colors", "found"),
    [
        ([0.0, 1.4], "the images are gray"),
        ([0.0, 30.0, 40.0], "1 of 3 images are gray, others in color"),
        ([7.0, 30.0], "the images are in color"),
        ([3.0, 5.0], None),  # nothing follows from a faint one
    ],
)
def test_whether_there_is_color_is_told_where_something_follows(colors: list[float], found: str | None) -> None:
    assert [one["found"] for one in color_findings(colors)] == ([] if found is None else [found])


def test_a_build_has_rows_and_figures_of_all_images() -> None:
    images = [picture(seed) for seed in range(3)]
    large = measure(cv2.resize(images[0], (2 * WIDTH, 2 * HEIGHT)))
    small = msgspec.structs.replace(INPUT, height=96, width=128)
    rows, figures = image_findings([*map(measure, images), large], images, small, overlap=None, square=False)
    assert [one["found"] for one in rows] == [
        "the images are gray",
        "the frames hold more detail than the input shows",
    ]
    assert figures["frame"] == [HEIGHT, WIDTH]  # the median
    assert figures["color"] == 0
    assert f"keeps {figures['kept']:.0%}" in rows[1]["figures"]


@pytest.mark.parametrize(("kept", "said"), [(0.5, True), (0.97, False)])
def test_no_larger_input_is_asked_for_where_the_frames_hold_nothing_finer(kept: float, said: bool) -> None:
    manifest = tiny.manifest(provenance={"training": {"images": {"kept": kept}}})
    summary = BuildSummary(
        bundle=Bundle(manifest, {}, "0" * 64, None),
        good=(),
        parts=[1] * 200,
        linked=False,
        left=(),
        frame_size=LARGE,
        timed=True,
        evaluation=None,
        frame=lambda sample: picture(0),
    )
    assert any("are shrunk" in one for one in limits(summary)) == said
