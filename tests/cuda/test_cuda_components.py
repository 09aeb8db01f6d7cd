"""Class logits to histograms and distances on the GPU, against `edgead.ops.components`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead.bundle import ComponentSpec, HistogramSpec, Scale
from edgead.cuda.buffers import HostDeviceBuffer, ResultBlock
from edgead.cuda.components import ComponentHistograms
from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.fuse import DeviceMap
from edgead.cuda.kernels import Kernels
from edgead.errors import EngineError
from edgead.ops.components import Components, ComponentStatistics, count_components, distance, label_cells

ANY = Scale(center=0.0, spread=1.0)


def components(
    classes: int, size: tuple[int, int], grids: list[tuple[int, int]], rng: np.random.Generator
) -> Components:
    histograms, statistics = [], []
    for rows, columns in grids:
        entries = rows * columns * (classes - 1)
        histograms.append(HistogramSpec(rows=rows, columns=columns, statistics="s.npy", scale=ANY))
        factor = rng.standard_normal((int(rng.integers(1, entries + 1)), entries)).astype(np.float32)
        statistics.append(ComponentStatistics(rng.random(entries, np.float32), np.ones(entries, np.float32), factor))
    names = tuple(f"c{index}" for index in range(classes))
    spec = ComponentSpec(
        names=names, height=size[0], width=size[1], histograms=tuple(histograms), logical=ANY, structural=ANY
    )
    return Components(spec, tuple(statistics))


def counted(
    gpu: CudaContext, kernels: Kernels, stream: Stream, logits: np.ndarray, judged: Components
) -> tuple[ComponentHistograms, ResultBlock]:
    sent = HostDeviceBuffer(gpu, logits.shape, logits.dtype)
    sent.host[...] = logits
    sent.upload(stream)
    batch = len(logits)
    output = DeviceMap(sent.address, *logits.shape[2:], half=logits.dtype == np.float16)
    results = ResultBlock(gpu, ComponentHistograms.layout(judged, batch))
    histograms = ComponentHistograms(gpu, kernels, judged, output, stream, results)
    for _ in range(2):  # counts begin anew each time
        histograms.launch(batch, stream)
    results.download(stream)
    stream.synchronize()
    return histograms, results


def assert_counted_as_on_the_cpu(
    gpu: CudaContext, kernels: Kernels, stream: Stream, logits: np.ndarray, judged: Components
) -> None:
    """Labels and counts exactly, except for cells that nearly tie between two classes; distances to FP32."""
    histograms, _ = counted(gpu, kernels, stream, logits, judged)
    batch, classes = logits.shape[:2]
    assert np.array_equal(histograms.faults, np.isnan(logits).sum(axis=(1, 2, 3)))
    size = judged.spec.height, judged.spec.width
    for frame in range(batch):
        labels = histograms.labels[frame]
        expected = label_cells(logits[frame].astype(np.float32), *size)
        assert (labels != expected).mean() <= (0 if logits.shape[2:] == size else 0.005)
        for index, one in enumerate(judged.spec.histograms):
            counts = histograms.counts[index][frame]
            share = count_components(labels, classes, one.rows, one.columns)
            area = labels.size // (one.rows * one.columns)
            assert (counts.sum(axis=2) == area).all()
            assert np.array_equal(counts[..., 1:].astype(np.float32) / np.float32(area), share)
            far = distance(share, judged.statistics[index])
            assert histograms.distances[frame, index] == pytest.approx(far, rel=1e-5, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 7),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.lists(st.tuples(st.sampled_from([1, 2, 3, 4]), st.sampled_from([1, 2, 3, 6])), min_size=1, max_size=3),
    st.booleans(),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
def test_any_logits_and_grids(
    gpu: CudaContext,
    kernels: Kernels,
    stream: Stream,
    classes: int,
    source: tuple[int, int],
    scale: tuple[int, int],
    grids: list[tuple[int, int]],
    half: bool,
    batch: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    judged = components(classes, (12 * scale[0], 6 * scale[1]), grids, rng)
    logits = rng.standard_normal((batch, classes, *source)).astype(np.float16 if half else np.float32)
    assert_counted_as_on_the_cpu(gpu, kernels, stream, logits, judged)


def test_ties_and_what_is_no_number(gpu: CudaContext, kernels: Kernels, stream: Stream) -> None:
    rng = np.random.default_rng(0)
    logits = rng.integers(-1, 2, (2, 5, 24, 24)).astype(np.float32)
    for value in (np.nan, np.inf, -np.inf):
        logits[rng.random(logits.shape) < 0.1] = value
    assert_counted_as_on_the_cpu(gpu, kernels, stream, logits, components(5, (24, 24), [(1, 1), (2, 2)], rng))


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_logits_that_are_no_numbers_are_counted_wherever_they_lie(
    kind: type, gpu: CudaContext, kernels: Kernels, stream: Stream
) -> None:
    rng = np.random.default_rng(2)
    logits = rng.standard_normal((4, 3, 40, 56)).astype(kind)  # shrunk: most are read by no label
    logits[1, 2, 39, 55] = logits[2, 0, 0, 0] = logits[2, 1, 17, 3] = np.nan
    judged = components(3, (12, 6), [(1, 1), (2, 2)], rng)
    histograms, results = counted(gpu, kernels, stream, logits, judged)
    assert histograms.faults.tolist() == [0, 1, 2, 0]
    assert results.host["faults"] is histograms.faults


def test_the_most_classes_and_several_slices(gpu: CudaContext, kernels: Kernels, stream: Stream) -> None:
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((1, 255, 4, 4)).astype(np.float32)
    assert_counted_as_on_the_cpu(gpu, kernels, stream, logits, components(255, (96, 128), [(1, 1)], rng))


def test_more_histograms_than_the_kernel_counts(gpu: CudaContext, kernels: Kernels, stream: Stream) -> None:
    judged = components(2, (4, 4), [(1, 1)] * 9, np.random.default_rng(0))
    results = ResultBlock(gpu, ComponentHistograms.layout(judged, 1))
    with pytest.raises(EngineError, match="8 histograms, not 9"):
        ComponentHistograms(gpu, kernels, judged, DeviceMap(0, 4, 4), stream, results)
