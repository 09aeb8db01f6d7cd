"""What stands between a desktop and its GPU: what is read of machines laid out in a folder, and the gaps found."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from machines import DRIVER, lay, only, python, read

from edgead.system.nvidia import read_machine, read_python
from edgead.system.platforms import JETPACKS, cuda_of_driver, find_jetpack
from edgead.system.requirements import Gap, find_gaps

RTX_3060 = "NVIDIA GeForce RTX 3060, {}, 12288 MiB, 8.6"
H100 = "NVIDIA H100 80GB HBM3, 580.65.06, 81559 MiB, 9.0"
CU13 = {"tensorrt-cu13": "10.13.3", "tensorrt-cu13-bindings": "10.13.3", "nvidia-cuda-nvrtc": "13.0.88"}
CU12 = {"tensorrt-cu12": "10.16.0", "nvidia-cuda-nvrtc-cu12": "12.9.86"}
RTX = {"tensorrt-rtx-cu13-bindings": "1.7.1", "tensorrt-rtx-cu13-libs": "1.7.1", "nvidia-cuda-nvrtc": "13.0.88"}


def test_containers_on_a_desktop(tmp_path: Path) -> None:
    lay(tmp_path, container="", driver=DRIVER.format("580.65.06"))
    gap = only(read(tmp_path, **CU13))
    assert (gap.name, gap.there, gap.fix) == ("container", "it was not given the GPU", "docker run --gpus all ...")
    machine = read(tmp_path, RTX_3060.format("580.65.06"), **CU13)
    assert find_gaps(machine) == []
    old = only(read(tmp_path, RTX_3060.format("550.54.14"), **RTX, nvidia_cuda_nvrtc_cu12="12.4.127"))
    assert old.fix == "on the host: sudo apt install nvidia-driver-580 && sudo reboot"


@pytest.mark.parametrize(("kind", "there"), [("0x030000", True), ("0x030200", True), ("0x040300", False)])
def test_a_gpu_without_a_driver(tmp_path: Path, kind: str, there: bool) -> None:
    lay(tmp_path, vendor="0x10de\n", kind=f"{kind}\n")
    machine = read(tmp_path)
    assert machine.has_hardware == there
    if there:
        assert only(machine).fix == "sudo ubuntu-drivers install && sudo reboot"


@pytest.mark.parametrize(
    ("driver", "packages", "wanted", "fix"),
    [
        ("550.54.14", CU13, "tensorrt for CUDA 13 wants 580", "nvidia-driver-580 && sudo reboot, or pip install tens"),
        ("535.183.01", RTX, "tensorrt-rtx for CUDA 13 wants 580", "nvidia-driver-580 && sudo reboot"),
        ("470.82.01", CU12, "tensorrt for CUDA 12 wants 525", "nvidia-driver-580 && sudo reboot"),
        ("470.82.01", {"tensorrt": "10.16.0"}, "TensorRT for CUDA 12 wants 525", "nvidia-driver-580 && sudo reboot"),
    ],
)
def test_a_driver_too_old_for_its_packages(
    tmp_path: Path, driver: str, packages: dict[str, str], wanted: str, fix: str
) -> None:
    lay(tmp_path, driver=DRIVER.format(driver), gpu="", nvrtc="")
    gap = only(read(tmp_path, **packages))  # the driver of /proc, where nvidia-smi is not there
    assert (gap.name, gap.there) == ("NVIDIA driver", driver)
    assert gap.wanted.startswith(wanted)
    assert fix in gap.fix
    assert only(read(tmp_path, RTX_3060.format(driver), **packages)) == gap


@pytest.mark.parametrize(
    ("driver", "packages"),
    [("525.60.13", CU12), ("560.35", CU12), ("580.65.06", CU13), ("610.1", CU13), ("610.1", CU12), ("580.65.06", RTX)],
)
def test_a_desktop_that_lacks_nothing(tmp_path: Path, driver: str, packages: dict[str, str]) -> None:
    machine = read(tmp_path, RTX_3060.format(driver), **packages)
    assert (machine.is_reachable, machine.gpus[0].capability) == (True, 86)
    assert find_gaps(machine) == []


@pytest.mark.parametrize("version", ["8.6.1.post1", "10.0.1", "10.2.0"])
def test_a_tensorrt_too_old(tmp_path: Path, version: str) -> None:
    gap = only(read(tmp_path, RTX_3060.format("550.54.14"), tensorrt=version, nvidia_cuda_nvrtc_cu12="12.4.127"))
    assert (gap.there, gap.wanted) == (version, "10.3 is the least")
    assert gap.fix == "pip uninstall -y tensorrt && pip install 'tensorrt-cu12>=10.3'"


@pytest.mark.parametrize(("driver", "wheel"), [("550.54.14", "tensorrt-cu12"), ("580.65.06", "tensorrt-cu13")])
def test_no_tensorrt_at_all(tmp_path: Path, driver: str, wheel: str) -> None:
    lay(tmp_path, nvcc="", nvrtc="")
    machine = read_machine(
        tmp_path, smi=RTX_3060.format(driver), processor="x86_64", python=replace(python(), packages={})
    )
    tensorrt, pycuda = find_gaps(machine)
    assert tensorrt == Gap("TensorRT", "not installed", "", f"pip install {wheel}")
    assert pycuda.wanted == "it is built with the CUDA toolkit"


def test_tensorrt_for_rtx_has_no_hopper(tmp_path: Path) -> None:
    gap = only(read(tmp_path, H100, **RTX))
    assert gap.there == "NVIDIA H100 80GB HBM3 (sm_90)"
    assert gap.fix == "pip install tensorrt-cu13"
    assert find_gaps(read(tmp_path, H100, **(RTX | CU13))) == []  # TensorRT is taken where it is
    both = f"{H100}\n{RTX_3060.format('580.65.06')}"
    assert find_gaps(read(tmp_path, both, **RTX)) == []


def test_tensorrt_for_rtx_is_for_x86(tmp_path: Path) -> None:
    gap = only(read(tmp_path, RTX_3060.format("580.65.06"), "aarch64", **RTX))
    assert gap.there == "tensorrt-rtx 1.7.1 on aarch64"
    assert gap.fix == "pip uninstall -y tensorrt-rtx-cu13-bindings tensorrt-rtx-cu13-libs"


def test_a_gpu_too_old_for_any_of_it(tmp_path: Path) -> None:
    gap = only(read(tmp_path, "NVIDIA GeForce GTX 1080, 580.65.06, 8192 MiB, 6.1", **RTX))
    assert gap.there == "NVIDIA GeForce GTX 1080 of compute capability 6.1"
    assert gap.wanted == "7.5 is the least"


def test_a_compiler_newer_than_the_driver(tmp_path: Path) -> None:
    lay(tmp_path, header="#define CUDA_VERSION 13000\n")
    machine = read(tmp_path, RTX_3060.format("550.54.14"), tensorrt_cu12="10.9.0", nvidia_cuda_nvrtc="13.0.88")
    assert machine.toolkit == (13, 0)
    assert only(machine) == Gap(
        "kernels", "CUDA 13 alone compiles here", "the driver takes CUDA 12", "pip install nvidia-cuda-nvrtc-cu12"
    )


@pytest.mark.parametrize("smi", ["Orin (nvgpu), 540.4.0, [N/A], [N/A]", "NVIDIA Thor, 580.00, [N/A], 11.0"])
def test_what_a_driver_does_not_tell_is_not_made_up(tmp_path: Path, smi: str) -> None:
    (gpu,) = read(tmp_path, smi).gpus
    assert gpu.capability == (110 if "11.0" in smi else 0)


def test_the_packages_of_this_python_are_read_from_their_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name, version in (("a", "tensorrt_cu12", "10.16.0"), ("b", "tensorrt_cu12", "10.3.0")):
        path = tmp_path / folder / f"{name}-{version}.dist-info/METADATA"
        path.parent.mkdir(parents=True)
        path.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    for settings, isolated in (("false", True), ("true", False)):
        (tmp_path / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = {settings}\n")
        mine = read_python([str(tmp_path / "a"), str(tmp_path / "b")])
        assert (mine.isolated, mine.packages) == (isolated, {"tensorrt-cu12": "10.16.0"})
    assert (mine.find("tensorrt"), mine.cuda("tensorrt"), mine.find("tensorrt-rtx")) == ("10.16.0", 12, "")


def test_the_table_is_in_order_and_its_rows_are_found() -> None:
    assert [row.linux for row in JETPACKS] == sorted(row.linux for row in JETPACKS)
    assert all(find_jetpack(row.linux) is row for row in JETPACKS)
    assert find_jetpack((38, 1)) is None
    assert [cuda_of_driver((number, 1)) for number in (470, 525, 579, 580, 700)] == [0, 12, 12, 13, 13]
