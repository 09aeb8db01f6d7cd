"""Describes the machine a figure was measured on, and the state it was in; both are stored with every figure.

Everything is read from /proc and /sys, as Linux and NVIDIA's boards have it; what a machine does not tell is left out.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path("/")
INSTRUCTIONS = frozenset({"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "asimd", "asimddp", "i8mm"})
PACKAGES = ("edgead", "numpy", "onnxruntime", "opencv-python-headless", "openvino", "tensorrt")


def describe_device(root: Path = ROOT) -> dict[str, Any]:
    """The board, the processor, the cores this process may use, its instruction sets that matter, and the versions."""
    lines = [line.partition(":") for line in _text(root / "proc/cpuinfo").splitlines()]
    fields = {name.strip(): value.strip() for name, _, value in lines}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    release = _text(root / "etc/nv_tegra_release").partition("\n")[0]
    return _known(
        {
            "board": _text(root / "proc/device-tree/model"),
            "jetson_linux": release.removeprefix("# "),
            "processor": fields.get("model name") or platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "instructions": sorted(flags & INSTRUCTIONS),
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "versions": dict(_versions()),
        }
    )


def describe_state(root: Path = ROOT) -> dict[str, Any]:
    """Clocks in MHz, governors, temperatures in degrees Celsius, power mode and load at this moment."""
    cores = sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq"))
    clocks = [int(text) // 1000 for core in cores if (text := _text(core / "scaling_cur_freq"))]
    if not clocks:
        lines = _text(root / "proc/cpuinfo").splitlines()
        clocks = [round(float(line.partition(":")[2])) for line in lines if line.startswith("cpu MHz")]
    gpus = [path for path in sorted(root.glob("sys/class/devfreq/*")) if "gpu" in path.name or "gpu" in _kind(path)]
    return _known(
        {
            "cpu_mhz": clocks,
            "governors": sorted({_text(core / "scaling_governor") for core in cores} - {""}),
            "gpu_mhz": [int(text) // 10**6 for path in gpus if (text := _text(path / "cur_freq"))],
            "gpu_clocks_fixed": [
                _text(path / "min_freq") == _text(path / "max_freq") for path in gpus
            ],  # jetson_clocks
            "temperatures_c": dict(_temperatures(root)),
            "power_mode": _power_mode(),
            "load": round(os.getloadavg()[0], 2),
        }
    )


class OtherWork:
    """The share of all cores that other programs took since it was made; what a hypervisor took counts among them."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self._start = self._read()

    def _read(self) -> tuple[float, float, float]:
        """Seconds of all cores, those at work, and those of this process and its children that have ended."""
        ticks = [int(word) for word in _text(self._root / "proc/stat").partition("\n")[0].split()[1:9]]
        second = os.sysconf("SC_CLK_TCK")
        own = os.times()
        idle = sum(ticks[3:5])
        return sum(ticks) / second, (sum(ticks) - idle) / second, sum(own[:4])

    def share(self) -> float:
        total, busy, own = (now - then for now, then in zip(self._read(), self._start, strict=True))
        return min(1.0, max(0.0, (busy - own) / total)) if total > 0 else 0.0


def resident_mib(root: Path = ROOT) -> tuple[float, float]:
    """This process's resident memory now and at its peak, in MiB."""
    lines = dict(line.split(":", 1) for line in _text(root / "proc/self/status").splitlines() if ":" in line)
    now, peak = (int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return round(now, 1), round(peak, 1)


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue


def _temperatures(root: Path) -> Iterator[tuple[str, float]]:
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        text = _text(zone / "temp")
        if text.lstrip("-").isdecimal():
            yield _text(zone / "type") or zone.name, int(text) / 1000


def _power_mode() -> str:
    """What NVIDIA's nvpmodel says: its mode's name."""
    program = shutil.which("nvpmodel")
    if program is None:
        return ""
    try:
        done = subprocess.run([program, "-q"], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip().partition("\n")[0].rpartition(":")[2].strip()


def _kind(device: Path) -> str:
    """What a frequency device drives: Jetson's GPUs are named by their address, and by this."""
    return _text(device / "device/of_node/name")


def _known(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value not in ("", [], {})}


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""
