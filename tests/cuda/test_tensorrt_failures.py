"""Whatever TensorRT's bindings raise is an EngineError with the library's words, and the next engine takes over."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import emulated
import msgspec
import pytest
import tiny

from edgead import Bundle, Detector
from edgead.cuda import context as cuda
from edgead.cuda.context import CudaContext
from edgead.engines import load_engine
from edgead.errors import EngineError
from edgead.tensorrt.build import Options, build
from edgead.tensorrt.layers import Layer, LayerPrecision, precision_mismatches
from edgead.tensorrt.library import open_library
from edgead.tensorrt.prepare import key_of, prepare

FAILURES = {
    "null:Builder": "factory function returned nullptr (Builder)",
    "null:Runtime": "factory function returned nullptr (Runtime)",
    "null:context": "factory function returned nullptr (context)",
    "raise:shape": "shape failed",
    "raise:profile": "profile failed",
}


@pytest.fixture(autouse=True)
def _new_cache(gpu_machine: emulated.Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "engines"))


@pytest.mark.parametrize("fault", FAILURES)
def test_the_next_engine_takes_over_and_the_reason_is_said(
    fault: str, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", fault)
    with Detector(tiny_bundle, threads=1) as detector:
        assert detector.engine.name != "tensorrt"
        assert str(detector(tiny.bad()).verdict) == "NG"
    assert FAILURES[fault] in caplog.text


@pytest.mark.parametrize("fault", FAILURES)
def test_asked_for_by_name_it_is_an_engine_error(
    fault: str, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", fault)
    with pytest.raises(EngineError) as caught:
        load_engine(Bundle.open(tiny_bundle), "tensorrt")
    assert FAILURES[fault] in str(caught.value)


def test_no_timing_cache_costs_time_alone(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", "null:timings")
    built = build(open_library("tensorrt"), Bundle.open(tiny_bundle).read("fp32.onnx"), Options())
    assert built.engine
    assert built.timings == b""


def test_the_accelerator_takes_no_int8_with_quantization_nodes(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle, library, gpu = Bundle.open(tiny_bundle), open_library("tensorrt"), CudaContext()
    artifact = msgspec.structs.replace(bundle.manifest.artifact(), precision="int8")
    with pytest.raises(EngineError, match="--precision fp16"):
        prepare(library, bundle, artifact, key_of(library, bundle, artifact, gpu, dla=True), gpu)
    gpu.close()


def test_products_on_the_accelerator_run_in_what_its_node_reports() -> None:
    on_dla = Layer("{ForeignNode[conv1...conv2]}", "DLA", ("fp16",), "", ("fp16",), ())
    asked = [LayerPrecision("conv1", "fp16"), LayerPrecision("conv2", "int8")]
    assert precision_mismatches(asked, [on_dla]) == ["conv2 runs in fp16, not int8"]
    assert precision_mismatches(asked[:1], [on_dla]) == []


def test_batch_sizes_share_one_scratch_memory(
    gpu_machine: emulated.Emulator, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    open_library("tensorrt")
    running = __import__("tensorrt._running", fromlist=["IExecutionContext"])
    original = running.IExecutionContext.set_device_memory

    def noted(self: object, memory: int, size: int) -> None:
        given.append((memory, size))
        original(self, memory, size)

    monkeypatch.setattr(running.IExecutionContext, "set_device_memory", noted)
    bundle = Bundle.open(tiny_bundle)
    artifacts = tuple(msgspec.structs.replace(one, batches=(1, 2, 4)) for one in bundle.manifest.artifacts)
    manifest = msgspec.structs.replace(bundle.manifest, artifacts=artifacts)
    load_engine(Bundle(manifest, bundle.members(), bundle.digest, None), "tensorrt").close()
    assert len(given) == 3
    assert len(set(given)) == 1


def test_progress_may_come_from_several_threads(tiny_bundle: Path) -> None:
    from edgead.tensorrt.build import _monitor

    reported: list[int] = []
    monitor = _monitor(open_library("tensorrt").module, lambda done, total: reported.append(done))
    monitor.phase_start("whole", None, 4)

    def work(name: str) -> None:
        for _ in range(50):
            monitor.phase_start(name, "whole", 20)
            for step in range(20):
                monitor.step_complete(name, step)
            monitor.phase_finish(name)

    threads = [threading.Thread(target=work, args=(f"part {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monitor.phase_finish("whole")
    assert reported == sorted(reported)
    assert reported[-1] == 100


def test_an_engine_that_nobody_closed_ends_with_an_interpreter_that_starts_no_thread(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python 3.12 does at its shutdown."""
    engine = load_engine(Bundle.open(tiny_bundle), "tensorrt")

    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    shutdown = threading.Event()
    thread = threading.Thread(target=lambda: (shutdown.wait(), engine.close()))
    thread.start()
    monkeypatch.setattr(threading.Thread, "start", refused)
    shutdown.set()
    thread.join()
    with pytest.raises(EngineError, match="closed"):
        engine.infer([tiny.good()])


ENDS_OPEN = """
import atexit, contextlib, pathlib, sys
import emulated, pytest, tiny
from edgead import Bundle
from edgead.engines import load_engine

emulator = emulated.Emulator(pathlib.Path(sys.argv[1]))
atexit.register(lambda: print("left:", emulator.driver.emulator_left(), emulator.driver.emulator_wrong()))
monkeypatch, stack = pytest.MonkeyPatch(), contextlib.ExitStack()
for context in (emulator.installed(monkeypatch), emulated.tensorrt(monkeypatch)):
    stack.enter_context(context)
sys.unraisablehook = lambda found: print("unraisable:", found.exc_value)
engine = load_engine(Bundle.open(sys.argv[2]), "tensorrt")
print("judged:", engine.infer([tiny.bad()])[0].score > 0, flush=True)
sys.modules["kept"] = stack  # never left, as nobody closes the engine
"""


def test_an_interpreter_that_ends_with_an_engine_open_gives_all_back(
    gpu_machine: emulated.Emulator, tiny_bundle: Path
) -> None:
    command = [sys.executable, "-c", ENDS_OPEN, gpu_machine.folder, tiny_bundle]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["judged: True", "left: 0 b''"]


def test_memory_of_an_integrated_gpu_is_what_the_host_can_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMULATOR_INTEGRATED", "1")
    gpu = CudaContext()
    with gpu.current():
        free = gpu.free_memory()
        monkeypatch.setattr(cuda, "MEMORY", tmp_path / "meminfo")
        (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   999999999 kB\n")
        assert gpu.free_memory() == 999999999 * 1024
        (tmp_path / "meminfo").unlink()
        assert 0 < gpu.free_memory() <= free
    gpu.close()
