"""Implements `edgead cameras`: which cameras there are, and how each is written as a source."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2

from edgead.cli.options import Json, shown
from edgead.errors import EdgeadError, MissingPackageError, SourceError
from edgead.registry import Lazy
from edgead.stream.sources.capture import open_capture
from edgead.stream.sources.genicam import INSTALL as INSTALL_ARAVIS
from edgead.stream.sources.genicam import find_cameras
from edgead.stream.sources.gstreamer import INSTALL, PROGRAM, has_element

_SYS = Path("/sys/class/video4linux")


@dataclass(frozen=True, slots=True)
class Found:
    """One way to look at the world."""

    source: str  # what is written after --source
    name: str
    usable: bool
    detail: str


def cameras(as_json: Json = False) -> None:
    """List this machine's cameras, whether each opens, and how to name it in `edgead run --source`.

    \b
    edgead cameras
    edgead cameras --json
    """
    found = [*video_devices(), *boards(), *industrial(), *of_producers()]
    for one in found:
        if as_json:
            print(json.dumps(asdict(one)))
        else:
            print(f"{'ok' if one.usable else '--'}  {one.source:<12} {shown(one.name)}: {one.detail}")
    if not as_json:
        print("    network cameras are named by their address: rtsp://camera.local/stream, http://camera.local/video")


def video_devices(folder: Path = _SYS) -> Iterator[Found]:
    """The V4L2 devices, by number; those that hold no pictures (index above 0: metadata) are left out."""
    devices = sorted(folder.glob("video*"), key=lambda path: (len(path.name), path.name))
    for device in devices:
        if _text(device / "index") in ("", "0"):
            number = device.name.removeprefix("video")
            yield _tried(number, _text(device / "name") or device.name)
    if not devices:
        yield Found("0", "no V4L2 camera", False, "plug one in; in a container, pass it with --device /dev/video0")


def _tried(number: str, name: str) -> Found:
    try:
        capture = open_capture(int(number))
    except SourceError as error:
        return Found(number, name, False, str(error).partition(": ")[2])
    width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return Found(number, name, True, f"{width} x {height}" + (f" at {fps:g} a second" if fps > 0 else ""))


def boards() -> Iterator[Found]:
    """GStreamer, and the board's own connector through it."""
    program = shutil.which(PROGRAM)
    yield Found("gst:PIPELINE", "GStreamer", program is not None, program or f"not installed: {INSTALL}")
    elements = [element for element in ("nvarguscamerasrc", "libcamerasrc") if has_element(element)]
    detail = f"through {elements[0]}" if elements else "no nvarguscamerasrc (Jetson) or libcamerasrc here"
    yield Found("csi://0", "camera on the board", bool(elements), detail)


def industrial() -> Iterator[Found]:
    """GigE Vision and USB3 Vision cameras, with the pixel formats that can be read of each."""
    try:
        cameras = list(find_cameras())
    except MissingPackageError:
        yield Found("genicam:", "industrial cameras", False, f"no Aravis: {INSTALL_ARAVIS}")
        return
    for one in cameras:
        formats = ", ".join(one.formats) or "in use by another program"
        name = f"{one.model} ({one.protocol}, {one.address})"
        yield Found(f"genicam:{one.serial}", name, bool(one.formats), formats)
    if not cameras:
        yield Found("genicam:", "industrial cameras", False, "none answers: same network, and no firewall between?")


def of_producers() -> Iterator[Found]:
    """Industrial cameras by their makers' GenTL producers, where there is one."""
    if not os.environ.get("GENICAM_GENTL64_PATH"):
        yield Found("gentl:", "GenTL producers", False, "GENICAM_GENTL64_PATH is not set, which makers' installers do")
        return
    try:
        for one in Lazy("edgead.stream.sources.gentl:find_gentl_cameras", extra="gentl").load("the source 'gentl'")():
            yield Found(f"gentl:{one.serial}", f"{one.model} ({one.protocol})", True, f"by {one.address}")
    except EdgeadError as error:
        yield Found("gentl:", "GenTL producers", False, str(error))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
