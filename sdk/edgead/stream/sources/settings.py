"""What a camera on this machine is set to, written after its name and read back from it.

camera:0?width=1920&height=1080&fps=30&format=MJPG&exposure=120&focus=40

width, height   pixels          format     pixel format in four letters, such as MJPG or YUYV
fps             frames a second exposure   the driver's own unit, or auto
gain            driver's unit   focus      the driver's own unit, or auto
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable
from urllib.parse import parse_qsl

import cv2

from edgead.errors import UsageError, nearest

_log = logging.getLogger(__name__)


@runtime_checkable
class Settable(Protocol):
    """What is used of cv2.VideoCapture to set a camera."""

    def set(self, propId: int, value: float, /) -> bool: ...

    def get(self, propId: int, /) -> float: ...


@runtime_checkable
class SettableCamera(Protocol):
    """A capture that sets its camera by itself."""

    def configure(self, settings: Mapping[str, str]) -> None:
        """Set what can be set while frames come; raises SourceError where the camera does not take it."""
        ...

    def read_back(self) -> Mapping[str, str]:
        """What the camera is set to, as far as it says."""
        ...


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set: OpenCV's property, its range, and the switch that leaves it to the camera."""

    property: int
    least: float = 0.0
    most: float = 1e5
    auto: int | None = None  # OpenCV's property of the switch
    on: float = 1.0  # the switch's values
    off: float = 0.0


# In the order they are set: a driver takes sizes and rates for the format it has.
SETTINGS = {
    "format": Setting(cv2.CAP_PROP_FOURCC),
    "width": Setting(cv2.CAP_PROP_FRAME_WIDTH, 16, 65536),
    "height": Setting(cv2.CAP_PROP_FRAME_HEIGHT, 16, 65536),
    "fps": Setting(cv2.CAP_PROP_FPS, 0.01, 10_000),
    "exposure": Setting(cv2.CAP_PROP_EXPOSURE, -20, 1e6, cv2.CAP_PROP_AUTO_EXPOSURE, 3.0, 1.0),  # V4L2's numbers
    "gain": Setting(cv2.CAP_PROP_GAIN),
    "focus": Setting(cv2.CAP_PROP_FOCUS, 0, 1e5, cv2.CAP_PROP_AUTOFOCUS),
}
AUTO = "auto"


def parse_settings(query: str) -> dict[str, str]:
    """The settings in what follows the question mark, in the order they are set; raises UsageError."""
    given = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in given.items():
        if name not in SETTINGS:
            raise UsageError(f"a camera has no setting '{name}': {nearest(name, SETTINGS)}")
        if not _is_value(SETTINGS[name], value):
            setting = SETTINGS[name]
            wanted = f"a number from {setting.least:g} to {setting.most:g}{'' if setting.auto is None else ', or auto'}"
            if name == "format":
                wanted = "four letters, such as MJPG or YUYV"
            raise UsageError(f"a camera's {name} is {wanted}, not '{value}'")
    return {name: given[name] for name in SETTINGS if name in given}


def _is_value(setting: Setting, value: str) -> bool:
    if setting.property == cv2.CAP_PROP_FOURCC:
        return len(value) == 4 and value.isascii() and value.isprintable()
    if value == AUTO:
        return setting.auto is not None
    try:
        return setting.least <= float(value) <= setting.most
    except ValueError:
        return False


def apply_settings(capture: Settable, settings: Mapping[str, str], camera: str) -> dict[str, str]:
    """Set a camera, say where it has something else afterwards, and give what it has."""
    for name, value in settings.items():
        setting = SETTINGS[name]
        if setting.auto is not None:
            capture.set(setting.auto, setting.on if value == AUTO else setting.off)
        if value != AUTO:
            capture.set(setting.property, _number(name, value))
    for name, value in settings.items():  # what was set later may have changed what was set before
        found = capture.get(SETTINGS[name].property)
        if value != AUTO and abs(found - _number(name, value)) > 0.01 * abs(_number(name, value)):
            _log.warning("%s has %s %s instead of %s", camera, name, _shown(name, found), value)
    return {name: _shown(name, capture.get(SETTINGS[name].property)) for name in settings}


def _number(name: str, value: str) -> float:
    return float(cv2.VideoWriter.fourcc(*value)) if name == "format" else float(value)


def _shown(name: str, value: float) -> str:
    if name != "format":
        return f"{value:g}"
    return int(value).to_bytes(4, "little").decode("ascii", "replace") if 0 <= value < 2**32 else "unknown"
