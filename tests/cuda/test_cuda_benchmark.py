"""The benchmark of the kernels runs; what it measures on the emulated GPU says nothing."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import emulated
import pytest

from edgead.cuda.context import CudaContext


def test_what_a_frame_costs_the_host_is_measured_without_the_copy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, emulator: emulated.Emulator
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    for path in emulator.folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    found = import_module("gpu_host").measure(tmp_path, rounds=20, frame=(540, 960))
    assert list(found["batches"]) == ["1", "8"]
    for figures in found["batches"].values():
        assert figures["driver_calls"] == 4
        assert 0 < figures["host_us"] < 400  # 40 without other work on the machine
        assert figures["copy_us"] > 0
    assert [figures["pooled"]["driver_calls"] for figures in found["batches"].values()] == [5, 12]


def test_it_measures_every_kernel(emulator: emulated.Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    with emulator.installed(monkeypatch):
        gpu = CudaContext()
        found = import_module("kernels").measure(gpu, batches=(1, 2), frame=(60, 80), side=16, rounds=2)
        gpu.close()
    assert list(found["batches"]) == ["1", "2"]
    for batch in found["batches"].values():
        assert set(batch["kernels"]) == set(emulated.FILES) - {"blur"}  # which `fuse` launches
        assert all(figures["us"] > 0 and figures["host_ms"] >= 0 for figures in batch["kernels"].values())
