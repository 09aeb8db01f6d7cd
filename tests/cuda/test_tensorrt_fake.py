"""The fake TensorRT runs a network in a stream, as late as the stream does it, and refuses what crashes a real one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import emulated
import numpy as np
import pytest
import tiny

from edgead.cuda.buffers import HostDeviceBuffer
from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.graph import Graph

SHAPE = (2, 3, tiny.SIZE, tiny.SIZE)


@pytest.fixture
def trt(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    with emulated.tensorrt(monkeypatch):
        import tensorrt

        yield tensorrt


def build(trt: ModuleType, network: bytes) -> bytes | None:
    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    held = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(held, logger)
    if not parser.parse(network):
        assert parser.num_errors
        return None
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    profile.set_shape("image", SHAPE, SHAPE, SHAPE)
    config.add_optimization_profile(profile)
    made = builder.build_serialized_network(held, config)
    return None if made is None else bytes(made)


class Running:
    """A network with buffers, ready to run."""

    def __init__(self, trt: ModuleType, gpu: CudaContext) -> None:
        runtime = trt.Runtime(trt.Logger(trt.Logger.INTERNAL_ERROR))
        engine = runtime.deserialize_cuda_engine(build(trt, tiny.graph()))
        self.stream: Stream = gpu.stream()
        self.image = HostDeviceBuffer(gpu, SHAPE, np.float32)
        self.map = HostDeviceBuffer(gpu, (2, tiny.GRID, tiny.GRID), np.float32)
        self.context: Any = engine.create_execution_context()
        gpu.on_close(self._forget)
        assert self.context.set_optimization_profile_async(0, self.stream.handle)
        assert self.context.set_input_shape("image", SHAPE)
        assert self.context.set_tensor_address("image", self.image.address)
        assert self.context.set_tensor_address("distance", self.map.address)

    def _forget(self) -> None:
        self.context = None


def test_it_runs_when_the_stream_does(trt: ModuleType, opened: CudaContext) -> None:
    running = Running(trt, opened)
    running.image.host[:], running.map.host[:] = 0.5, 7
    running.image.upload(running.stream)
    running.map.upload(running.stream)
    assert running.context.execute_async_v3(running.stream.handle)
    running.image.host[:] = 9  # uploaded late: the emulated copy takes this
    running.map.download(running.stream)
    assert (running.map.host == 7).all()
    running.stream.synchronize()
    np.testing.assert_allclose(running.map.host, 9)
    assert running.context.get_tensor_shape("distance") == (2, tiny.GRID, tiny.GRID)


def test_a_graph_replays_it(trt: ModuleType, opened: CudaContext, emulator: emulated.Emulator) -> None:
    running = Running(trt, opened)
    handle = running.stream.handle
    assert running.context.execute_async_v3(handle)
    graph = Graph(opened, running.stream, lambda: running.context.execute_async_v3(handle))
    for value in (1.0, 2.0):
        running.image.host[:] = value
        running.image.upload(running.stream)
        graph.launch(running.stream)
        running.map.download(running.stream)
        running.stream.synchronize()
        np.testing.assert_allclose(running.map.host, value)
    assert emulator.driver.emulator_launches() == 2


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ("no stream", lambda context, handle: 0),
        ("the address of image", lambda context, handle: context.set_tensor_address("image", 0)),
        ("too small", lambda context, handle: context.set_tensor_address("image", handle)),
        ("without the shape", lambda context, handle: context.set_optimization_profile_async(0, handle)),
    ],
)
def test_what_a_real_one_crashes_on(
    trt: ModuleType, opened: CudaContext, emulator: emulated.Emulator, words: str, changed: Callable[[Any, int], int]
) -> None:
    running = Running(trt, opened)
    handle = running.stream.handle
    assert not running.context.execute_async_v3(handle if changed(running.context, handle) else 0)
    assert words.encode() in emulator.driver.emulator_wrong()
    emulator.driver.emulator_reset()


def test_a_capture_before_the_first_run(trt: ModuleType, opened: CudaContext, emulator: emulated.Emulator) -> None:
    running = Running(trt, opened)
    Graph(opened, running.stream, lambda: running.context.execute_async_v3(running.stream.handle))
    assert b"before a first run" in emulator.driver.emulator_wrong()
    emulator.driver.emulator_reset()


def test_without_a_current_context_or_after_its_end(
    trt: ModuleType, emulator: emulated.Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with emulator.installed(monkeypatch):
        gpu = CudaContext()
        with gpu.current():
            running = Running(trt, gpu)
            assert running.context.execute_async_v3(running.stream.handle)
            graph = Graph(gpu, running.stream, lambda: running.context.execute_async_v3(running.stream.handle))
            running.stream.synchronize()
        assert not running.context.execute_async_v3(running.stream.handle)
        assert b"without a current context" in emulator.driver.emulator_wrong()
        emulator.driver.emulator_reset()
        with gpu.current():
            running.context = None
            graph.launch(running.stream)
            running.stream.synchronize()
        assert b"at work after its end" in emulator.driver.emulator_wrong()
        emulator.driver.emulator_reset()
        gpu.close()


def test_a_shape_outside_the_profile_is_refused(trt: ModuleType, opened: CudaContext) -> None:
    assert not Running(trt, opened).context.set_input_shape("image", (1, *SHAPE[1:]))


@pytest.mark.parametrize("network", [b"", b"no onnx", tiny.graph()[:200]], ids=["empty", "text", "cut"])
def test_what_is_no_network_is_not_parsed(trt: ModuleType, network: bytes) -> None:
    assert build(trt, network) is None


def test_engines_are_of_one_version_and_whole(trt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = build(trt, tiny.graph())
    assert engine is not None
    runtime = trt.Runtime(trt.Logger(trt.Logger.INTERNAL_ERROR))
    assert runtime.deserialize_cuda_engine(engine)
    assert runtime.deserialize_cuda_engine(engine[:-1]) is None
    assert runtime.deserialize_cuda_engine(b"\0" + engine) is None
    monkeypatch.setenv("FAKE_TENSORRT_VERSION", "11.4.0.1")
    assert trt.__version__ == "11.4.0.1"
    assert runtime.deserialize_cuda_engine(engine) is None


def test_layers_are_told_with_their_types(trt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = trt.Runtime(trt.Logger(trt.Logger.INTERNAL_ERROR))
    inspector = runtime.deserialize_cuda_engine(build(trt, tiny.graph())).create_engine_inspector()
    layers = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))["Layers"]
    assert [layer["Inputs"][0]["Format/Datatype"] for layer in layers] == ["Row major linear FP32"] * 4
    assert layers[1]["Metadata"] == "[ONNX Layer: pooled]"
    monkeypatch.setenv("FAKE_TENSORRT", "refuse")
    assert build(trt, tiny.graph()) is None


def test_a_child_process_can_deserialize_or_crash(trt: ModuleType, tmp_path: Any) -> None:
    (tmp_path / "engine").write_bytes(build(trt, tiny.graph()) or b"")
    program = (
        "import sys, tensorrt as trt; runtime = trt.Runtime(trt.Logger()); "
        "print(runtime.deserialize_cuda_engine(open(sys.argv[1], 'rb').read()).num_io_tensors)"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "engine")]
    environment = {**os.environ}
    environment.pop("EMULATED_DRIVER", None)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout.strip() == "2", done.stderr
    assert subprocess.run(command, capture_output=True, env=environment | {"FAKE_TENSORRT": "crash"}).returncode == -11
