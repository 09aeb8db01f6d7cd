"""Maps to one map and one score on the GPU, against `edgead.ops`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import ops
from edgead.bundle import FusionSpec, InputSpec, MapSpec, ScoreSpec, TileSpec
from edgead.cuda import fuse as fusing
from edgead.cuda.buffers import HostDeviceBuffer, ResultBlock
from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.fuse import DeviceMap, Fuse
from edgead.cuda.kernels import Kernels
from edgead.errors import EngineError

sizes = st.tuples(st.integers(1, 24), st.integers(1, 24))
numbers = st.floats(-3, 3, width=32)
parts = st.tuples(sizes, st.booleans(), numbers, numbers, numbers)


class Bench:
    """Runs a fusion on maps of the host."""

    def __init__(self, gpu: CudaContext, kernels: Kernels, stream: Stream) -> None:
        self.gpu, self.kernels, self.stream = gpu, kernels, stream

    def run(
        self,
        spec: FusionSpec,
        maps: dict[str, np.ndarray],
        mask: np.ndarray | None = None,
        frames: InputSpec | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fused maps and scores for maps (batch, h, w), which may be float16."""
        count = len(next(iter(maps.values()))) // (1 if frames is None else frames.batch)
        outputs = {}
        for name, values in maps.items():
            mirror = HostDeviceBuffer(self.gpu, values.shape, values.dtype)
            mirror.host[...] = values
            mirror.upload(self.stream)
            outputs[name] = DeviceMap(mirror.address, *values.shape[1:], half=values.dtype == np.float16)
        results = ResultBlock(self.gpu, Fuse.layout(spec, count))
        fuse = Fuse(self.gpu, self.kernels, spec, count, outputs, self.stream, results, mask, frames)
        fuse.launch(count, self.stream)
        results.download(self.stream)
        self.stream.synchronize()
        return fuse.maps.copy(), fuse.scores.copy()


@pytest.fixture(scope="module", params=["one kernel", "several kernels"])
def bench(request: pytest.FixtureRequest, gpu: CudaContext, kernels: Kernels, stream: Stream) -> Iterator[Bench]:
    """Each test is of both ways: small maps in one kernel, and as large ones go, in several blocks a frame."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        if request.param == "several kernels":
            monkeypatch.setattr(fusing, "SMALL", 0)
            monkeypatch.setattr(fusing, "SLICE", 200)
        yield Bench(gpu, kernels, stream)


def assert_fused_as_on_the_cpu(
    bench: Bench, spec: FusionSpec, maps: dict[str, np.ndarray], mask: np.ndarray | None = None
) -> None:
    fused, scores = bench.run(spec, maps, mask)
    for index in range(len(fused)):
        frame = {name: values[index].astype(np.float32) for name, values in maps.items()}
        expected = ops.fuse(frame, spec, mask)
        largest = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(fused[index], expected, atol=2e-5 * largest, rtol=0)
        assert scores[index] == pytest.approx(ops.image_score(fused[index], spec), rel=1e-12, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(parts, min_size=1, max_size=4),
    sizes,
    st.sampled_from(["sum", "product"]),
    st.sampled_from([0.0, 0.0, 0.5, 1.7, 6.0]),
    st.booleans(),
    st.integers(1, 700),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
def test_any_fusion(
    bench: Bench,
    given_parts: list[Any],
    grid: tuple[int, int],
    combine: Any,
    sigma: float,
    masked: bool,
    top: int,
    batch: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    maps, specs = {}, []
    for index, (size, half, weight, scale, offset) in enumerate(given_parts):
        values = rng.standard_normal((batch, *size))
        maps[f"m{index}"] = values.astype(np.float16 if half else np.float32)
        specs.append(MapSpec(name=f"m{index}", weight=weight, scale=scale, offset=offset))
    spec = FusionSpec(
        maps=tuple(specs), height=grid[0], width=grid[1], combine=combine, sigma=sigma, score=ScoreSpec(top=top)
    )
    assert_fused_as_on_the_cpu(
        bench, spec, maps, rng.integers(0, 256, grid).astype(np.float32) / 255 if masked else None
    )


def test_a_wide_gaussian_on_a_small_grid(bench: Bench) -> None:
    spec = FusionSpec(maps=(MapSpec(name="a"),), height=5, width=70, sigma=30.0)
    assert_fused_as_on_the_cpu(bench, spec, {"a": np.random.default_rng(0).random((2, 5, 70), np.float32)})


@pytest.mark.parametrize("top", [1, 7])
@pytest.mark.parametrize("sigma", [1.0, 8.0, 8.4, 20.0])  # 8.4: the first that reaches beyond 24 cells
@pytest.mark.parametrize("grid", [(70, 65), (33, 128), (200, 40)])
def test_large_maps_are_smoothed_tile_by_tile(bench: Bench, grid: tuple[int, int], sigma: float, top: int) -> None:
    spec = FusionSpec(maps=(MapSpec(name="a"),), height=grid[0], width=grid[1], sigma=sigma, score=ScoreSpec(top=top))
    rng = np.random.default_rng(0)
    values, mask = rng.standard_normal((2, *grid)).astype(np.float32), rng.random(grid, np.float32)
    values[1] -= 10  # the largest of a frame may be below 0
    assert_fused_as_on_the_cpu(bench, spec, {"a": values}, mask if sigma < 8 else None)


def test_a_gaussian_that_no_kernel_reaches(bench: Bench) -> None:
    spec = FusionSpec(maps=(MapSpec(name="a"),), height=65, width=64, sigma=54.0)
    with pytest.raises(EngineError, match="smooth by 53 cells at most, not 54: use the CPU"):
        bench.run(spec, {"a": np.zeros((1, 65, 64), np.float32)})


def score_of(bench: Bench, values: np.ndarray, top: int) -> float:
    height, width = values.shape
    spec = FusionSpec(maps=(MapSpec(name="a"),), height=height, width=width, score=ScoreSpec(top=top))
    fused, scores = bench.run(spec, {"a": np.stack([values, np.zeros_like(values), values])})
    assert np.array_equal(fused[0], values, equal_nan=True)
    np.testing.assert_equal(scores[0], scores[2])
    assert scores[1] == 0
    return float(scores[0])


few_values = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-42, 3.4e38, -3.4e38, 0.1, 0.10000001])
values = few_values | st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=30, deadline=None)
@given(st.lists(values, min_size=1, max_size=90), st.data())
def test_the_mean_of_the_largest_with_ties_and_extremes(bench: Bench, some: list[float], data: st.DataObject) -> None:
    top = data.draw(st.integers(1, len(some)))
    cells = np.array([some], np.float32)
    expected = float(np.sort(cells[0])[::-1][:top].astype(np.float64).mean())
    assert score_of(bench, cells, top) == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_many_cells_for_each_thread(bench: Bench) -> None:
    values = np.random.default_rng(1).standard_normal((97, 131)).astype(np.float32)
    for top in (1, 2, 100, 5000, values.size):
        expected = np.sort(values, axis=None)[::-1][:top].mean(dtype=np.float64)
        assert score_of(bench, values, top) == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("top", [1, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_value_that_is_no_number_reaches_the_score(bench: Bench, top: int, sign: int) -> None:
    values = np.zeros((6, 7), np.float32)
    values[2, 3] = np.copysign(np.nan, sign)
    assert np.isnan(score_of(bench, values, top))
    values[2, 3] = sign * np.inf
    expected = np.inf if sign > 0 else 0.0
    assert score_of(bench, values, top) == expected


@pytest.mark.parametrize("half", [False, True])
def test_no_number_is_smoothed_or_interpolated_away(bench: Bench, half: bool) -> None:
    values = np.ones((1, 5, 6), np.float16 if half else np.float32)
    values[0, 2, 2] = np.nan
    spec = FusionSpec(maps=(MapSpec(name="a"),), height=8, width=16, sigma=0.7)  # no cell lies on one of the map
    fused, scores = bench.run(spec, {"a": values})
    assert np.isnan(scores[0])
    expected = ops.fuse({"a": values[0].astype(np.float32)}, spec)
    assert np.array_equal(np.isnan(fused[0]), np.isnan(expected))


def test_as_many_maps_as_the_kernel_takes(bench: Bench) -> None:
    def spec(count: int) -> FusionSpec:
        return FusionSpec(maps=tuple(MapSpec(name=f"m{index}") for index in range(count)), height=4, width=4)

    maps = {f"m{index}": np.full((1, 4, 4), index, np.float32) for index in range(17)}
    fused, _ = bench.run(spec(16), maps)
    assert (fused == 120).all()
    with pytest.raises(EngineError, match="16 maps, not 17"):
        bench.run(spec(17), maps)


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3)).filter(lambda grid: grid != (1, 1)),
    st.integers(0, 4),
    st.sampled_from(["sum", "product"]),
    st.sampled_from([0.0, 1.2]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_the_maps_of_tiles_are_blended(
    bench: Bench, grid: tuple[int, int], overlap: int, combine: Any, sigma: float, half: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    tiles = TileSpec(rows=grid[0], columns=grid[1], overlap=8 * overlap)
    frames = InputSpec(height=64, width=64, scale=(1.0,) * 3, offset=(0.0,) * 3, tiles=tiles)
    height, width = (side // 8 for side in frames.frame)
    parts = (MapSpec(name="a", scale=0.7), MapSpec(name="b", offset=0.2))
    spec = FusionSpec(maps=parts, height=height, width=width, combine=combine, sigma=sigma, score=ScoreSpec(top=5))
    maps = {
        name: random.normal(size=(2 * frames.batch, side, side)).astype(np.float16 if half else np.float32)
        for name, side in (("a", 8), ("b", 4))
    }
    mask = random.random((height, width)).astype(np.float32)
    fused, scores = bench.run(spec, maps, mask, frames)
    for index in range(2):
        rows = slice(index * frames.batch, (index + 1) * frames.batch)
        expected = ops.fuse_batch(
            {name: values[rows].astype(np.float32) for name, values in maps.items()}, frames, spec, mask
        )
        np.testing.assert_allclose(fused[index], expected, atol=5e-5 * max(1.0, float(np.abs(expected).max())), rtol=0)
        assert scores[index] == pytest.approx(ops.image_score(fused[index], spec), rel=1e-12, abs=1e-12)
