"""Where there are no CUDA graphs, work is done as it is; and what the emulated driver refuses in a capture."""

from __future__ import annotations

import logging
from pathlib import Path

import emulated
import numpy as np
import pytest

from edgead.cuda.buffers import Buffer, HostDeviceBuffer
from edgead.cuda.context import CudaContext
from edgead.cuda.graph import Graph, GraphCache
from edgead.errors import EngineError


@pytest.mark.parametrize("function", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
def test_without_graphs_it_is_done_as_it_is(
    function: str, opened: CudaContext, emulator: emulated.Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    stream = opened.stream()
    source, target = HostDeviceBuffer(opened, (4,), np.int32), HostDeviceBuffer(opened, (4,), np.int32)
    emulator.driver.emulator_fail_at(function.encode())
    graphs = GraphCache(opened, stream, "the work")
    with caplog.at_level(logging.WARNING):
        for value in range(4):
            source.host[:] = value
            source.upload(stream)
            graphs.run("copy", lambda: stream.copy(target.address, source.address, 16))
            target.download(stream)
            stream.synchronize()
            assert (target.host == value).all()
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "the work runs without CUDA graphs, which is slower"
    ]
    assert emulator.driver.emulator_launches() == 0


def test_a_library_without_graphs_is_said(
    opened: CudaContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edgead.cuda.driver_api.DRIVER", "libsurely_absent.so.1")
    stream, buffer = opened.stream(), Buffer(opened, 16)
    graphs = GraphCache(opened, stream, "the work")
    for _ in range(2):
        graphs.run("zero", lambda: stream.zero(buffer.address, 4))
    assert "cannot be called" in caplog.text


@pytest.mark.parametrize("spoil", ["wait", "allocate", "mark"])
def test_the_emulator_refuses_what_no_capture_allows(
    spoil: str, opened: CudaContext, emulator: emulated.Emulator
) -> None:
    stream, mark = opened.stream(), opened.event()
    work = {
        "wait": stream.synchronize,
        "allocate": lambda: opened.allocate(4),
        "mark": lambda: mark.record(stream),
    }[spoil]
    with pytest.raises(EngineError, match="Emulated GPU failed"):
        Graph(opened, stream, work)
    assert b"during a capture" in emulator.driver.emulator_wrong()
    emulator.driver.emulator_reset()


def test_how_much_memory_is_free(opened: CudaContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("edgead.cuda.context.MEMORY", tmp_path / "none")
    before = opened.free_memory()
    Buffer(opened, 1 << 20)
    assert 1 << 20 <= before - opened.free_memory() < 1 << 21
