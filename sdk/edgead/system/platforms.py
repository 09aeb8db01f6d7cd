"""Lists what of NVIDIA's goes together: JetPack releases with CUDA, TensorRT and Python; drivers; TensorRT for RTX.

Data only, as NVIDIA published it; a release that is newer than every row is tried, not refused.
"""

from __future__ import annotations

from typing import NamedTuple

Version = tuple[int, ...]  # (36, 4, 3); compared as tuples are


class JetPack(NamedTuple):
    """A release for Jetson boards. What it brings is made for one another: nothing of it is exchanged by itself."""

    name: str
    linux: Version  # the first Jetson Linux that has it
    cuda: Version
    tensorrt: tuple[Version, ...]  # any of these
    python: Version  # the system's, the one that can import this TensorRT
    boards: tuple[str, ...]  # words of the device tree's model
    note: str = ""


ORIN, THOR = "Orin", "Thor"
JETPACKS = (
    JetPack("6.1", (36, 4, 0), (12, 6), ((10, 3),), (3, 10), (ORIN,), "has DLA; TensorRT 11 is not for it"),
    JetPack("6.2", (36, 4, 3), (12, 6), ((10, 3),), (3, 10), (ORIN,), "has DLA; TensorRT 11 is not for it"),
    JetPack("6.2.1", (36, 4, 4), (12, 6), ((10, 3),), (3, 10), (ORIN,), "has DLA; TensorRT 11 is not for it"),
    JetPack("6.2.2", (36, 5), (12, 6), ((10, 3),), (3, 10), (ORIN,), "has DLA; TensorRT 11 is not for it"),
    JetPack("7.0", (38, 2), (13, 0), ((10, 13),), (3, 12), (THOR,)),
    JetPack("7.1", (38, 4), (13, 0), ((10, 13),), (3, 12), (THOR,)),
    JetPack("7.2", (39, 2), (13, 2), ((10, 16), (11, 4)), (3, 12), (ORIN, THOR), "from 7.2.2 TensorRT 11.4"),
)

DRIVERS = {12: 525, 13: 580}  # the least driver for programs of any CUDA 12.x, 13.x; on Jetson the release fixes it
LEAST_CAPABILITY = 75  # Turing: the kernels' and TensorRT's
RTX_PROCESSOR = "x86_64"  # the only one there is a TensorRT for RTX for
RTX_CAPABILITIES = (75, 80, 86, 89, 120, 121)  # what it builds for: neither Jetson (87, 110) nor Hopper (90)
TORCH_TENSORRT_ON_ORIN = (2, 8)  # the last that was released for JetPack 6


def find_jetpack(linux: Version) -> JetPack | None:
    """The release that brought a Jetson Linux, or a later one of the same generation; None where the table has none."""
    rows = [row for row in JETPACKS if row.linux[0] == linux[0] and row.linux <= linux] if linux else []
    return rows[-1] if rows else None


def cuda_of_driver(driver: Version) -> int:
    """The CUDA generation whose programs a desktop's driver runs: 12, 13, or 0 where it is too old for both."""
    return max((cuda for cuda, least in DRIVERS.items() if driver[:1] >= (least,)), default=0)


def dotted(version: Version) -> str:
    """For people: 10.3."""
    return ".".join(map(str, version))


def numbers(text: str) -> Version:
    """The leading numbers of a version: (10, 3, 0) of 10.3.0.post1."""
    found: list[int] = []
    for part in text.split("."):
        if not part.isdecimal():
            break
        found.append(int(part))
    return tuple(found)
