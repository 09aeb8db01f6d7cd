"""TensorRT for RTX on the emulated GPU: what its engines, contexts and captures need beyond TensorRT's own."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import emulated
import pytest
import tiny

from edgead import Bundle
from edgead.engines import load_engine
from edgead.tensorrt import executor
from edgead.tensorrt.cache import Cache
from edgead.tensorrt.library import RTX, open_library


@pytest.fixture
def rtx(emulator: emulated.Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[emulated.Emulator]:
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    with emulator.installed(monkeypatch), emulated.tensorrt(monkeypatch, rtx=True):
        monkeypatch.setattr("edgead.engines.tensorrt.open_library", lambda: open_library(RTX))
        yield emulator


def compiled() -> list[str]:
    """What was compiled since it was asked last."""
    module = open_library(RTX).module
    found = list(module.compiled)
    module.compiled.clear()
    return found


def judged(bundle: Path) -> list[float]:
    engine = load_engine(Bundle.open(bundle), "tensorrt")
    scores = [engine.infer([tiny.bad()])[0].score for _ in range(4)]
    engine.close()
    return scores


def test_what_is_compiled_at_the_first_start_is_not_at_the_next(rtx: emulated.Emulator, tiny_bundle: Path) -> None:
    first = judged(tiny_bundle)
    assert len(compiled()) > 2
    (kept,) = Cache().folder.glob("*.kernels")
    written = kept.stat().st_mtime_ns
    assert judged(tiny_bundle) == first
    assert compiled() == []
    assert kept.stat().st_mtime_ns == written
    assert rtx.driver.emulator_launches() > 0


@pytest.mark.parametrize("damage", [b"", b"kernels 9.9.9 everything", b"\xff\0\xfe"])
def test_a_cache_that_is_of_no_use_costs_time_alone(damage: bytes, rtx: emulated.Emulator, tiny_bundle: Path) -> None:
    first = judged(tiny_bundle)
    (kept,) = Cache().folder.glob("*.kernels")
    whole = kept.read_bytes()
    kept.write_bytes(damage)
    compiled()
    assert judged(tiny_bundle) == first
    assert len(compiled()) > 2
    assert kept.read_bytes() == whole


def test_without_its_runtime_cache_it_judges_all_the_same(
    rtx: emulated.Emulator, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: object) -> None:
        raise RuntimeError("no cache")

    monkeypatch.setattr(open_library(RTX).module.IRuntimeConfig, "create_runtime_cache", failing)
    assert len(judged(tiny_bundle)) == 4
    assert list(Cache().folder.glob("*.kernels")) == []


def test_a_capture_needs_kernels_that_are_there_and_memory_that_is_given(
    rtx: emulated.Emulator, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What `build` and `Session` ask for is what keeps the emulated library from refusing."""
    module = open_library(RTX).module
    strategy = module.DynamicShapesKernelSpecializationStrategy
    monkeypatch.setattr(strategy, "_member_map_", strategy._member_map_ | {"EAGER": strategy.LAZY})
    original = executor.Session._context

    def lazy(self: executor.Session) -> object:
        context = original(self)
        context.config.dynamic_shapes_kernel_specialization_strategy = strategy.LAZY
        return context

    monkeypatch.setattr(executor.Session, "_context", lazy)
    with caplog.at_level(logging.WARNING):
        assert len(judged(tiny_bundle)) == 4
    assert "runs without CUDA graphs" in caplog.text
    assert b"captured although it may compile kernels" in rtx.driver.emulator_wrong()
    rtx.driver.emulator_reset()
