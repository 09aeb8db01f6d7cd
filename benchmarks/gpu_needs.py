"""Says what `on_gpu.sh` needs and this machine lacks, before minutes of a GPU are spent.

    python benchmarks/gpu_needs.py [--emulated]
    python benchmarks/gpu_needs.py --wheels DIR --into FOLDER

The exit code is 1 where something is missing that every step needs; what single steps need is said as well. With
--wheels, those of a folder are installed whose package is not here: one that is here fits the others that are here.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ALL = {  # module -> the package that brings it
    "cv2": "opencv-python-headless",
    "hypothesis": "hypothesis",
    "msgspec": "msgspec",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "pytest": "pytest",
    "typer": "typer",
    "yaml": "pyyaml",
}
ON_A_GPU = {"pycuda.driver": "pycuda and what it imports: mako, platformdirs, pytools, siphash24"}
STEPS = {"torch": "the engine and the baselines"}
PROGRAMS = {"compute-sanitizer": "the sanitizers"}


def lacking(modules: dict[str, str]) -> list[str]:
    """A line for each module that cannot be imported, with the reason."""
    lines = []
    for module, package in modules.items():
        try:
            import_module(module)
        except Exception as error:
            lines.append(f"{module} ({package}): {type(error).__name__}: {error}")
    return lines


def is_here(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def install(wheels: Path, into: Path) -> int:
    """Install what is absent, without a network; the exit code of pip."""
    found = sorted(wheels.glob("*.whl"))
    absent = [wheel for wheel in found if not is_here(wheel.name.partition("-")[0])]
    print(f"{len(found)} wheels, of which are absent here: {', '.join(wheel.name for wheel in absent) or 'none'}")
    if not found:
        print(f"there is no wheel in {wheels}")
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-compile", "--quiet"]
    return subprocess.run([*pip, "--target", into, *absent], check=False).returncode if absent else int(not found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emulated", action="store_true")
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--into", type=Path)
    given = parser.parse_args()
    if given.wheels is not None:
        return install(given.wheels, given.into)
    print(f"Python {sys.version.split()[0]} at {sys.executable}")
    missing = lacking(ALL if given.emulated else ALL | ON_A_GPU)
    for line in missing:
        print(f"missing for all: {line}")
    for line in lacking(STEPS):
        print(f"missing for {STEPS[line.split()[0]]}: {line}")
    programs = {"g++": "the emulated driver"} if given.emulated else PROGRAMS
    for program, purpose in programs.items():
        if shutil.which(program) is None:
            print(f"missing for {purpose}: {program}")
    if not missing and not given.emulated:
        from edgead.cuda.compile import compilers, cuda_summary
        from edgead.cuda.context import CudaContext

        gpu = CudaContext()
        gpu.close()
        print(f"compilers: {', '.join(one.name for one in compilers(gpu.driver_version)) or 'none'}")
        print(cuda_summary())
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
