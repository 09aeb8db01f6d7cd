"""Who judges when an engine cannot: the next network of the bundle, then the next engine; each with a reason said."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import emulated
import msgspec
import numpy as np
import object_scenes
import pytest
import tiny

from edgead import Bundle, Detector
from edgead.engines import load_engine
from edgead.errors import BundleError, EngineError
from edgead.tensorrt.library import RTX, open_library
from edgead_calibration.probe import SIMULATED, runs_here, runtime


def bundle_of(tiny_bundle: Path, *networks: str) -> Bundle:
    """Networks of those precisions, the first the best; one in FP16 is for TensorRT alone."""
    opened = Bundle.open(tiny_bundle)
    (fp32,) = opened.manifest.artifacts
    change = msgspec.structs.replace
    artifacts = {
        "fp32": fp32,
        "fp16": change(fp32, precision="fp16", member="fp16.onnx", engine="tensorrt", tolerance=0.01),
        "int8": change(fp32, precision="int8", engine="tensorrt"),
    }
    members = opened.members() | {"fp16.onnx": tiny.halves()}
    listed = opened.manifest.members | {"fp16.onnx": opened.manifest.members["fp32.onnx"]}
    chosen = tuple(artifacts[name] for name in networks)
    return Bundle(change(opened.manifest, artifacts=chosen, members=listed), members, opened.digest, None)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    messages = [record.getMessage() for record in caplog.records]
    return [message for message in messages if not message.startswith("building")]


def test_the_best_network_judges(gpu_machine: emulated.Emulator, tiny_bundle: Path, caplog) -> None:
    with Detector(bundle_of(tiny_bundle, "fp16", "fp32")) as detector:
        assert (detector.engine.name, detector.engine.precision) == ("tensorrt", "fp16")
    assert said(caplog) == []


def test_trials_of_precisions_leave_the_gpu_alone(gpu_machine: emulated.Emulator, tiny_bundle: Path) -> None:
    """Each of dozens of trials would build an engine, and the device is another."""
    bundle = Bundle.open(tiny_bundle)
    assert not runs_here(bundle, "tensorrt")
    assert runs_here(bundle, "onnx")
    assert runtime(bundle, "tensorrt") == SIMULATED


def test_a_network_that_is_off_is_passed_over(
    gpu_machine: emulated.Emulator, tiny_bundle: Path, caplog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", "off:FP16")
    with Detector(bundle_of(tiny_bundle, "fp16", "fp32")) as detector:
        result = detector(tiny.good())
    assert (result.engine, result.precision) == ("tensorrt", "fp32")
    (line,) = said(caplog)
    assert line.startswith("tensorrt does not use the fp16 network: it does not reproduce golden frame 'golden/")
    assert "the map differs by 0.25 (allowed 0.01)" in line


def test_every_size_of_batch_is_checked(
    gpu_machine: emulated.Emulator, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_of(tiny_bundle, "fp32")
    artifact = msgspec.structs.replace(bundle.manifest.artifacts[0], batches=(1, 2))
    both = Bundle(msgspec.structs.replace(bundle.manifest, artifacts=(artifact,)), bundle.members(), "", None)
    monkeypatch.setenv("FAKE_TENSORRT", "off@2")
    with pytest.raises(EngineError, match="in a batch of 2"):
        load_engine(both, "tensorrt")


def test_an_engine_that_is_off_leaves_it_to_the_cpu(
    gpu_machine: emulated.Emulator, tiny_bundle: Path, caplog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", "off")
    bundle = bundle_of(tiny_bundle, "fp16", "fp32")
    with pytest.raises(EngineError, match=r"fp16: it does not reproduce.*; fp32: it does not reproduce"):
        load_engine(bundle, "tensorrt")
    caplog.clear()
    with Detector(bundle) as detector:
        result = detector(tiny.good())
    assert (result.engine, result.precision) == ("openvino", "fp32")
    assert [line.partition(":")[0] for line in said(caplog)] == [
        "tensorrt does not use the fp16 network",
        "openvino judges 'tiny', since tensorrt",
    ]


@pytest.mark.parametrize(
    ("fault", "words"),
    [("refuse", "cannot build the network"), ("crash", r"crashed on deserializing the engine \(SIGSEGV\)")],
)
def test_an_engine_that_cannot_be_made_leaves_it_to_the_cpu(
    fault: str,
    words: str,
    gpu_machine: emulated.Emulator,
    tiny_bundle: Path,
    tmp_path: Path,
    caplog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path))
    monkeypatch.setenv("FAKE_TENSORRT", fault)
    engine = load_engine(Bundle.open(tiny_bundle))
    assert engine.name == "openvino"
    assert len(said(caplog)) == 1
    with pytest.raises(EngineError, match=words):
        load_engine(Bundle.open(tiny_bundle), "tensorrt")
    engine.close()


def test_one_precision_asked_for_is_the_only_one_tried(
    gpu_machine: emulated.Emulator, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", "off:FP16")
    with pytest.raises(EngineError, match="fp16: it does not reproduce"):
        load_engine(bundle_of(tiny_bundle, "fp16", "fp32"), "tensorrt", "fp16")


def test_rtx_takes_int8_last(
    gpu_machine: emulated.Emulator, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(library, bundle, artifact, gpu, cache):
        asked.append(artifact.precision)
        raise EngineError("no")

    monkeypatch.setattr("edgead.engines.tensorrt.prepare_here", refuse)
    bundle = bundle_of(tiny_bundle, "int8", "fp16", "fp32")
    with pytest.raises(EngineError):
        load_engine(bundle, "tensorrt")
    library = dataclasses.replace(open_library(), name=RTX)
    monkeypatch.setattr("edgead.engines.tensorrt.open_library", lambda: library)
    with pytest.raises(EngineError):
        load_engine(bundle, "tensorrt")
    assert asked == ["int8", "fp16", "fp32", "fp16", "fp32", "int8"]


def test_a_bundle_without_golden_frames_is_said(gpu_machine: emulated.Emulator, caplog) -> None:
    bundle = Bundle(tiny.manifest(), {"fp32.onnx": tiny.graph()}, "0" * 64, None)
    load_engine(bundle, "tensorrt").close()
    assert [line.partition(":")[0] for line in said(caplog)] == ["the bundle has no golden frames"]


def test_a_damaged_golden_map_leaves_nothing_on_the_gpu(gpu_machine: emulated.Emulator, tiny_bundle: Path) -> None:
    bundle = bundle_of(tiny_bundle, "fp32")
    damaged = Bundle(bundle.manifest, bundle.members() | {"golden/fp32-1.npy": b""}, "", None)
    with pytest.raises(BundleError, match=r"golden/fp32-1\.npy"):
        load_engine(damaged, "tensorrt")
    assert gpu_machine.driver.emulator_left() == 0


def test_the_command_line_knows_it(gpu_machine: emulated.Emulator, tiny_bundle: Path, edgead) -> None:
    code, out, _ = edgead("verify", tiny_bundle, "--engine", "tensorrt")
    assert (code, out.count("ok      tensorrt fp32")) == (0, 2)
    code, out, _ = edgead("predict", tiny_bundle, "--help")
    assert "tensorrt" in out


def test_what_a_golden_map_allows_is_the_artifacts(gpu_machine: emulated.Emulator, tmp_path: Path) -> None:
    tiny.write_tiny(tmp_path / "off.edgead", distort=lambda golden: golden + np.float32(0.02))
    with pytest.raises(EngineError, match=r"differs by 0\.02 \(allowed 0\.004\)"):
        load_engine(Bundle.open(tmp_path / "off.edgead"), "tensorrt")


def test_without_a_gpu_it_is_absent(tiny_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = load_engine(Bundle.open(tiny_bundle))
    assert engine.name == "openvino"
    assert caplog.records == []  # nobody is told of what was never there
    engine.close()
    with pytest.raises(EngineError, match="is not installed"):
        load_engine(Bundle.open(tiny_bundle), "tensorrt")


def test_objects_are_matched_by_another_engine(
    gpu_machine: emulated.Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = object_scenes.bundle()
    with pytest.raises(EngineError, match="engines of the CPU alone: use --engine onnx"):
        Detector(bundle, engine="tensorrt")
    with Detector(bundle, threads=1) as detector:
        assert detector.engine.name != "tensorrt"
        assert np.isfinite(detector(object_scenes.good(0)).score)
    assert any("engines of the CPU alone" in line for line in said(caplog))
