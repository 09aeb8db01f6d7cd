"""Machines with something of NVIDIA's, laid out in a folder as `edgead doctor` reads them."""

from __future__ import annotations

import json
from pathlib import Path

from edgead.system.nvidia import Machine, Python, read_machine
from edgead.system.requirements import Gap, find_gaps

ORIN, THOR = "NVIDIA Jetson AGX Orin Developer Kit", "NVIDIA Jetson AGX Thor Developer Kit"
OPEN_DRIVER = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  {}  Release Build  (builder)  Thu"
DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Thu Feb 22 01:44:30 UTC 2024\nGCC version:"


FILES = {
    "release": "etc/nv_tegra_release",
    "model": "proc/device-tree/model",
    "kernel": "proc/sys/kernel/osrelease",
    "driver": "proc/driver/nvidia/version",
    "container": ".dockerenv",
    "jetson_gpu": "dev/nvhost-gpu",
    "gpu": "dev/nvidia0",
    "vendor": "sys/bus/pci/devices/0000:01:00.0/vendor",
    "kind": "sys/bus/pci/devices/0000:01:00.0/class",
    "toolkit": "usr/local/cuda/version.json",
    "header": "usr/include/cuda.h",
    "nvcc": "usr/local/cuda/bin/nvcc",
    "nvrtc": "usr/local/cuda/lib64/libnvrtc.so.12.6.68",
}


def lay(root: Path, *folders: str, **texts: str) -> None:
    """Folders, and files with their texts by name."""
    for folder in folders:
        (root / folder).mkdir(parents=True)
    for name, text in texts.items():
        path = root / FILES[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def python(
    *, base: str = "/usr", isolated: bool = False, version: tuple[int, int] = (3, 10), **packages: str
) -> Python:
    names = {name.replace("_", "-"): found for name, found in packages.items()}
    return Python(version, Path("/home/op/env"), Path(base), isolated, {"pycuda": "2026.1"} | names)


def jetson(root: Path, release: str, model: str = ORIN, cuda: str = "12.6.11", **more: str) -> None:
    """A Jetson as JetPack leaves it."""
    generation, _, revision = release.partition(".")
    text = f"# R{generation} (release), REVISION: {revision}, GCID: 38968081, BOARD: generic, EABI: aarch64"
    toolkit = json.dumps({"cuda": {"name": "CUDA SDK", "version": cuda}})
    lay(root, "usr/lib/python3.10/dist-packages/tensorrt", release=text, model=model + "\0", kernel="5.15.148-tegra\n")
    lay(root, driver=OPEN_DRIVER.format("540.4.0"), jetson_gpu="", toolkit=toolkit, nvcc="", **more)


def read(root: Path, smi: str = "", processor: str = "x86_64", **packages: str) -> Machine:
    return read_machine(root, smi=smi, processor=processor, python=python(**packages))


def only(machine: Machine) -> Gap:
    (gap,) = find_gaps(machine)
    return gap
