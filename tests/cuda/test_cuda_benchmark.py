"""The benchmark of the kernels runs; what it measures on the emulated GPU says nothing."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import emulated
import pytest

from edgead.cuda.context import CudaContext


def test_it_measures_every_kernel(emulator: emulated.Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    with emulator.installed(monkeypatch):
        gpu = CudaContext()
        found = import_module("kernels").measure(gpu, batch=2, frame=(60, 80), side=16, rounds=2)
        gpu.close()
    assert set(found["kernels"]) == set(emulated.FILES)
    assert all(figures["ms"] > 0 and figures["host_ms"] >= 0 for figures in found["kernels"].values())
