"""An OpenCV that is broken or there twice is told in one sentence; the threads of a training are on its card."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from types import ModuleType

import pytest

from edgead import opencv
from edgead.errors import EngineError

Command = Callable[..., tuple[int, str, str]]


def have(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def version(name: str) -> str:
        if name in names:
            return "4.14.0"
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", version)


def test_two_packages_of_opencv_are_named_with_what_repairs_them(
    edgead: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    have(monkeypatch, "opencv-python")
    assert opencv.conflict() == opencv.fault() == ""
    have(monkeypatch, "opencv-python", "opencv-python-headless")
    fix = (
        "pip uninstall -y opencv-python opencv-python-headless && pip install --force-reinstall opencv-python-headless"
    )
    assert opencv.conflict().startswith(
        "opencv-python 4.14.0 and opencv-python-headless 4.14.0 are installed over each"
    )
    monkeypatch.setattr("edgead.cli.doctor._packages", lambda: iter(()))
    code, out, _ = edgead("doctor")
    assert code == 0
    assert any(line.startswith("--") and fix in line for line in out.splitlines())


def test_a_broken_opencv_is_one_sentence(edgead: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, "opencv-python-headless")
    monkeypatch.setitem(sys.modules, "cv2", ModuleType("cv2"))
    with pytest.raises(
        EngineError, match=r"cv2 has no imdecode, VideoCapture, utils.*; pip uninstall -y opencv-python"
    ):
        opencv.check_opencv()
    monkeypatch.setattr("edgead.cli.doctor._packages", lambda: iter(()))
    code, out, said = edgead("doctor")
    assert code == 0, said
    assert any(line.startswith("--  opencv ") and "--force-reinstall" in line for line in out.splitlines())
    code, _, said = edgead("cameras")
    assert code == 3
    assert said.startswith("edgead: OpenCV is broken")
    assert said.count("\n") == 1


def test_doctor_names_the_extras_of_sinks(edgead: Command) -> None:
    out = edgead("doctor")[1]
    assert "a broker, mqtt:" in out
    assert "the live page, web:" in out
