"""Nothing that edgead loads opens a connection or asks for a name: each command under a tracer of system calls."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

SENDING = "connect,sendto,sendmsg,sendmmsg"
STRACE = ["strace", "--seccomp-bpf", "-f", "-qq", "-e", f"trace={SENDING}"]
INTERNET = re.compile(r"sa_family=AF_INET6?\b.*")
QUICK = ["--runs", "10", "--seconds", "0.1"]


def traced(arguments: list[object], home: Path, trace: Path) -> list[str]:
    """What a program of this interpreter sends to the internet, as the tracer writes it, and what it puts into its home
    folder. It does not run as continuous integration, where some libraries are silent by themselves."""
    home.mkdir(exist_ok=True)
    named = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    named = {name: value for name, value in named.items() if not name.startswith("XDG_")}
    command = [*STRACE, "-o", trace, sys.executable, *arguments]
    done = subprocess.run(
        list(map(str, command)), env=named | {"HOME": str(home)}, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    sent = [found[0] for line in trace.read_text().splitlines() if (found := INTERNET.search(line))]
    return sent + [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of gray squares, and of a few with a white spot."""
    folder = tmp_path_factory.mktemp("quiet")
    random = np.random.default_rng(0)
    for part, count in (("data/train/good", 16), ("data/test/good", 2), ("data/test/spot", 2)):
        (folder / part).mkdir(parents=True)
        for index in range(count):
            image = random.integers(90, 110, (64, 64, 3)).astype(np.uint8)
            if part.endswith("spot"):
                image[20:30, 20:30] = 255
            cv2.imwrite(str(folder / part / f"{index}.png"), image)
    return folder


def test_a_build_is_silent(folder: Path, tmp_path: Path) -> None:
    command = ["build", "--data", folder / "data", "--out", tmp_path / "squares.edgead", "--steps", "2", "--size", "64"]
    assert traced(["-m", "edgead", *command], tmp_path / "home", tmp_path / "trace") == []
    assert (tmp_path / "squares.edgead").is_file()


@pytest.mark.parametrize("command", ["predict", "run", "verify", "bench", "eval", "doctor"])
def test_a_command_is_silent(command: str, tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    parts = folder / "data/test/good"
    arguments: list[object] = {
        "predict": [tiny_bundle, parts],
        "run": ["--bundle", tiny_bundle, "--source", parts, "--sink", f"jsonl:{tmp_path / 'results.jsonl'}"],
        "verify": [tiny_bundle],
        "bench": [tiny_bundle, *QUICK],
        "eval": [tiny_bundle, folder / "data"],
        "doctor": [],
    }[command]
    assert traced(["-m", "edgead", command, *arguments], tmp_path / "home", tmp_path / "trace") == []


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_an_engine_is_silent_in_a_program_of_ones_own(engine: str, tiny_bundle: Path, tmp_path: Path) -> None:
    program = f"""
import numpy as np
from edgead import Detector
with Detector({str(tiny_bundle)!r}, engine={engine!r}) as detector:
    detector(np.zeros((64, 64, 3), np.uint8))
"""
    assert traced(["-c", program], tmp_path / "home", tmp_path / "trace") == []


def test_the_tracer_sees_what_is_sent(tmp_path: Path) -> None:
    program = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('127.0.0.1', 9))"
    assert traced(["-c", program], tmp_path / "home", tmp_path / "trace") == [
        'sa_family=AF_INET, sin_port=htons(9), sin_addr=inet_addr("127.0.0.1")}, 16) = 0'
    ]
