"""A GPU for tests on a machine without one: edgead.cuda runs unchanged, on kernels and a driver compiled for the CPU.

The kernel files are compiled by g++ with emulator/kernels.hpp, a libcuda.so.1 from emulator/driver.cpp, and
emulator/stand_in.py calls it as pycuda would.

    python -m emulated SCRIPT [ARGUMENT ...]

runs a script on it; what that measures says nothing.
"""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from runpy import run_path
from tempfile import TemporaryDirectory
from types import ModuleType

import programs
import pytest

from edgead.cuda.compile import SOURCES

HERE = Path(__file__).with_name("emulator")
FILES = sorted(path.stem for path in SOURCES.glob("*.cu"))
KERNEL = re.compile(r"__global__ void (?:__launch_bounds__\([\w, ]+\) )?(\w+)\((\w+) task\)")
REAL_PYCUDA = "EDGEAD_TESTS_PYCUDA"  # set by test_pycuda.py to its driver: pycuda itself is used, not the stand-in
FLAGS = ("-std=c++17", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-shared", "-fPIC")


def shared_folder() -> Path | None:
    """Where several processes that follow each other keep the libraries, so that one builds them: EMULATOR_FOLDER."""
    named = os.environ.get("EMULATOR_FOLDER")
    return Path(named) if named else None


def toolkit() -> Path:
    """NVIDIA's toolkit as its packages bring it (nvidia-cuda-nvcc and others, in the extra `test`)."""
    found = find_spec("nvidia")
    folders = [Path(folder) for folder in found.submodule_search_locations or ()] if found else []
    headers = [path for folder in folders for path in folder.glob("*/include/cuda.h")]
    if not headers:
        programs.lacking("NVIDIA's compiler is missing: pip install 'edgead[test]'")
    return headers[0].parents[1]


def build_kernels(file: str, folder: Path, text: str | None = None, *, flags: tuple[str, ...] = ("-O2",)) -> Path:
    """A library of a kernel file (or of another text for it) that runs on this CPU."""
    text = (SOURCES / f"{file}.cu").read_text() if text is None else text
    exported = "".join(f"EMULATE({name}, {task})\n" for name, task in KERNEL.findall(text))
    source, library = folder / f"{file}.cpp", folder / f"{file}.so"
    whole = f'#include "kernels.hpp"\n{text}\n{exported}'
    if library.exists() and source.read_text() == whole:  # of the same emulator in another process
        return library
    source.write_text(whole)
    # as the GPU's compiler is told: multiplications and additions stay apart
    options = [*FLAGS, *flags, "-ffp-contract=off", "-fno-strict-aliasing", f"-I{HERE}", f"-I{SOURCES}"]
    return _compiled(options, source, library)


def build_driver(folder: Path) -> Path:
    """A libcuda.so.1 without a GPU."""
    # without a soname: NVRTC asks a libcuda.so.1 that is loaded for more than this one has
    library = folder / "libcuda.so.1"
    if library.exists():
        return library
    return _compiled([*FLAGS, "-O1", f"-I{toolkit()}/include"], HERE / "driver.cpp", library)


def _compiled(options: list[str], source: Path, library: Path) -> Path:
    command = [programs.need("g++"), *options, str(source), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library


class Emulator:
    """The emulated driver, and which library stands for each kernel file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._real = os.environ.get(REAL_PYCUDA)
        mode = ctypes.RTLD_GLOBAL if self._real else ctypes.RTLD_LOCAL  # so that pycuda finds it loaded
        self.path = self._real or str(build_driver(folder))
        self.driver = ctypes.CDLL(self.path, mode)
        self.driver.emulator_wrong.restype = ctypes.c_char_p
        self.kernels = {file: build_kernels(file, folder) for file in FILES}

    def code(self, source: Path, capability: int, driver_version: int) -> bytes:
        """What stands for `machine_code`: the path of the library, which the emulated driver opens."""
        assert (capability, driver_version) == (87, 13000)
        return str(self.kernels[source.stem]).encode() + b"\0"

    @contextmanager
    def installed(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """edgead.cuda finds it in place of pycuda and a compiler; at the end nothing may be left or have gone wrong."""
        if self._real:
            sys.setdlopenflags(os.RTLD_LAZY)  # this driver has only what is used
        else:
            package = ModuleType("pycuda")
            package.driver = _stand_in().stand_in(self.driver)  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, "pycuda", package)
            monkeypatch.setitem(sys.modules, "pycuda.driver", package.driver)
        monkeypatch.setattr("edgead.cuda.kernels.machine_code", self.code)
        monkeypatch.setattr("edgead.cuda.driver_api.DRIVER", self.path)
        monkeypatch.setenv("EMULATED_DRIVER", self.path)
        self.driver.emulator_reset()
        yield
        assert self.driver.emulator_wrong() == b""
        assert self.driver.emulator_left() == 0
        assert self.driver.emulator_depth() == 0


@contextmanager
def tensorrt(monkeypatch: pytest.MonkeyPatch, *, rtx: bool = False) -> Iterator[None]:
    """The TensorRT of emulator/packages, and the one for RTX of packages_rtx, can be imported, here and in child
    processes, and are forgotten at the end."""
    folders = [str(HERE / "packages"), *([str(HERE / "packages_rtx")] if rtx else [])]
    for folder in folders:
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [*folders, os.environ.get("PYTHONPATH")])))
    _forget_tensorrt()
    yield
    _forget_tensorrt()


def _forget_tensorrt() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tensorrt", "tensorrt_rtx")]:
        del sys.modules[name]


def _stand_in() -> ModuleType:
    spec = spec_from_file_location("stand_in", HERE / "stand_in.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Run a script of the command line on the emulated GPU."""
    with ExitStack() as stack:
        folder, monkeypatch = (
            stack.enter_context(TemporaryDirectory()),
            stack.enter_context(pytest.MonkeyPatch.context()),
        )
        stack.enter_context(Emulator(shared_folder() or Path(folder)).installed(monkeypatch))
        sys.argv = sys.argv[1:]
        run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
