"""The benchmark of the TensorRT engine runs; what it measures on the emulated GPU says nothing."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import emulated
import msgspec
import pytest

from edgead import Bundle
from edgead.bench import BenchSettings, measure_here


@pytest.fixture
def gpu_engine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return import_module("gpu_engine")


def test_it_measures_every_size_of_batch(gpu_machine: emulated.Emulator, gpu_engine, tiny_bundle: Path) -> None:
    opened = Bundle.open(tiny_bundle)
    artifact = msgspec.structs.replace(opened.manifest.artifacts[0], batches=(1, 2))
    bundle = Bundle(msgspec.structs.replace(opened.manifest, artifacts=(artifact,)), opened.members(), "", None)
    found = gpu_engine.measure(bundle, size=(60, 80), rounds=2)
    assert list(found["tensorrt"]["batches"]) == ["1", "2"]
    for figures in found["tensorrt"]["batches"].values():
        assert figures["end_to_end_ms"] > figures["network_alone_ms"] > 0
        assert len(figures["stages_ms"]) == 3
    assert found["cpu"]["end_to_end_ms"] > 0
    assert found["torch"].startswith("not measured: give")
    assert (found["gpu"]["name"], found["tensorrt"]["precision"]) == ("Emulated GPU", "fp32")


def test_torch_without_a_gpu_is_said(gpu_engine, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = gpu_engine.in_torch(Bundle.open(tiny_bundle), Path("network.pt2"), [1], 1)
    assert found.endswith("has no CUDA here")


def test_edgead_bench_measures_it(gpu_machine: emulated.Emulator, tiny_bundle: Path) -> None:
    settings = BenchSettings(runs=10, warmup=0, seconds=0.1, batches=(1, 2), cameras=(2,))
    found = measure_here(tiny_bundle, "tensorrt", "fp32", settings)
    assert (found["engine"], found["network_ms"]["runs"]) == ("tensorrt", 10)
    assert min(found["images_a_second"]["cameras"].values()) > 0
