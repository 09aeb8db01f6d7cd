"""What `edgead doctor` prints of NVIDIA's; what it finds is tested in test_nvidia.py and test_requirements.py."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from machines import ORIN, jetson, python

from edgead.cli import doctor
from edgead.system.nvidia import Machine, read_machine


def checks_of(edgead, monkeypatch: pytest.MonkeyPatch, machine: Machine, *absent: str) -> list[dict[str, object]]:
    monkeypatch.setattr(doctor, "read_machine", lambda smi: machine)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name in absent else find_spec(name))
    return [json.loads(line) for line in edgead("doctor", "--json")[1].splitlines()]


def test_doctor_makes_no_noise_without_nvidia_hardware(edgead, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = read_machine(tmp_path, processor="x86_64", python=replace(python(), packages={}))
    checks = checks_of(edgead, monkeypatch, machine, "tensorrt", "tensorrt_rtx_bindings", "pycuda")
    names = {str(check["name"]) for check in checks}
    assert not names & {"tensorrt", "tensorrt_rtx", "pycuda", "JetPack", "TensorRT", "kernels"}
    (gpu,) = (check for check in checks if check["name"] == "NVIDIA GPU")
    assert (gpu["detail"], gpu["install"]) == ("none here: the CPU engines are used", "")


def test_doctor_prints_the_release_and_a_line_a_gap(edgead, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    jetson(tmp_path, "36.4.3")
    machine = read_machine(tmp_path, processor="aarch64", python=python(isolated=True))
    monkeypatch.setattr(doctor, "read_machine", lambda smi: machine)
    monkeypatch.setattr(doctor, "PACKAGES", {})
    monkeypatch.setattr(doctor, "GPU_PACKAGES", {})
    lines = edgead("doctor")[1].splitlines()
    start = next(index for index, line in enumerate(lines) if "NVIDIA GPU" in line)
    assert lines[start : start + 3] == [
        f"ok  NVIDIA GPU     {ORIN}; driver 540.4.0",
        "ok  JetPack        6.2 (Jetson Linux 36.4.3): CUDA 12.6, TensorRT 10.3, Python 3.10"
        " (has DLA; TensorRT 11 is not for it)",
        "--  Python         /home/op/env does not see the system's packages; JetPack's tensorrt is one of them;"
        " sed -i '/^include-system-site-packages/s/false/true/' /home/op/env/pyvenv.cfg",
    ]
