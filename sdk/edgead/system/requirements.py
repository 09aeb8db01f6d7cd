"""Finds what is missing for judging on this machine's GPU, each with the command that installs it.

A rule looks at the machine and gives a gap or None. Rules that would only repeat an earlier one are not asked: where
the GPU cannot be reached, or the board's release is none that edgead knows, nothing else is worth saying.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edgead.system.nvidia import Machine
from edgead.system.platforms import (
    DRIVERS,
    JETPACKS,
    LEAST_CAPABILITY,
    RTX_CAPABILITIES,
    RTX_PROCESSOR,
    TORCH_TENSORRT_ON_ORIN,
    dotted,
    numbers,
)
from edgead.tensorrt.library import LEAST

APT = "sudo apt update && sudo apt install"
SYSTEM = Path("/usr")  # where the interpreter is that JetPack's packages are for
FLASH = "flash one with NVIDIA's SDK Manager"


class Gap(NamedTuple):
    """One thing that is not as it must be."""

    name: str
    there: str
    wanted: str
    fix: str  # a command, where one does it


def find_gaps(machine: Machine) -> list[Gap]:
    """Every gap of a machine with NVIDIA hardware, in the order to mend them; empty where there is none."""
    for rules in (_REACH, _PLATFORM[machine.is_jetson], (*_SOFTWARE[machine.is_jetson], *_KERNELS)):
        found = [gap for rule in rules if (gap := rule(machine)) is not None]
        if found:
            break
    return found


def _reach(machine: Machine) -> Gap | None:
    if machine.is_reachable:
        return None
    if machine.in_container:
        wanted = "JetPack" if machine.is_jetson else "NVIDIA's driver and Container Toolkit"
        fix = f"docker run {'--runtime nvidia' if machine.is_jetson else '--gpus all'} ..."
        return Gap("container", "it was not given the GPU", f"{wanted} on the host", fix)
    if machine.is_jetson:
        return Gap("NVIDIA driver", "the GPU's device files are missing", "", f"{APT} nvidia-jetpack && sudo reboot")
    return Gap("NVIDIA driver", "a GPU, and no driver for it", "", "sudo ubuntu-drivers install && sudo reboot")


def _release(machine: Machine) -> Gap | None:
    if machine.jetpack or machine.linux > JETPACKS[-1].linux or (machine.in_container and not machine.linux):
        return None  # one that is newer than the table, and one that a container does not show, are tried
    there = f"Jetson Linux {dotted(machine.linux) or 'of unknown release'}"
    known = ", ".join(row.name for row in JETPACKS)
    return Gap("JetPack", there, f"TensorRT {dotted(LEAST)} is the least, as JetPack {known} have it", FLASH)


def _module_release(machine: Machine) -> Gap | None:
    row, words = machine.jetpack, {board for row in JETPACKS for board in row.boards if board in machine.board}
    if row is None or not words or words & set(row.boards):
        return None
    (word,) = words
    names = ", ".join(row.name for row in JETPACKS if word in row.boards)
    wanted = f"JetPack {row.name} is for {' and '.join(row.boards)}, and {word} has {names}"
    return Gap("JetPack", machine.board, wanted, FLASH)


def _bindings(machine: Machine) -> Gap | None:
    if machine.has_bindings or machine.python.find("tensorrt"):
        return None
    return Gap("TensorRT", "not installed", _brought(machine), f"{APT} nvidia-jetpack")


def _interpreter(machine: Machine) -> Gap | None:
    python, row = machine.python, machine.jetpack
    if row is None or python.find("tensorrt") or (python.version, python.base) == (row.python, SYSTEM):
        return None
    there = f"Python {dotted(python.version)} of {python.base}"
    wanted = f"JetPack's tensorrt is for the system's Python {dotted(row.python)} alone"
    fix = "/usr/bin/python3 -m venv --system-site-packages ~/edgead && ~/edgead/bin/pip install 'edgead[tensorrt]'"
    return Gap("Python", there, wanted, fix)


def _isolation(machine: Machine) -> Gap | None:
    python = machine.python
    if not python.isolated or python.base != SYSTEM or python.find("tensorrt"):
        return None
    there = f"{python.prefix} does not see the system's packages"
    fix = f"sed -i '/^include-system-site-packages/s/false/true/' {python.prefix / 'pyvenv.cfg'}"
    return Gap("Python", there, "JetPack's tensorrt is one of them", fix)


def _other_tensorrt(machine: Machine) -> Gap | None:
    row = machine.jetpack
    if row is None or machine.in_container:  # NVIDIA's containers bring one of their own
        return None
    parts = machine.python.parts("tensorrt").items()
    other = {name: version for name, version in parts if numbers(version)[:2] not in row.tensorrt}
    if not other:
        return None
    there = ", ".join(sorted(set(other.values())))
    return Gap("TensorRT", there, _brought(machine), f"pip uninstall -y {' '.join(sorted(other))}")


def _torch_tensorrt(machine: Machine) -> Gap | None:
    version, row = machine.python.find("torch-tensorrt"), machine.jetpack
    if not version or row is None or row.cuda[0] != 12 or numbers(version)[:2] == TORCH_TENSORRT_ON_ORIN:
        return None
    wanted = f"{dotted(TORCH_TENSORRT_ON_ORIN)} is the last for JetPack {row.name}, and the device needs none"
    return Gap("torch-tensorrt", version, wanted, "pip uninstall -y torch-tensorrt")


def _toolkit(machine: Machine) -> Gap | None:
    row = machine.jetpack
    if row is None or machine.in_container or machine.toolkit[:1] in ((), row.cuda[:1]):
        return None
    there = f"toolkit {dotted(machine.toolkit)}"
    return Gap("CUDA", there, f"JetPack {row.name} has {dotted(row.cuda)}", f"{APT} {_toolkit_package(machine)}")


def _old_gpu(machine: Machine) -> Gap | None:
    known = [gpu for gpu in machine.gpus if gpu.capability]
    if not known or any(gpu.capability >= LEAST_CAPABILITY for gpu in known):
        return None
    there = ", ".join(f"{gpu.name} of compute capability {gpu.capability / 10}" for gpu in known)
    return Gap("NVIDIA GPU", there, f"{LEAST_CAPABILITY / 10} is the least", "judge on the CPU: nothing to do")


def _driver(machine: Machine) -> Gap | None:
    wheels = {machine.python.cuda(name): name for name in ("tensorrt-rtx", "tensorrt")}
    needed, has = max(*wheels, min(DRIVERS)), machine.cuda
    if has >= needed:
        return None
    library = wheels.get(needed, "TensorRT")
    fix = f"sudo apt install nvidia-driver-{max(DRIVERS.values())} && sudo reboot"
    if library == "tensorrt" and has:
        fix += f", or pip install {_wheel(machine)}"
    wanted = f"{library} for CUDA {needed} wants {DRIVERS[needed]} or later"
    return Gap("NVIDIA driver", machine.driver, wanted, f"{'on the host: ' * machine.in_container}{fix}")


def _some_tensorrt(machine: Machine) -> Gap | None:
    if machine.has_bindings or machine.python.find("tensorrt") or machine.python.find("tensorrt-rtx"):
        return None
    return Gap("TensorRT", "not installed", "", f"pip install {_wheel(machine)}")


def _old_tensorrt(machine: Machine) -> Gap | None:
    version = machine.python.find("tensorrt")
    if not version or numbers(version)[:2] >= LEAST:
        return None
    fix = f"{_uninstall(machine, 'tensorrt')} && pip install '{_wheel(machine)}>={dotted(LEAST)}'"
    return Gap("TensorRT", version, f"{dotted(LEAST)} is the least", fix)


def _rtx_target(machine: Machine) -> Gap | None:
    known = [gpu for gpu in machine.gpus if gpu.capability]
    other = machine.has_bindings or machine.python.find("tensorrt")
    if other or not machine.python.find("tensorrt-rtx") or not known:
        return None
    if any(gpu.capability in RTX_CAPABILITIES for gpu in known):
        return None
    there = ", ".join(f"{gpu.name} (sm_{gpu.capability})" for gpu in known)
    return Gap("TensorRT", there, "TensorRT for RTX does not build for it", f"pip install {_wheel(machine)}")


def _processor(machine: Machine) -> Gap | None:
    version = machine.python.find("tensorrt-rtx")
    if not version or machine.processor == RTX_PROCESSOR:
        return None
    there = f"tensorrt-rtx {version} on {machine.processor}"
    fix = _uninstall(machine, "tensorrt-rtx")
    return Gap("TensorRT", there, f"TensorRT for RTX is for {RTX_PROCESSOR} alone", fix)


def _pycuda(machine: Machine) -> Gap | None:
    if machine.python.find("pycuda"):
        return None
    there, fix = "not installed", "PATH=/usr/local/cuda/bin:$PATH pip install 'edgead[tensorrt]'"
    if not machine.has_nvcc:
        there, fix = "not installed, nor is nvcc", f"{APT} {_toolkit_package(machine)} && {fix}"
    return Gap("pycuda", there, "it is built with the CUDA toolkit", fix)


def _kernels(machine: Machine) -> Gap | None:
    """NVRTC or nvcc no newer than the driver, to compile the kernels with."""
    most, plain = machine.cuda, numbers(machine.python.packages.get("nvidia-cuda-nvrtc", ""))[:1]
    have = {*machine.nvrtc, *plain, machine.python.cuda("nvidia-cuda-nvrtc"), *machine.toolkit[:1]} - {0}
    if not most or any(one <= most for one in have):
        return None
    there = f"CUDA {min(have)} alone compiles here" if have else "nothing compiles CUDA here"
    package = "nvidia-cuda-nvrtc-cu12" if most == 12 else f"'nvidia-cuda-nvrtc<{most + 1}'"
    return Gap("kernels", there, f"the driver takes CUDA {most}", f"pip install {package}")


_REACH = (_reach,)
_PLATFORM = {True: (_release, _module_release), False: (_old_gpu,)}  # of a Jetson, of a desktop
_SOFTWARE = {
    True: (_bindings, _interpreter, _isolation, _other_tensorrt, _processor, _torch_tensorrt, _toolkit),
    False: (_driver, _some_tensorrt, _old_tensorrt, _rtx_target, _processor),
}
_KERNELS = (_pycuda, _kernels)


def _brought(machine: Machine) -> str:
    row = machine.jetpack
    return f"JetPack {row.name} has {' or '.join(map(dotted, row.tensorrt))}" if row else "JetPack has it"


def _wheel(machine: Machine) -> str:
    """The TensorRT for the driver that is there."""
    return f"tensorrt-cu{machine.cuda or max(DRIVERS)}"


def _toolkit_package(machine: Machine) -> str:
    """The Debian package with nvcc: JetPack's, or Ubuntu's own."""
    row = machine.jetpack
    return f"cuda-toolkit-{row.cuda[0]}-{row.cuda[1]}" if row else "nvidia-cuda-toolkit"


def _uninstall(machine: Machine, library: str) -> str:
    return f"pip uninstall -y {' '.join(sorted(machine.python.parts(library)))}"
