"""The script for a GPU that is lent for minutes runs whole on the emulated driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "on_gpu.sh"


def test_every_step_runs_and_is_in_the_summary(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", SCRIPT, "--emulated", "--out", tmp_path], capture_output=True, text=True, env=environment
    )
    logs = "".join(path.read_text()[-2000:] for path in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    lines = (tmp_path / "summary.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["smoke", "kernels", "tests"]
    assert all(line.endswith("ok") for line in lines)
    assert list(json.loads((tmp_path / "kernels.json").read_text())["batches"]) == ["1", "8"]


def test_a_wrong_option_prints_how_it_is_called(tmp_path: Path) -> None:
    done = subprocess.run(["bash", SCRIPT, "--all"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "--wheels DIR" in done.stdout
