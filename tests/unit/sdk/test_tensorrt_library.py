"""Which of NVIDIA's two libraries is found, and what is said where neither is."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from edgead.errors import AbsentError, EngineError, UsageError
from edgead.tensorrt import library
from edgead.tensorrt.build import capabilities, check_capability
from edgead.tensorrt.library import open_library

NAMES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in NAMES:
        monkeypatch.setitem(sys.modules, name, None)

    def put(name: str, version: str) -> None:
        module = ModuleType(name)
        module.__version__ = version  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)

    return put


def test_neither_is_here(install: Any) -> None:
    with pytest.raises(AbsentError, match=r"tensorrt is not installed .*; tensorrt-rtx is not installed"):
        open_library()


@pytest.mark.parametrize("version", ["10.3.0", "10.16.2.1", "11.4.0.106"])
def test_tensorrt_comes_before_tensorrt_for_rtx(install: Any, version: str) -> None:
    install("tensorrt", version)
    install("tensorrt_rtx_bindings", "1.7.1.116")
    found = open_library()
    assert (found.name, found.version, found.is_rtx) == ("tensorrt", version, False)
    assert found.title == f"TensorRT {version}"
    rtx = open_library("tensorrt-rtx")
    assert (rtx.title, rtx.is_rtx) == ("TensorRT for RTX 1.7.1.116", True)


@pytest.mark.parametrize("version", ["8.6.1", "10.2.0.post1", "10.0.1"])
def test_a_tensorrt_that_is_too_old_is_none(install: Any, version: str) -> None:
    install("tensorrt", version)
    with pytest.raises(AbsentError, match=r"too old: 10\.3 is the least"):
        open_library("tensorrt")
    install("tensorrt_rtx", "1.7.1.116")
    assert open_library().is_rtx


def test_a_library_that_cannot_be_loaded_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = {"tensorrt": ImportError("libnvinfer.so.10: cannot open shared object file")}

    def fail(name: str) -> ModuleType:
        raise errors.get(name, ModuleNotFoundError(name=name))

    monkeypatch.setattr(library, "import_module", fail)
    with pytest.raises(EngineError, match=r"cannot be loaded: libnvinfer\.so\.10"):
        open_library("tensorrt")
    errors["tensorrt"] = ModuleNotFoundError(name="tensorrt_libs")
    with pytest.raises(EngineError, match="it needs tensorrt_libs"):
        open_library("tensorrt")
    errors["tensorrt"] = TypeError("pybind11 has no class 'ILogger'")
    with pytest.raises(EngineError, match="cannot be loaded: pybind11") as caught:
        open_library()
    assert not isinstance(caught.value, AbsentError)  # it is here, and the line should hear of it


def test_an_unknown_library_is_the_callers_mistake() -> None:
    with pytest.raises(UsageError, match="did you mean 'tensorrt-rtx'"):
        open_library("tensorrt_rtx")


def test_tensorrt_itself_builds_for_no_other_gpu(install: Any) -> None:
    install("tensorrt", "10.13.3.9")
    found = open_library()
    assert capabilities(found) == []
    with pytest.raises(EngineError, match="run `edgead compile` there"):
        check_capability(found, 89)
