"""NVIDIA's own checks of the kernels on a real GPU: accesses beyond memory, races in shared memory, barriers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import programs
import pytest

HERE = Path(__file__).parent


@pytest.mark.gpu
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_it_finds_nothing(tool: str) -> None:
    sanitizer = programs.need("compute-sanitizer")
    files = [str(HERE / f"test_cuda_{name}.py") for name in ("resize", "fuse", "components")]
    command = [sanitizer, f"--tool={tool}", "--error-exitcode=9", "--target-processes=all"]
    tests = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *files]
    done = subprocess.run([*command, *tests], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
