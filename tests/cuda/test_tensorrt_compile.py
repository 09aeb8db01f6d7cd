"""`edgead compile` on the GPU that is here: what it builds is what a run takes, and it is held to the golden frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiny

from edgead import Detector
from edgead.errors import UsageError
from edgead.tensorrt.build import Options, build
from edgead.tensorrt.library import open_library
from edgead.tensorrt.metadata import decode

pytestmark = pytest.mark.usefixtures("gpu_machine")


def compiled(out: str) -> tuple[Path, Any]:
    path = Path(json.loads(out)["engine"])
    return path, decode(path.with_suffix(".json").read_bytes())


def test_a_run_takes_what_was_compiled(edgead: Any, tiny_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    code, out, err = edgead("compile", tiny_bundle, "--batch", 3, "--batch", 1, "--dla", "--json")
    assert code == 0
    assert "not on the accelerator but on the GPU: gray, pooled, map" in err
    path, metadata = compiled(out)
    assert (metadata.is_tried, metadata.batches, metadata.key.dla) == (True, (1, 3), True)
    caplog.clear()
    with Detector(tiny_bundle) as detector:
        assert (detector.engine.name, detector.batch) == ("tensorrt", 3)
    assert caplog.text == ""  # nothing was built
    assert edgead("compile", tiny_bundle)[0] == 0  # without options it is the bundle's own again
    with Detector(tiny_bundle) as detector:
        assert detector.batch == 1
    assert path.exists()


def test_an_engine_that_does_not_measure_what_it_should_is_no_success(
    edgead: Any, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_TENSORRT", "off")
    code, out, err = edgead("compile", tiny_bundle, "--batch", 2)
    assert (code, out) == (3, "")
    assert "it does not reproduce golden frame" in err
    monkeypatch.delenv("FAKE_TENSORRT")
    with Detector(tiny_bundle, engine="tensorrt") as detector:
        assert detector.batch == 1  # the choice went with it


class Program:
    """torch-tensorrt's, as far as this machine can go it: its engine is made from the ONNX file."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def load(self, path: Path, bundle: Any) -> str:
        if path.suffix != ".pt2":
            raise UsageError(f"{path} is not the program")
        return "the program"

    def serialize(self, program: str, batches: tuple[int, ...], precision: str, *, workspace: int) -> bytes:
        self.asked.append((program, batches, precision, workspace > 0))
        return build(open_library(), tiny.graph(), Options(batches)).engine


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    program = Program()
    monkeypatch.setattr("edgead_tools.export.serialize.load_program", program.load)
    monkeypatch.setattr("edgead_tools.export.serialize.serialize", program.serialize)
    return program


def test_an_engine_via_torch_tensorrt_keeps_the_same_contract(
    edgead: Any, tiny_bundle: Path, program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    options = ("--via", "torch-tensorrt", "--program", "tiny.pt2")
    code, out, _ = edgead("compile", tiny_bundle, "--batch", 2, "--batch", 4, *options, "--json")
    assert code == 0
    _, metadata = compiled(out)
    assert program.asked == [("the program", (4,), "fp32", True)]
    assert (metadata.key.via, metadata.batches, metadata.products) == ("torch-tensorrt", (4,), {})
    assert {port.name for port in metadata.ports} == {"image", "distance"}
    caplog.clear()
    with Detector(tiny_bundle) as detector:
        assert (detector.engine.name, detector.batch) == ("tensorrt", 4)
        assert detector(tiny.bad()).is_anomalous
    assert caplog.text == ""


def test_a_program_that_is_another_builds_nothing(edgead: Any, tiny_bundle: Path, program: Program) -> None:
    code, out, err = edgead("compile", tiny_bundle, "--via", "torch-tensorrt", "--program", "other.onnx")
    assert (code, out) == (2, "")
    assert "other.onnx is not the program" in err
    assert program.asked == []
