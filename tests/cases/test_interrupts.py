"""A benchmark that is interrupted ends at once, also by signals that reach its first process alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]], ids=["term", "int, term"])
def test_a_benchmark_ends_at_once_when_it_is_told_to(
    tiny_bundle: Path, tmp_path: Path, signals: list[signal.Signals]
) -> None:
    command = [sys.executable, "-m", "edgead", "bench", tiny_bundle, "--engine", "onnx", "--runs", "100000"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            assert process.stderr.readline() == "edgead: measuring onnx fp32\n"
            time.sleep(1.0)  # its own process is at work, or on its way
            told = time.monotonic()
            for one in signals:
                process.send_signal(one)
                time.sleep(0.1)
            code = process.wait(15)
        finally:
            process.kill()
    assert time.monotonic() - told < 15
    assert code in (130, 143, -signal.SIGINT, -signal.SIGTERM)
