"""The host's side: the context on every thread, memory that is made once, and everything given back."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import emulated
import numpy as np
import pytest

from edgead.cuda.buffers import Buffer, HostDeviceBuffer
from edgead.cuda.context import CudaContext
from edgead.cuda.frame_buffer import FRAMES, FrameBuffer
from edgead.cuda.kernels import Kernels
from edgead.cuda.resize import HALVINGS, SAMPLING
from edgead.errors import EngineError


@pytest.fixture
def machine(emulator: emulated.Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[emulated.Emulator]:
    with emulator.installed(monkeypatch):
        yield emulator


def on_a_thread(work) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def test_what_it_is(machine: emulated.Emulator) -> None:
    gpu = CudaContext()
    assert (gpu.name, gpu.capability, gpu.driver_version) == ("Emulated GPU", 87, 13000)
    gpu.close()


def test_any_thread_may_use_and_close_it(machine: emulated.Emulator) -> None:
    held: list[tuple[CudaContext, HostDeviceBuffer]] = []

    def make() -> None:
        gpu = CudaContext()
        with gpu.current():
            held.append((gpu, HostDeviceBuffer(gpu, (4,), np.float32)))

    def use() -> None:
        gpu, mirror = held[0]
        with gpu.current():
            stream = gpu.stream()
            mirror.host[:] = 3
            mirror.upload(stream)
            stream.synchronize()
            mirror.host[:] = 0
            mirror.download(stream)
            assert (mirror.host == 0).all()  # a copy happens when it is waited for, not before
            stream.synchronize()
            assert (mirror.host == 3).all()
        assert machine.driver.emulator_depth() == 0

    for work in (make, use, use, lambda: held[0][0].close()):
        on_a_thread(work)
    assert machine.driver.emulator_left() == 0


def test_closing_gives_back_what_others_still_hold(machine: emulated.Emulator) -> None:
    gpu = CudaContext()
    with gpu.current():
        kernels, stream, mark, buffer = Kernels(gpu), gpu.stream(), gpu.event(), Buffer(gpu, 100)
        kernel = kernels.get("resize", "halve", HALVINGS)
        assert machine.driver.emulator_left() == 5  # a module, a stream, a mark, memory, the context
    gpu.close()
    assert machine.driver.emulator_left() == 0
    assert all((kernel, stream, mark, buffer))
    gpu.close()
    with pytest.raises(EngineError, match="closed"), gpu.current():
        pass


def test_what_others_left_current_stays_so(machine: emulated.Emulator) -> None:
    first, second = CudaContext(), CudaContext()
    with first.current():
        with second.current():
            assert machine.driver.emulator_depth() == 1
        second.close()
        assert machine.driver.emulator_depth() == 1
    first.close()


def test_a_fault_of_the_gpu_is_said_and_closes(machine: emulated.Emulator) -> None:
    gpu = CudaContext()
    with pytest.raises(EngineError, match="Emulated GPU failed"), gpu.current():
        gpu.allocate(1 << 40)
    gpu.close()


def test_without_a_current_context_the_emulator_complains(machine: emulated.Emulator) -> None:
    gpu = CudaContext()
    with pytest.raises(gpu._driver.Error):
        gpu.allocate(4)
    assert b"cuMemAlloc" in machine.driver.emulator_wrong()
    machine.driver.emulator_reset()
    gpu.close()


def test_the_emulator_counts_what_is_left(machine: emulated.Emulator) -> None:
    gpu = CudaContext()
    with gpu.current():
        memory = gpu.allocate(4)
        assert machine.driver.emulator_left() == 2
        memory.free()
    gpu.close()


def test_a_kernel_is_told_what_it_reads(machine: emulated.Emulator) -> None:
    gpu = CudaContext()
    with gpu.current():
        kernel, stream = Kernels(gpu).get("resize", "halve", SAMPLING), gpu.stream()
    with pytest.raises(EngineError, match="cuLaunchKernel"), gpu.current():
        stream.launch(kernel, (1, 1, 1), (32, 1, 1), np.zeros((), SAMPLING))
    assert b"given more or less" in machine.driver.emulator_wrong()
    machine.driver.emulator_reset()
    gpu.close()


def test_marks_order_streams_and_take_the_time(machine: emulated.Emulator) -> None:
    gpu = CudaContext()
    with gpu.current():
        first, second, start, end = gpu.stream(), gpu.stream(), gpu.event(), gpu.event()
        mirror = HostDeviceBuffer(gpu, (2,), np.int32)
        target = gpu.pinned((2,), np.int32)
        gpu.on_close(target.base.free)
        mirror.host[:] = 5
        start.record(first)
        mirror.upload(first)
        end.record(first)
        second.wait_for(end)
        second.download(target, mirror.address)
        second.synchronize()
        assert (target == 5).all()
        assert end.ms_since(start) >= 0
        other = Buffer(gpu, 8)
        second.copy(other.address, mirror.address, 8)
        second.zero(mirror.address, 2)
        second.copy(mirror.address, other.address, 4)
        second.download(target, mirror.address)
        second.synchronize()
        assert target.tolist() == [5, 0]
    gpu.close()


def test_frames_may_change_while_the_last_batch_is_on_its_way(machine: emulated.Emulator) -> None:
    gpu = CudaContext()
    with gpu.current():
        stream, frames = gpu.stream(), FrameBuffer(gpu, 1)
        image = np.full((8, 16, 3), 7, np.uint8)
        fetched = [HostDeviceBuffer(gpu, (8, 48), np.uint8) for _ in range(2)]
        for mirror in fetched:
            pictures = frames.upload([image], stream)
            stream.download(mirror.host, int(pictures["pixels"][0]))
            image[:] = 9
        stream.synchronize()
        assert [int(mirror.host.max()) for mirror in fetched] == [7, 9]
    gpu.close()


@pytest.mark.parametrize("count", [0, FRAMES + 1])
def test_a_batch_that_no_launch_takes(machine: emulated.Emulator, count: int) -> None:
    gpu = CudaContext()
    with gpu.current(), pytest.raises(ValueError, match="1 to 32 frames"):
        FrameBuffer(gpu, count)
    gpu.close()
