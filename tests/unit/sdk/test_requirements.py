"""What stands between a Jetson and judging on its GPU: each JetPack as it is delivered, and what people do to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from machines import FILES, ORIN, THOR, jetson, lay, only, python

from edgead.system.nvidia import Python, read_machine
from edgead.system.platforms import numbers
from edgead.system.requirements import Gap, find_gaps

APT = "sudo apt update && sudo apt install"
SYSTEM_VENV = "/usr/bin/python3 -m venv --system-site-packages ~/edgead"


@pytest.mark.parametrize(
    ("release", "model", "cuda", "version", "tensorrt", "name"),
    [
        ("36.4.0", ORIN, "12.6.68", (3, 10), "10.3.0", "6.1"),
        ("36.4.3", ORIN, "12.6.11", (3, 10), "10.3.0", "6.2"),
        ("36.4.7", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "12.6", (3, 10), "", "6.2.1"),
        ("36.5", ORIN, "12.6.68", (3, 10), "10.3.0", "6.2.2"),
        ("38.2.2", THOR, "13.0.1", (3, 12), "10.13.2.6", "7.0"),
        ("38.4.0", THOR, "13.0.2", (3, 12), "10.13.3.9", "7.1"),
        ("39.2.0", ORIN, "13.2.0", (3, 12), "10.16.2", "7.2"),
        ("39.2.0", THOR, "13.2.0", (3, 12), "10.16.2", "7.2"),
        ("39.2.2", THOR, "13.2.0", (3, 12), "11.4.1", "7.2"),
        ("40.1.0", THOR, "14.0.0", (3, 14), "12.0.0", None),  # newer than the table: tried
    ],
)
def test_a_jetson_as_jetpack_leaves_it_has_no_gap(
    tmp_path: Path, release: str, model: str, cuda: str, version: tuple[int, int], tensorrt: str, name: str | None
) -> None:
    jetson(tmp_path, release, model, cuda)
    mine = python(version=version, **({"tensorrt": tensorrt} if tensorrt else {}))
    machine = read_machine(tmp_path, processor="aarch64", python=mine)
    assert (machine.linux, machine.board, machine.is_jetson) == (numbers(release), model, True)
    assert (machine.driver, machine.toolkit) == ("540.4.0", numbers(cuda))
    assert (machine.jetpack.name if machine.jetpack else None) == name
    assert find_gaps(machine) == []


@pytest.mark.parametrize("release", ["32.7.1", "35.4.1", "36.3.0"])
def test_a_jetpack_with_tensorrt_8_is_too_old(tmp_path: Path, release: str) -> None:
    jetson(tmp_path, release)
    gap = only(read_machine(tmp_path, processor="aarch64", python=python()))
    assert (gap.name, gap.there) == ("JetPack", f"Jetson Linux {release}")
    assert gap.wanted.startswith("TensorRT 10.3 is the least, as JetPack 6.1, 6.2,")
    assert "SDK Manager" in gap.fix


def test_the_first_jetpacks_7_are_for_thor_alone(tmp_path: Path) -> None:
    jetson(tmp_path, "38.2.0", ORIN, "13.0.0")
    gap = only(read_machine(tmp_path, processor="aarch64", python=python(version=(3, 12))))
    assert gap.there == ORIN
    assert gap.wanted == "JetPack 7.0 is for Thor, and Orin has 6.1, 6.2, 6.2.1, 6.2.2, 7.2"


@pytest.mark.parametrize(
    ("mine", "name", "said", "fix"),
    [
        (
            python(isolated=True),
            "Python",
            "/home/op/env does not see the system's packages",
            "sed -i '/^include-system-site-packages/s/false/true/' /home/op/env/pyvenv.cfg",
        ),
        (python(version=(3, 11)), "Python", "the system's Python 3.10 alone", SYSTEM_VENV),
        (python(base="/home/op/.pyenv/versions/3.10.14"), "Python", "Python 3.10 of /home/op/.pyenv", SYSTEM_VENV),
        (python(base="/home/op/conda", isolated=True), "Python", "Python 3.10 of /home/op/conda", SYSTEM_VENV),
        (
            python(tensorrt_cu12="10.16.0", tensorrt_cu12_libs="10.16.0"),
            "TensorRT",
            "10.16.0 JetPack 6.2 has 10.3",
            "pip uninstall -y tensorrt-cu12 tensorrt-cu12-libs",
        ),
        (
            python(tensorrt="10.3.0", tensorrt_rtx_cu13_libs="1.7.1"),
            "TensorRT",
            "for x86_64 alone",
            "pip uninstall -y tensorrt-rtx-cu13-libs",
        ),
        (
            python(torch_tensorrt="2.11.0"),
            "torch-tensorrt",
            "2.8 is the last for JetPack 6.2, and the device needs none",
            "pip uninstall -y torch-tensorrt",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_a_python_that_does_not_go_with_jetpack(tmp_path: Path, mine: Python, name: str, said: str, fix: str) -> None:
    jetson(tmp_path, "36.4.3")
    gap = only(read_machine(tmp_path, processor="aarch64", python=mine))
    assert gap.name == name
    assert said in f"{gap.there} {gap.wanted}"
    assert gap.fix.startswith(fix)


def test_torch_tensorrt_that_goes_with_the_board(tmp_path: Path) -> None:
    jetson(tmp_path / "orin", "36.4.3")
    assert find_gaps(read_machine(tmp_path / "orin", processor="aarch64", python=python(torch_tensorrt="2.8.0"))) == []
    jetson(tmp_path / "thor", "39.2.0", THOR, "13.2.0")
    mine = python(version=(3, 12), torch_tensorrt="2.14.0")
    assert find_gaps(read_machine(tmp_path / "thor", processor="aarch64", python=mine)) == []


def test_a_flashed_board_without_the_rest_of_jetpack(tmp_path: Path) -> None:
    jetson(tmp_path, "36.4.3")
    for name in ("toolkit", "nvcc"):
        (tmp_path / FILES[name]).unlink()
    (tmp_path / "usr/lib/python3.10/dist-packages/tensorrt").rmdir()
    machine = read_machine(tmp_path, processor="aarch64", python=replace(python(), packages={}))
    tensorrt, pycuda, kernels = find_gaps(machine)
    assert tensorrt == Gap("TensorRT", "not installed", "JetPack 6.2 has 10.3", f"{APT} nvidia-jetpack")
    install = "PATH=/usr/local/cuda/bin:$PATH pip install 'edgead[tensorrt]'"
    assert (pycuda.there, pycuda.fix) == ("not installed, nor is nvcc", f"{APT} cuda-toolkit-12-6 && {install}")
    assert (kernels.there, kernels.fix) == ("nothing compiles CUDA here", "pip install nvidia-cuda-nvrtc-cu12")
    lay(tmp_path, nvrtc="", nvcc="")
    tensorrt, pycuda = find_gaps(read_machine(tmp_path, processor="aarch64", python=machine.python))
    assert pycuda.fix == install


def test_a_toolkit_of_another_generation_on_a_jetson(tmp_path: Path) -> None:
    jetson(tmp_path, "36.4.3", cuda="13.0.1")
    toolkit, kernels = find_gaps(read_machine(tmp_path, processor="aarch64", python=python()))
    assert toolkit == Gap("CUDA", "toolkit 13.0.1", "JetPack 6.2 has 12.6", f"{APT} cuda-toolkit-12-6")
    assert (kernels.there, kernels.wanted) == ("CUDA 13 alone compiles here", "the driver takes CUDA 12")


def test_containers_on_a_jetson(tmp_path: Path) -> None:
    lay(tmp_path, kernel="5.15.148-tegra", container="")
    gap = only(read_machine(tmp_path, processor="aarch64", python=python()))
    assert (gap.name, gap.fix) == ("container", "docker run --runtime nvidia ...")
    lay(tmp_path, jetson_gpu="", nvrtc="")
    brought = python(version=(3, 12), base="/opt", tensorrt="10.7.0")  # NVIDIA's containers have their own
    assert find_gaps(read_machine(tmp_path, processor="aarch64", python=brought)) == []
