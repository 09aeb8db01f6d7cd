"""The arithmetic from a frame to a verdict, against plain slow versions of it."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import Verdict, ops
from edgead.bundle import FusionSpec, InputSpec, MapSpec, ScoreSpec
from edgead.errors import DataError


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (480, 640), (65, 1000), (8, 8)])
def test_a_constant_image_stays_constant(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), (10, 128, 255), np.uint8)
    resized = ops.resize(image, 32, 48)
    assert resized.shape == (32, 48, 3)
    assert (resized == np.array([10, 128, 255])).all()


def test_the_same_size_is_the_identity() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 56, 3)).astype(np.uint8)
    assert np.array_equal(ops.resize(image, 40, 56), image)


def test_a_fine_checkerboard_does_not_alias() -> None:
    board = (np.indices((720, 1280)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = cv2.merge([board] * 3)
    plain = cv2.resize(image, (96, 96), interpolation=cv2.INTER_LINEAR)
    assert ops.resize(image, 96, 96).std() < 0.1 * plain.std()


def test_normalize_follows_the_spec() -> None:
    spec = InputSpec(height=16, width=24, scale=(0.01, 0.02, 0.03), offset=(-1.0, 0.0, 2.5))
    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3)).astype(np.uint8)
    expected = (image * np.array(spec.scale) + np.array(spec.offset)).transpose(2, 0, 1)
    out = np.empty((3, 16, 24), np.float32)
    assert ops.to_input(image, spec, out) is out
    np.testing.assert_allclose(out, expected, atol=1e-5)


def slow_fuse(maps: dict[str, np.ndarray], spec: FusionSpec) -> np.ndarray:
    """`ops.fuse` as its docstring defines it, cell by cell in float64."""
    fused = None
    for part in spec.maps:
        source = part.weight * (maps[part.name].astype(np.float64) * part.scale + part.offset)
        grid = np.array([[bilinear(source, y, x, spec) for x in range(spec.width)] for y in range(spec.height)])
        fused = grid if fused is None else fused + grid if spec.combine == "sum" else fused * grid
    radius = math.ceil(3 * spec.sigma)
    if radius:
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / spec.sigma) ** 2)
        kernel /= kernel.sum()
        padded = np.pad(fused, radius, mode="edge")
        rows = np.apply_along_axis(np.convolve, 1, padded, kernel, "valid")
        fused = np.apply_along_axis(np.convolve, 0, rows, kernel, "valid")
    return fused


def bilinear(source: np.ndarray, row: int, column: int, spec: FusionSpec) -> float:
    height, width = source.shape
    y = min(max((row + 0.5) * height / spec.height - 0.5, 0), height - 1)
    x = min(max((column + 0.5) * width / spec.width - 0.5, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = source[top, left] * (1 - (x - left)) + source[top, right] * (x - left)
    lower = source[bottom, left] * (1 - (x - left)) + source[bottom, right] * (x - left)
    return float(upper * (1 - (y - top)) + lower * (y - top))


@pytest.mark.parametrize("combine", ["sum", "product"])
@pytest.mark.parametrize("sigma", [0.0, 0.8, 2.5])
def test_fuse_equals_its_definition(combine: str, sigma: float) -> None:
    rng = np.random.default_rng(3)
    maps = {
        "a": rng.random((6, 9), np.float32),
        "b": rng.random((12, 18), np.float32),
        "c": rng.random((3, 3), np.float32),
    }
    parts = (
        MapSpec(name="a", weight=0.5, scale=2.0, offset=-0.25),
        MapSpec(name="b", offset=1.0),
        MapSpec(name="c", scale=-1.5),
    )
    spec = FusionSpec(maps=parts, height=12, width=18, combine=combine, sigma=sigma)
    before = {name: values.copy() for name, values in maps.items()}
    np.testing.assert_allclose(ops.fuse(maps, spec), slow_fuse(maps, spec), atol=2e-5)
    assert all(np.array_equal(maps[name], before[name]) for name in maps)


def test_fuse_gives_a_fresh_map() -> None:
    maps = {"a": np.ones((4, 4), np.float32)}
    fused = ops.fuse(maps, FusionSpec(maps=(MapSpec(name="a"),), height=4, width=4))
    assert not np.shares_memory(fused, maps["a"])


@given(st.integers(1, 200))
def test_the_score_lies_between_mean_and_maximum(top: int) -> None:
    values = np.random.default_rng(top).random((10, 12), np.float32)
    spec = FusionSpec(maps=(MapSpec(name="a"),), height=10, width=12, score=ScoreSpec(top=top))
    expected = np.sort(values, axis=None)[::-1][:top].mean(dtype=np.float64)
    assert ops.image_score(values, spec) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("raw", "calibrated"), [(2.0, 0.0), (4.0, 1.0), (1.0, -0.5), (8.0, 3.0)])
def test_calibrate(raw: float, calibrated: float) -> None:
    assert ops.calibrate(raw, 2.0, 4.0) == calibrated


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(-1.0, "OK"), (1.0, "OK"), (1.0000001, "NG"), (math.inf, "NG"), (-math.inf, "NG"), (math.nan, "NG")],
)
def test_judge(score: float, verdict: str) -> None:
    assert ops.classify(score) is Verdict(verdict)


@pytest.mark.parametrize("top", [1, 5])
def test_a_cell_that_is_no_number_makes_the_part_ng(top: int) -> None:
    values = np.zeros((4, 4), np.float32)
    values[1, 2] = np.nan
    spec = FusionSpec(maps=(MapSpec(name="a"),), height=4, width=4, score=ScoreSpec(top=top))
    assert ops.classify(ops.calibrate(ops.image_score(values, spec), 0.0, 1.0)) is Verdict.NG


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.tuples(st.integers(1, 12), st.integers(1, 12)), st.integers(1, 90), st.integers(1, 90))
def test_regions_lie_inside_the_frame(seed: int, grid: tuple[int, int], height: int, width: int) -> None:
    values = (2 * np.random.default_rng(seed).random(grid)).astype(np.float32)
    regions = ops.find_regions(values, (height, width))
    for region in regions:
        assert 0 <= region.x < region.x + region.width <= width
        assert 0 <= region.y < region.y + region.height <= height
        assert region.score > 1.0
    assert [r.score for r in regions] == sorted((r.score for r in regions), reverse=True)
    assert (len(regions) > 0) == bool((values > 1.0).any())


@given(st.integers(0, 10**6), st.floats(1.0, 4.0))
def test_a_higher_threshold_never_adds_area(seed: int, threshold: float) -> None:
    values = cv2.GaussianBlur(np.random.default_rng(seed).random((16, 16)).astype(np.float32) * 4, (5, 5), 1.0)
    low, high = (ops.find_regions(v, (16, 16), limit=999) for v in (values, (values / threshold).astype(np.float32)))
    boxes = [(r.x, r.y, r.x + r.width, r.y + r.height) for r in low]
    for region in high:  # each lies in a region that was there before
        right, bottom = region.x + region.width, region.y + region.height
        assert any(x <= region.x and y <= region.y and right <= x2 and bottom <= y2 for x, y, x2, y2 in boxes)


def test_a_frame_of_noise_gives_a_bounded_result() -> None:
    values = np.zeros((64, 64), np.float32)
    values[::2, ::2] = 2.0
    values[10, 10] = 5.0
    regions = ops.find_regions(values, (64, 64))
    assert len(regions) == 100
    assert (regions[0].x, regions[0].y, regions[0].score) == (10, 10, 5.0)


def test_as_image_accepts_what_cameras_give() -> None:
    bgr = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    assert ops.as_image(bgr) is bgr
    assert np.array_equal(ops.as_image(bgr[:, :, ::-1], color="rgb"), bgr)
    alpha = np.dstack([bgr, np.full((5, 7), 9, np.uint8)])
    assert np.array_equal(ops.as_image(alpha), bgr)
    assert np.array_equal(ops.as_image(alpha[:, :, [2, 1, 0, 3]], color="rgb"), bgr)
    gray = bgr[:, :, 0]
    assert np.array_equal(ops.as_image(gray), cv2.merge([gray] * 3))
    assert np.array_equal(ops.as_image(gray[:, :, np.newaxis]), cv2.merge([gray] * 3))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_sixteen_bit_images_use_their_full_scale(bits: int) -> None:
    image = np.array([[0, 2**bits - 1]], np.uint16)
    assert ops.as_image(image, bits=bits)[0, :, 0].tolist() == [0, 255]
    assert ops.as_image(np.full((3, 4, 1), 2**bits - 1, np.uint16), bits=bits).shape == (3, 4, 3)


@pytest.mark.parametrize("shape", [(), (5,), (0, 5), (5, 0, 3), (5, 5, 0), (5, 5, 2), (5, 5, 5), (1, 5, 5, 3)], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_as_image_refuses_other_shapes(shape: tuple[int, ...], dtype: type) -> None:
    with pytest.raises(DataError, match="must have the shape"):
        ops.as_image(np.zeros(shape, dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.int32, np.bool_, np.complex64, object])
def test_as_image_refuses_other_types(dtype: type) -> None:
    with pytest.raises(DataError, match="must be uint8"):
        ops.as_image(np.zeros((4, 4, 3), dtype))
