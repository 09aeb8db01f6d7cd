"""One of several GPUs: everything happens on the one that was chosen, and its name is in what is kept."""

from __future__ import annotations

from pathlib import Path

import emulated
import pytest
import tiny

from edgead import Bundle, Detector, UsageError
from edgead.cuda import compile as compiling
from edgead.cuda.context import CudaContext
from edgead.engines import load_engine
from edgead.tensorrt.cache import Cache
from edgead.tensorrt.metadata import decode
from edgead.tensorrt.probe import visible


@pytest.fixture
def two(gpu_machine: emulated.Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> emulated.Emulator:
    monkeypatch.setenv("EMULATOR_DEVICES", "2")
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    return gpu_machine


@pytest.mark.parametrize("number", [0, 1])
def test_everything_happens_on_the_gpu_that_was_chosen(
    number: int, two: emulated.Emulator, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    run = __import__("subprocess").run
    monkeypatch.setattr(
        "edgead.tensorrt.probe.subprocess.run",
        lambda *words, **given: seen.append(given["env"]["CUDA_VISIBLE_DEVICES"]) or run(*words, **given),
    )
    with Detector(tiny_bundle, engine="tensorrt", device=number) as detector:
        for _ in range(3):
            assert str(detector(tiny.bad()).verdict) == "NG"
        assert str(detector.reopen(tiny_bundle)(tiny.good()).verdict) == "OK"
    assert two.driver.emulator_used(number) > 10
    assert two.driver.emulator_used(1 - number) == 0
    (path,) = Cache().folder.glob("*-sm_87-*.json")
    assert decode(path.read_bytes()).key.gpu == ("Emulated GPU", "Emulated GPU 1")[number]
    assert seen == [str(number)]  # the process that tries the engine sees that GPU alone


@pytest.mark.parametrize("engine", ["auto", "tensorrt"])
def test_a_number_that_no_gpu_has_is_the_callers_mistake(
    engine: str, two: emulated.Emulator, tiny_bundle: Path
) -> None:
    with pytest.raises(UsageError, match=r"^there is no GPU 2: those of this machine are numbered 0 to 1; see `edgead"):
        load_engine(Bundle.open(tiny_bundle), engine, device=2)
    assert two.driver.emulator_left() == 0


def test_the_engines_of_the_cpu_have_none(tiny_bundle: Path) -> None:
    engine = load_engine(Bundle.open(tiny_bundle), "onnx", threads=1, device=7)
    assert engine.infer([tiny.good()])
    engine.close()


def test_the_command_line_chooses_it(two: emulated.Emulator, tiny_bundle: Path, edgead, parts: Path) -> None:
    code, out, _ = edgead("compile", tiny_bundle, "--device", 1)
    assert (code, "for Emulated GPU 1 by" in out) == (0, True)
    for command in (
        ("predict", tiny_bundle, parts, "--engine", "tensorrt", "--json"),
        ("run", "--bundle", tiny_bundle, "--source", parts, "--engine", "tensorrt", "--json"),
        ("verify", tiny_bundle, "--engine", "tensorrt"),
    ):
        code, out, _ = edgead(*command, "--device", 1)
        assert code == 0
        assert out
    assert two.driver.emulator_used(1) > 0
    code, _, said = edgead("predict", tiny_bundle, parts, "--device", 9)
    assert (code, said.count("\n")) == (2, 1)
    assert "there is no GPU 9" in said


def test_the_doctor_numbers_them(two: emulated.Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "machine_code", lambda *_: b"")
    monkeypatch.setattr(compiling, "version", lambda _: "2026.1")
    monkeypatch.setattr(compiling, "compilers", lambda _: iter([compiling.Compiler("NVRTC 13.0", lambda *_: b"")]))
    said = compiling.cuda_summary()
    assert said.startswith("2026.1, GPU 0: Emulated GPU sm_87, GPU 1: Emulated GPU 1 sm_87, driver for CUDA 13.0")


def test_memory_of_one_gpu_is_none_of_another(two: emulated.Emulator) -> None:
    first, second = CudaContext(0), CudaContext(1)
    with second.current():
        memory = second.allocate(64)
    with first.current(), pytest.raises(Exception, match="failed"):
        first.stream().zero(int(memory), 4)
    with second.current():
        memory.free()
    assert b"a memset leaves its buffer" in two.driver.emulator_wrong()
    two.driver.emulator_reset()
    second.close()
    first.close()


@pytest.mark.parametrize(
    ("device", "before", "shown"), [(0, None, "0"), (2, None, "2"), (1, "3,5", "5"), (0, "GPU-1,GPU-2", "GPU-1")]
)
def test_a_number_counts_those_that_are_visible(device: int, before: str | None, shown: str) -> None:
    assert visible(device, before) == shown
    assert visible(0, shown) == shown
