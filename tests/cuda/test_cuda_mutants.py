"""The emulator notices what a GPU would suffer from: a barrier that is left out of a kernel shows in its numbers."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import emulated
import numpy as np
import pytest

from edgead import ops
from edgead.bundle import ComponentSpec, FusionSpec, HistogramSpec, MapSpec, Scale, ScoreSpec
from edgead.cuda import fuse as fusing
from edgead.cuda.buffers import HostDeviceBuffer, ResultBlock
from edgead.cuda.compile import SOURCES
from edgead.cuda.components import ComponentHistograms
from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.fuse import DeviceMap, Fuse
from edgead.cuda.kernels import Kernels
from edgead.ops.components import Components, ComponentStatistics, count_components, distance, label_cells

FRAMES, SIZE = 4, (12, 16)
BARRIER = re.compile(r"__syncthreads\(\);")
ANY = Scale(center=0.0, spread=1.0)


def sent(gpu: CudaContext, values: np.ndarray, stream: Stream) -> DeviceMap:
    mirror = HostDeviceBuffer(gpu, values.shape, values.dtype)
    mirror.host[...] = values
    mirror.upload(stream)
    return DeviceMap(mirror.address, *values.shape[-2:])


def scores_are_right(gpu: CudaContext, stream: Stream) -> bool:
    maps = np.random.default_rng(0).standard_normal((FRAMES, *SIZE)).astype(np.float32)
    right = True
    for small, top, sigma in itertools.product((fusing.SMALL, 0), (1, 20), (0.0, 1.5)):
        score, (height, width) = ScoreSpec(top=top), SIZE
        spec = FusionSpec(maps=(MapSpec(name="a"),), height=height, width=width, sigma=sigma, score=score)
        results = ResultBlock(gpu, Fuse.layout(spec, FRAMES))
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(fusing, "SMALL", small)
            monkeypatch.setattr(fusing, "SLICE", 70)  # three blocks a frame: the last one's threads run in either order
            fuse = Fuse(gpu, Kernels(gpu), spec, FRAMES, {"a": sent(gpu, maps, stream)}, stream, results)
        fuse.launch(FRAMES, stream)
        results.download(stream)
        stream.synchronize()
        expected = [ops.fuse({"a": one}, spec) for one in maps]
        right &= np.allclose(fuse.maps, expected, rtol=0, atol=1e-5)
        right &= np.allclose(fuse.scores, [ops.image_score(one, spec) for one in fuse.maps], rtol=1e-9, atol=0)
    return right


def histograms_are_right(gpu: CudaContext, stream: Stream) -> bool:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((FRAMES, 3, *SIZE)).astype(np.float32)
    # so many blocks a frame that the last ones' threads run in either order, and a second histogram that has one row
    grids = {3: 8, 1: 1}
    statistics = tuple(
        ComponentStatistics(
            rng.random(2 * rows, np.float32), np.ones(2 * rows, np.float32), rng.random((factors, 2 * rows), np.float32)
        )
        for rows, factors in grids.items()
    )
    specs = tuple(HistogramSpec(rows=rows, columns=1, statistics="s.npy", scale=ANY) for rows in grids)
    spec = ComponentSpec(
        names=("a", "b", "c"), height=SIZE[0], width=SIZE[1], histograms=specs, logical=ANY, structural=ANY
    )
    components = Components(spec, statistics)
    results = ResultBlock(gpu, ComponentHistograms.layout(components, FRAMES))
    judged = ComponentHistograms(gpu, Kernels(gpu), components, sent(gpu, logits, stream), stream, results)
    judged.launch(FRAMES, stream)
    results.download(stream)
    stream.synchronize()
    labels = [label_cells(one, *SIZE) for one in logits]
    expected = [
        [distance(count_components(one, 3, rows, 1), fitted) for rows, fitted in zip(grids, statistics, strict=True)]
        for one in labels
    ]
    return np.allclose(judged.distances, expected, rtol=1e-5, atol=0)


CHECKS = {"blur": scores_are_right, "fuse": scores_are_right, "components": histograms_are_right}


def outcome(file: str, emulator: emulated.Emulator, monkeypatch: pytest.MonkeyPatch) -> bool:
    with emulator.installed(monkeypatch):
        gpu = CudaContext()
        with gpu.current():
            right = CHECKS[file](gpu, gpu.stream())
        gpu.close()
    return right


@pytest.mark.parametrize("file", emulated.FILES)
def test_kernels_with_barriers_have_a_check(file: str) -> None:
    assert (file in CHECKS) == bool(BARRIER.search((SOURCES / f"{file}.cu").read_text()))


@pytest.mark.parametrize("file", CHECKS)
def test_with_all_its_barriers_it_is_right(
    file: str, emulator: emulated.Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outcome(file, emulator, monkeypatch)


@pytest.mark.parametrize(
    ("file", "number"),
    [(file, n) for file in CHECKS for n in range(len(BARRIER.findall((SOURCES / f"{file}.cu").read_text())))],
)
def test_without_one_of_its_barriers_it_is_wrong(
    file: str, number: int, emulator: emulated.Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (SOURCES / f"{file}.cu").read_text()
    start, end = [found.span() for found in BARRIER.finditer(text)][number]
    mutant = emulated.build_kernels(file, tmp_path, text[:start] + text[end:], flags=("-O0",))
    monkeypatch.setitem(emulator.kernels, file, mutant)
    assert not outcome(file, emulator, monkeypatch)
