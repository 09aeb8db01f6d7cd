"""CUDA graphs: what is recorded happens again, and the stream is usable when recording fails."""

from __future__ import annotations

import numpy as np
import pytest

from edgead.cuda.buffers import HostDeviceBuffer
from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.graph import Graph, GraphCache
from edgead.errors import EngineError


@pytest.fixture
def mirrors(gpu: CudaContext) -> tuple[HostDeviceBuffer, HostDeviceBuffer]:
    return HostDeviceBuffer(gpu, (4,), np.int32), HostDeviceBuffer(gpu, (4,), np.int32)


def test_a_graph_is_launched_again_and_again(
    gpu: CudaContext, stream: Stream, mirrors: tuple[HostDeviceBuffer, HostDeviceBuffer]
) -> None:
    source, target = mirrors
    graph = Graph(gpu, stream, lambda: stream.copy(target.address, source.address, 16))
    target.host[:] = 0
    for value in (3, 5):
        source.host[:] = value
        source.upload(stream)
        graph.launch(stream)
        target.download(stream)
        stream.synchronize()
        assert (target.host == value).all()


def test_recording_does_nothing_yet(
    gpu: CudaContext, stream: Stream, mirrors: tuple[HostDeviceBuffer, HostDeviceBuffer]
) -> None:
    source, target = mirrors
    source.host[:], target.host[:] = 7, 1
    source.upload(stream)
    target.upload(stream)
    Graph(gpu, stream, lambda: stream.copy(target.address, source.address, 16))
    target.download(stream)
    stream.synchronize()
    assert (target.host == 1).all()


def test_work_is_done_then_recorded_then_launched(
    gpu: CudaContext, stream: Stream, mirrors: tuple[HostDeviceBuffer, HostDeviceBuffer]
) -> None:
    source, target = mirrors
    called = []

    def work() -> None:
        called.append(1)
        stream.copy(target.address, source.address, 16)

    graphs = GraphCache(gpu, stream, "it")
    for value in range(5):
        source.host[:] = value
        source.upload(stream)
        graphs.run("copy", work)
        target.download(stream)
        stream.synchronize()
        assert (target.host == value).all()
    assert len(called) == 2


def test_each_kind_of_work_has_a_graph_up_to_a_limit(
    gpu: CudaContext, stream: Stream, mirrors: tuple[HostDeviceBuffer, HostDeviceBuffer]
) -> None:
    source, target = mirrors
    called: list[int] = []

    def work(size: int) -> None:
        called.append(size)
        stream.copy(target.address, source.address, size)

    graphs = GraphCache(gpu, stream, "it", most=2)
    source.host[:] = 9
    source.upload(stream)
    for _ in range(4):
        for size in (4, 8, 12):
            graphs.run(size, lambda size=size: work(size))
    stream.synchronize()
    assert {size: called.count(size) for size in called} == {4: 2, 8: 2, 12: 4}


def test_what_fails_while_it_is_recorded_leaves_a_stream_to_use(gpu: CudaContext, stream: Stream) -> None:
    mirror = HostDeviceBuffer(gpu, (4,), np.int32)

    def work() -> None:
        raise EngineError("no")

    with pytest.raises(EngineError, match="no"):
        Graph(gpu, stream, work)
    mirror.host[:] = 1
    mirror.upload(stream)
    stream.synchronize()
