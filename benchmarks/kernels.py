"""The CUDA kernels: the time of each, the time that its bytes take at the GPU's measured bandwidth, and the host's.

    python benchmarks/kernels.py [--frame 1920x1080] [--side 256] [--rounds 100] [--out FILE]

Medians. The GPU's microseconds are those of one launch out of a CUDA graph of 20, between two of its events: events
around calls from Python would measure Python. The launches take turns on copies of the inputs, so that none finds
its own in the cache. The host's are of one thread of `edgead.ops` for as many frames. Below
`FLOOR_US` a launch itself is what is measured, and the ratio to the bandwidth's least says nothing. Without a GPU it
says so and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgead import ops
from edgead.bundle import ComponentSpec, FusionSpec, HistogramSpec, InputSpec, MapSpec, Scale, ScoreSpec
from edgead.cuda.buffers import Buffer, HostDeviceBuffer, ResultBlock
from edgead.cuda.components import ComponentHistograms
from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.frame_buffer import FrameBuffer
from edgead.cuda.fuse import DeviceMap, Fuse
from edgead.cuda.graph import Graph
from edgead.cuda.kernels import Kernels
from edgead.cuda.resize import Resize
from edgead.errors import EngineError
from edgead.ops.components import Components, ComponentStatistics, count_components, distance, label_cells
from edgead.system.device import describe_device

LAUNCHES = 20  # of one graph
COPIES = 4  # of the inputs
FLOOR_US = 10.0


@dataclass(frozen=True, slots=True)
class Case:
    """The same work on the GPU and on the host, and the bytes that it must read and write at least."""

    launch: Callable[[], object]
    host: Callable[[], object]
    size: int


def sent(gpu: CudaContext, values: np.ndarray, stream: Stream) -> DeviceMap:
    mirror = HostDeviceBuffer(gpu, values.shape, values.dtype)
    mirror.host[...] = values
    mirror.upload(stream)
    return DeviceMap(mirror.address, *values.shape[-2:], half=values.dtype == np.float16)


def resizing(gpu: CudaContext, kernels: Kernels, stream: Stream, frames: np.ndarray, side: int) -> Case:
    spec = InputSpec(height=side, width=side, scale=(0.017, 0.018, 0.017), offset=(-1.8, -2.0, -2.1))
    resize = Resize(gpu, kernels, spec, len(frames), half=True)
    pictures = FrameBuffer(gpu, len(frames)).upload(list(frames), stream)
    out = np.empty((3, side, side), np.float32)

    def host() -> None:
        for frame in frames:
            ops.to_input(frame, spec, out)

    return Case(lambda: resize.launch(pictures, stream), host, frames.nbytes + resize.tensor.size)


def fusing(gpu: CudaContext, kernels: Kernels, stream: Stream, batch: int, side: int) -> Case:
    rng = np.random.default_rng(0)
    maps = {name: rng.random((batch, side // n, side // n), np.float32) for name, n in {"a": 4, "b": 8}.items()}
    parts = tuple(MapSpec(name=name) for name in maps)
    spec = FusionSpec(maps=parts, height=side, width=side, sigma=4.0, score=ScoreSpec(top=100))
    outputs = {name: sent(gpu, one, stream) for name, one in maps.items()}
    fuse = Fuse(gpu, kernels, spec, batch, outputs, stream, ResultBlock(gpu, Fuse.layout(spec, batch)))

    def host() -> None:
        for index in range(batch):
            ops.image_score(ops.fuse({name: one[index] for name, one in maps.items()}, spec), spec)

    return Case(lambda: fuse.launch(batch, stream), host, sum(m.nbytes for m in maps.values()) + fuse.maps.nbytes)


def counting(gpu: CudaContext, kernels: Kernels, stream: Stream, batch: int, side: int) -> Case:
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((batch, 6, side // 4, side // 4)).astype(np.float32)
    unit = Scale(center=0.0, spread=1.0)
    specs, statistics = [], []
    for cells in (1, 2):
        entries = 5 * cells**2
        specs.append(HistogramSpec(rows=cells, columns=cells, statistics="s.npy", scale=unit))
        factor = rng.standard_normal((entries, entries)).astype(np.float32)
        statistics.append(ComponentStatistics(rng.random(entries, np.float32), np.ones(entries, np.float32), factor))
    spec = ComponentSpec(
        names=tuple("abcdef"), height=side, width=side, histograms=tuple(specs), logical=unit, structural=unit
    )
    components = Components(spec, tuple(statistics))
    results = ResultBlock(gpu, ComponentHistograms.layout(components, batch))
    histograms = ComponentHistograms(gpu, kernels, components, sent(gpu, logits, stream), stream, results)

    def host() -> None:
        for one in logits:
            labels = label_cells(one, side, side)
            for grid, fitted in zip(specs, statistics, strict=True):
                distance(count_components(labels, 6, grid.rows, grid.columns), fitted)

    return Case(lambda: histograms.launch(batch, stream), host, logits.nbytes + histograms.labels.nbytes)


def gpu_us(gpu: CudaContext, stream: Stream, work: Sequence[Callable[[], object]], rounds: int) -> float:
    """Microseconds of one launch: the median of `rounds` runs of a graph in which those of `work` take turns."""
    for one in work:  # what they allocate is there before they are recorded
        one()
    stream.synchronize()
    graph = Graph(gpu, stream, lambda: [work[index % len(work)]() for index in range(LAUNCHES)])
    start, end = gpu.event(), gpu.event()
    spent = []
    for number in range(rounds + 3):
        start.record(stream)
        graph.launch(stream)
        end.record(stream)
        stream.synchronize()
        if number >= 3:
            spent.append(1e3 * end.ms_since(start) / LAUNCHES)
    return float(np.median(spent))


def host_ms(work: Callable[[], object], rounds: int) -> float:
    spent = []
    for _ in range(rounds):
        start = time.thread_time()
        work()
        spent.append(1e3 * (time.thread_time() - start))
    return float(np.median(spent))


def bytes_per_us(gpu: CudaContext, stream: Stream, size: int, rounds: int) -> float:
    """What a copy within the device reads and writes in a microsecond."""
    pairs = [(Buffer(gpu, size), Buffer(gpu, size)) for _ in range(COPIES)]
    copies = [lambda pair=pair: stream.copy(pair[1].address, pair[0].address, size) for pair in pairs]
    return 2 * size / gpu_us(gpu, stream, copies, rounds)


def cases(gpu: CudaContext, kernels: Kernels, stream: Stream, frames: np.ndarray, side: int) -> dict[str, Case]:
    return {
        "resize": resizing(gpu, kernels, stream, frames, side),
        "fuse": fusing(gpu, kernels, stream, len(frames), side),
        "components": counting(gpu, kernels, stream, len(frames), side),
    }


def measure_batch(
    gpu: CudaContext, kernels: Kernels, stream: Stream, frames: np.ndarray, side: int, rounds: int
) -> dict[str, Any]:
    copies = [cases(gpu, kernels, stream, frames, side) for _ in range(COPIES)]
    rate = bytes_per_us(gpu, stream, max(case.size for case in copies[0].values()), rounds)
    figures: dict[str, Any] = {}
    for name, case in copies[0].items():
        spent, least = gpu_us(gpu, stream, [copy[name].launch for copy in copies], rounds), case.size / rate
        figures[name] = {
            "us": round(spent, 2),
            "least_us": round(least, 2),
            "times_least": round(spent / least, 2) if spent > FLOOR_US else None,
            "host_ms": round(host_ms(case.host, max(3, rounds // 10)), 3),
        }
    return {"gigabytes_per_s": round(rate / 1e3, 1), "kernels": figures}


def measure(
    gpu: CudaContext,
    *,
    batches: Sequence[int] = (1, 8),
    frame: tuple[int, int] = (1080, 1920),
    side: int = 256,
    rounds: int = 100,
) -> dict[str, Any]:
    cv2.setNumThreads(1)
    with gpu.current():
        kernels, stream = Kernels(gpu), gpu.stream()
        rng = np.random.default_rng(0)
        found = {}
        for batch in batches:
            frames = rng.integers(0, 256, (batch, *frame, 3), dtype=np.uint8)
            found[str(batch)] = measure_batch(gpu, kernels, stream, frames, side, rounds)
        return {
            "frame": list(frame),
            "side": side,
            "batches": found,
            "gpu": {"name": gpu.name, "capability": gpu.capability, "driver": gpu.driver_version},
            "device": describe_device(),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--frame", default="1920x1080", metavar="WIDTHxHEIGHT")
    parser.add_argument("--side", type=int, default=256, help="of the network's input, in pixels")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    try:
        found = CudaContext()
    except EngineError as error:
        sys.exit(f"nothing was measured: {error}")
    try:
        width, height = map(int, given.frame.split("x"))
        text = json.dumps(measure(found, frame=(height, width), side=given.side, rounds=given.rounds), indent=1)
    finally:
        found.close()
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")
