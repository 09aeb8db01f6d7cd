"""Implements `edgead doctor`: what this machine can do, and what to install for what it cannot.

Packages are tried in processes of their own: a broken CUDA installation can take its process with it.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import cv2

import edgead
from edgead.cli.options import Json, shown
from edgead.opencv import conflict, fault
from edgead.registry import checkout
from edgead.system.nvidia import SMI_FIELDS, Machine, read_machine
from edgead.system.platforms import dotted
from edgead.system.requirements import find_gaps
from edgead.tensorrt.library import INSTALL, RTX, TENSORRT

_TIMEOUT_S = 60
_VERSION = "import sys; sys.modules['openvino_telemetry'] = None; import {0} as m; print(getattr(m, '__version__', ''))"
_FOUND = "import {0}"
_OURS = re.compile(r"edgead\.errors\.\w+: ")  # an error that names the fix itself
_PYCUDA = "import edgead.cuda.compile as c; print(c.cuda_summary())"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing this machine has or lacks."""

    name: str
    found: bool
    detail: str
    purpose: str = ""
    install: str = ""  # the line that gets it, where it is absent


@dataclass(frozen=True, slots=True)
class Package:
    """An optional package: what it is for, how it is installed, and the program that tries it."""

    purpose: str
    install: str
    probe: str = _VERSION
    module: str = ""  # where it is not the name


PACKAGES = {
    "onnxruntime": Package("judging on the CPU", "pip install onnxruntime"),
    "openvino": Package("judging on the CPU, faster", "pip install 'edgead[openvino]'"),
    "torch": Package("building bundles", "pip install 'edgead[build]'"),
    "onnx": Package("building bundles", "pip install 'edgead[build]'"),
    "starlette": Package("the live page, web:", "pip install 'edgead[web]'", _FOUND),
    "paho-mqtt": Package(
        "verdicts to a broker, mqtt:", "pip install 'edgead[mqtt]'", "import paho.mqtt.client", "paho"
    ),
}
GPU_PACKAGES = {  # told of where they are here; where one is wanted and absent, that is a gap
    "tensorrt": Package("judging on an NVIDIA GPU", INSTALL[TENSORRT]),
    "tensorrt_rtx": Package("judging on a GeForce RTX", INSTALL[RTX], module="tensorrt_rtx_bindings"),
    "pycuda": Package("the GPU's buffers and kernels", "pip install 'edgead[tensorrt]'", _PYCUDA),
}


def doctor(as_json: Json = False) -> None:
    """Say what this machine can do, and for everything it lacks the line that installs it.

    \b
    edgead doctor
    edgead doctor --json
    """
    checks = [*_machine(), *_opencv(), *_packages(), *_nvidia(read_machine(smi=_smi())), *_cameras()]
    for check in checks:
        if as_json:
            print(json.dumps(asdict(check)))
        else:
            print(_line(check))


def _line(check: Check) -> str:
    purpose = f" ({check.purpose})" if check.purpose else ""
    advice = f"; {check.install}" if check.install and not check.found else ""
    return f"{'ok' if check.found else '--'}  {check.name:<14} {shown(check.detail)}{purpose}{advice}"


def _machine() -> Iterator[Check]:
    here = checkout()
    where = f", of the checkout {here}: there, write '{here}[EXTRA]' for 'edgead[EXTRA]'" if here else ""
    yield Check("edgead", True, edgead.__version__ + where)
    yield Check("python", True, f"{platform.python_version()} at {sys.executable}")
    board = _text(Path("/proc/device-tree/model")) or _text(Path("/etc/nv_tegra_release")).partition("\n")[0]
    yield Check("machine", True, ", ".join(filter(None, [platform.machine(), platform.system(), board])))
    for name in ("numpy", "msgspec", "typer"):
        yield Check(name, True, _installed(name))


def _opencv() -> Iterator[Check]:
    if sentence := fault():
        what, _, fix = sentence.partition("; ")
        yield Check("opencv", False, what, "reading pictures", fix)
        return
    yield Check("opencv", True, cv2.__version__)
    if sentence := conflict():
        what, _, fix = sentence.partition("; ")
        yield Check("  packages", False, what, "", fix)
    built = cv2.getBuildInformation()
    purposes = {"FFMPEG": "video files and streams", "v4l/v4l2": "cameras", "GStreamer": "Jetson camera pipelines"}
    for name, purpose in purposes.items():
        found = re.search(rf"^\s*{name}:\s*YES", built, re.MULTILINE) is not None
        advice = "" if found else "an OpenCV built with it has it; JetPack's does"
        yield Check(f"  {name}", found, "in this OpenCV" if found else "not in this OpenCV", purpose, advice)


def _packages() -> Iterator[Check]:
    """Every optional package, all tried at once."""
    modules = {name: package.module or name for name, package in (PACKAGES | GPU_PACKAGES).items()}
    here = {name: module for name, module in modules.items() if find_spec(module) is not None}
    probes = {name: _start(module, (PACKAGES | GPU_PACKAGES)[name].probe) for name, module in here.items()}
    for name, package in (PACKAGES | GPU_PACKAGES).items():
        if name in probes:
            found, detail = _finish(probes[name])
            version, *reason = _OURS.split(detail, maxsplit=1)
            advice = "" if found or reason else package.install
            yield Check(name, found, version + "".join(reason) or _installed(name), package.purpose, advice)
        elif name in PACKAGES:
            yield Check(name, False, "not installed", package.purpose, package.install)


def _start(name: str, probe: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", probe.format(name)]
    return subprocess.Popen(  # noqa: S603 - this interpreter, and a program that stands above
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, errors="replace"
    )


def _finish(probe: subprocess.Popen[str]) -> tuple[bool, str]:
    """Whether the probe succeeded, and its version or the last line of its complaint."""
    try:
        out, complaint = probe.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        probe.kill()
        probe.communicate()
        return False, f"installed, but importing it takes more than {_TIMEOUT_S} s"
    if probe.returncode == 0:
        return True, (out.strip().splitlines() or [""])[-1]
    reason = (complaint.strip().splitlines() or [f"its process ended with {probe.returncode}"])[-1]
    return False, f"installed, but it does not work: {reason}"


def _smi() -> str:
    """What nvidia-smi says of the GPUs, a line each; empty where there is none or it is too old to be asked."""
    program = shutil.which("nvidia-smi")
    return _output([program, f"--query-gpu={SMI_FIELDS}", "--format=csv,noheader"]) if program else ""


def _nvidia(machine: Machine) -> Iterator[Check]:
    """The GPU, the release it came with, and all that stands between it and judging."""
    if not machine.has_hardware:
        yield Check("NVIDIA GPU", False, "none here: the CPU engines are used")
        return
    row = machine.jetpack
    if machine.is_reachable:
        gpus = [", ".join(filter(None, [gpu.name, gpu.memory])) for gpu in machine.gpus] or [machine.board or "a GPU"]
        yield Check("NVIDIA GPU", True, "; ".join([*gpus, f"driver {machine.driver or 'unknown'}"]))
    if row is not None:
        brings = f"CUDA {dotted(row.cuda)}, TensorRT {' or '.join(map(dotted, row.tensorrt))}"
        linux = f"Jetson Linux {dotted(machine.linux)}"
        yield Check("JetPack", True, f"{row.name} ({linux}): {brings}, Python {dotted(row.python)}", row.note)
    for gap in find_gaps(machine):
        yield Check(gap.name, False, "; ".join(filter(None, [gap.there, gap.wanted])), "", gap.fix)


def _cameras() -> Iterator[Check]:
    devices = sorted(str(path) for path in Path("/dev").glob("video*"))
    advice = "" if devices else "plug one in; in a container, pass it with --device /dev/video0"
    yield Check("cameras", bool(devices), ", ".join(devices) or "no /dev/video*", "", advice)


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "version unknown"
