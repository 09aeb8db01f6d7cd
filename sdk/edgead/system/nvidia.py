"""Finds NVIDIA's hardware and libraries by reading files: nothing is loaded, nothing can crash.

Boards and drivers are found under a root folder, as Linux and Jetson Linux lay them out; packages by their metadata.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from edgead.system.platforms import JetPack, Version, cuda_of_driver, find_jetpack, numbers

ROOT = Path("/")
SMI_FIELDS = "name,driver_version,memory.total,compute_cap"  # what `read_machine` wants of nvidia-smi, as CSV
VENDOR, DISPLAY = "0x10de", "0x03"  # NVIDIA, and the class of displays and GPUs, on the PCI bus
_PACKAGE = re.compile(r"(tensorrt(-rtx)?(-cu\d+)?(-bindings|-libs)?|pycuda|nvidia-cuda-nvrtc(-cu\d+)?|torch-tensorrt)")
_RELEASE = re.compile(r"R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)")
_DRIVER = re.compile(r"Kernel Module\D*?(?:for \S+)?\s+(\d+(?:\.\d+)+)")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as its driver names it."""

    name: str
    memory: str = ""
    capability: int = 0  # compute capability, such as 86; 0 where the driver does not tell


@dataclass(frozen=True, slots=True)
class Python:
    """The interpreter and those of its packages that matter here."""

    version: Version  # (3, 10)
    prefix: Path  # of the virtual environment where it is one, else of the interpreter
    base: Path  # of the interpreter
    isolated: bool  # a virtual environment that does not see the packages of its interpreter
    packages: dict[str, str]  # version by name, as `tensorrt-cu12`

    def parts(self, library: str) -> dict[str, str]:
        """The distributions of a library: of `tensorrt` also `tensorrt-cu13-bindings`, and not `tensorrt-rtx`."""
        pattern = re.compile(rf"{library}(-cu\d+)?(-bindings|-libs)?")
        return {name: version for name, version in self.packages.items() if pattern.fullmatch(name)}

    def find(self, library: str) -> str:
        """The version of a library; empty where it is not installed."""
        return next(iter(self.parts(library).values()), "")

    def cuda(self, library: str) -> int:
        """The CUDA generation a library is made for; 0 where the names of its distributions do not say."""
        found = re.findall(r"-cu(\d+)", " ".join(self.parts(library)))
        return max(map(int, found), default=0)


@dataclass(frozen=True, slots=True)
class Machine:
    """What there is of NVIDIA's."""

    processor: str  # x86_64 or aarch64
    board: str  # of a Jetson, as the device tree names it; may be empty in a container
    linux: Version  # Jetson Linux, (36, 4, 3); empty elsewhere, and in a container that was not given it
    is_jetson: bool
    in_container: bool
    has_hardware: bool  # a GPU is there, whether or not this process may use it
    is_reachable: bool  # it may
    driver: str  # 580.65.06; empty where there is none
    gpus: tuple[Gpu, ...]
    toolkit: Version  # the CUDA toolkit in the usual place: (12, 6, 11)
    has_nvcc: bool
    nvrtc: tuple[int, ...]  # CUDA generations of the system's NVRTC libraries
    has_bindings: bool  # tensorrt as a package of the system's Python
    python: Python

    @property
    def jetpack(self) -> JetPack | None:
        return find_jetpack(self.linux)

    @property
    def cuda(self) -> int:
        """The CUDA generation whose programs the driver runs; 0 where it is too old for all, or not known."""
        if self.is_jetson:
            return self.jetpack.cuda[0] if self.jetpack else 0
        return cuda_of_driver(numbers(self.driver))


def read_machine(root: Path = ROOT, *, smi: str = "", processor: str = "", python: Python | None = None) -> Machine:
    """The machine under `root`, with what nvidia-smi printed for SMI_FIELDS (one GPU a line), if it is there."""
    board = _text(root / "proc/device-tree/model")
    release = _RELEASE.search(_text(root / "etc/nv_tegra_release"))
    linux = numbers(".".join(release.groups())) if release else ()
    is_jetson = bool(linux) or "Jetson" in board or "tegra" in _text(root / "proc/sys/kernel/osrelease")
    reported = _DRIVER.search(_text(root / "proc/driver/nvidia/version"))
    rows = [line.split(", ") for line in smi.splitlines() if line.count(", ") == SMI_FIELDS.count(",")]
    driver = rows[0][1] if rows else reported[1] if reported else ""
    nodes = ("nvhost-gpu", "nvgpu", "nvmap", "nvidia0") if is_jetson else ("nvidia[0-9]*", "dxg")
    has_nodes = any(found for node in nodes for found in root.glob(f"dev/{node}"))
    return Machine(
        processor=processor or platform.machine(),
        board=board,
        linux=linux,
        is_jetson=is_jetson,
        in_container=(root / ".dockerenv").exists() or (root / "run/.containerenv").exists(),
        has_hardware=is_jetson or bool(driver) or _is_on_bus(root),
        is_reachable=bool(rows) or (bool(driver or is_jetson) and has_nodes),
        driver=driver,
        gpus=tuple(Gpu(name, memory, _capability(capability)) for name, _, memory, capability in rows),
        toolkit=_toolkit(root),
        has_nvcc=any((root / path).exists() for path in ("usr/local/cuda/bin/nvcc", "usr/bin/nvcc")),
        nvrtc=_nvrtc(root),
        has_bindings=any(root.glob("usr/lib/python3*/dist-packages/tensorrt")),
        python=python or read_python(),
    )


def read_python(paths: Sequence[str] | None = None) -> Python:
    """This interpreter, with the packages on `paths` (sys.path); of two with one name the first, as imports have it."""
    packages: dict[str, str] = {}
    for found in distributions(path=list(sys.path if paths is None else paths)):
        name = re.sub(r"[-_.]+", "-", str(found.metadata["Name"] or "")).lower()
        if _PACKAGE.fullmatch(name):
            packages.setdefault(name, found.version)
    settings = _text(Path(sys.prefix, "pyvenv.cfg")).lower().replace(" ", "")
    isolated = sys.prefix != sys.base_prefix and "include-system-site-packages=true" not in settings
    return Python(tuple(sys.version_info[:2]), Path(sys.prefix), Path(sys.base_prefix), isolated, packages)


def _is_on_bus(root: Path) -> bool:
    """Whether the PCI bus shows an NVIDIA GPU, with or without a driver."""
    return any(
        _text(device / "vendor") == VENDOR and _text(device / "class").startswith(DISPLAY)
        for device in root.glob("sys/bus/pci/devices/*")
    )


def _capability(text: str) -> int:
    major, _, minor = text.strip().partition(".")
    return 10 * int(major) + int(minor) if major.isdecimal() and minor.isdecimal() else 0


def _toolkit(root: Path) -> Version:
    try:
        reported = json.loads(_text(root / "usr/local/cuda/version.json"))
        return numbers(str(reported["cuda"]["version"]))
    except (ValueError, KeyError, TypeError):
        pass
    for header in ("usr/local/cuda/include/cuda.h", "usr/include/cuda.h"):
        found = re.search(r"#define CUDA_VERSION (\d+)", _text(root / header))
        if found:
            return int(found[1]) // 1000, int(found[1]) % 1000 // 10
    return ()


def _nvrtc(root: Path) -> tuple[int, ...]:
    folders = ("usr/local/cuda/lib64", "usr/local/cuda/targets/*/lib", "usr/lib/*-linux-gnu")
    names = {path.name for folder in folders for path in root.glob(f"{folder}/libnvrtc.so.*")}
    found = {numbers(name.removeprefix("libnvrtc.so."))[:1] for name in names}
    return tuple(sorted(major for (major,) in filter(None, found)))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0 \n")
    except OSError:
        return ""
