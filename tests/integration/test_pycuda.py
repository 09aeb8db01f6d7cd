"""Real pycuda on the emulated driver: the tests of edgead.cuda pass with it as with its stand-in.

pycuda has no wheels, so it is built here, against the headers of NVIDIA's packages: more than a minute of one core.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import emulated
import programs
import pytest

TESTS = Path(__file__).parents[1]
PYCUDA = "pycuda==2026.1"
NEEDS = ("mako", "platformdirs", "pytools", "siphash24")


def run(*command: object, cwd: Path, **environment: str) -> None:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def build_pycuda(folder: Path) -> Path:
    """A folder from which real pycuda can be imported where there is a libcuda.so.1."""
    pip = (sys.executable, "-m", "pip", "-q")
    run(*pip, "download", "--no-deps", "--no-binary=:all:", "--no-build-isolation", PYCUDA, cwd=folder)
    with tarfile.open(next(folder.glob("pycuda-*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    source, stub, out = next(folder.glob("pycuda-*/")), folder / "stub", folder / "installed"
    stub.mkdir()
    empty = ("-shared", "-x", "c", "/dev/null", "-Wl,-soname,libcuda.so.1", "-o", "libcuda.so")
    run(programs.need("g++"), *empty, cwd=stub)
    options = (f"--cuda-root={emulated.toolkit()}", f"--cudadrv-lib-dir={stub}", "--no-cuda-enable-curand")
    run(sys.executable, "configure.py", *options, cwd=source)
    run(*pip, "install", "--no-deps", "--no-build-isolation", f"--target={out}", ".", cwd=source, CFLAGS="-g0 -O0 -w")
    run(*pip, "install", f"--target={out}", *NEEDS, cwd=folder)
    return out


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_real_pycuda_passes_the_same_tests(tmp_path: Path) -> None:
    installed, driver = build_pycuda(tmp_path), emulated.build_driver(tmp_path)
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(installed)])),
        "LD_LIBRARY_PATH": str(tmp_path),
        emulated.REAL_PYCUDA: str(driver),
    }
    names = (
        "cuda_context",
        "cuda_graph",
        "cuda_resize",
        "cuda_fuse",
        "cuda_components",
        "device_arrays",
        "pinned_blocks",
        "tensorrt_engine",
    )
    files = [TESTS / f"cuda/test_{name}.py" for name in names]
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, cwd=TESTS.parent, **environment)
