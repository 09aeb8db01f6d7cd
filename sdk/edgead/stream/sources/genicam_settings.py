"""What industrial cameras have in common, whichever library reaches them: settings that are written, checked and read
back, and frames of raw bytes.

SERIAL?trigger=Line0&exposure=800&gain=4&format=BayerRG12p&width=1024&height=768&fps=30
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from edgead.errors import UsageError, nearest
from edgead.stream.sources.capture import PooledCapture
from edgead.stream.sources.clock import Stamp
from edgead.stream.sources.pixels import CODES, parse_format, to_bgr

NUMBERS = {"exposure": (1.0, 1e8), "gain": (-100.0, 1000.0), "fps": (0.001, 100_000.0)}  # set while frames come, too
SIZES = {"width": (16, 65536), "height": (16, 65536), "packet": (576, 16384)}
TEXTS = ("trigger", "format")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FoundCamera:
    """A camera on the network or the bus."""

    serial: str
    model: str
    protocol: str  # GigEVision or USB3Vision
    address: str
    formats: tuple[str, ...]  # pixel formats that can be read here


class RawCapture(PooledCapture):
    """What a `Capture` of an industrial camera makes of the bytes that it grabs."""

    _frame: tuple[bytes, int, int, int] | None = None  # data, width, height and PFNC's code; None: damaged
    _stamp: int | None = None  # nanoseconds of the camera's clock; none where it says nothing

    def retrieve(self) -> tuple[bool, Any]:
        if self._frame is None:
            return False, None
        data, width, height, code = self._frame
        return True, to_bgr(data, width, height, CODES.get(code, f"0x{code:08X}"), self._empty)

    @property
    def stamp(self) -> Stamp | None:
        """The camera's own time of the grabbed frame."""
        return Stamp(self._stamp / 1e9) if self._stamp else None


def parse_genicam(name: str, paths: Sequence[str] = ()) -> tuple[str, dict[str, str]]:
    """The camera and its settings, of which `paths` name files.

    Raises UsageError for a setting that there is not, or that cannot be.
    """
    camera, _, query = name.partition("?")
    settings = dict(parse_qsl(query, keep_blank_values=True))
    for key, value in settings.items():
        known = [*TEXTS, *NUMBERS, *SIZES, *paths]
        if key in paths:
            continue
        if key not in known:
            raise UsageError(f"an industrial camera has no setting '{key}': {nearest(key, known)}")
        if key in TEXTS:
            if not value.isalnum():
                raise UsageError(f"the camera's {key} is a name such as Line0 or Mono8, not '{value}'")
            continue
        low, high = NUMBERS.get(key) or SIZES[key]
        try:
            number = float(value) if key in NUMBERS else int(value)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise UsageError(f"the camera's {key} is a number from {low:g} to {high:g}, not '{value}'")
    if "format" in settings:
        parse_format(settings["format"])
    return camera, settings


def say_differences(label: str, asked: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Say what a camera has made something else of."""
    for key, value in found.items():
        if key in asked and _differs(value, asked[key]):
            _log.warning("%s has %s %s instead of %s", label, key, value, asked[key])


def _differs(found: str, asked: str) -> bool:
    try:
        return abs(float(found) - float(asked)) > 0.01 * abs(float(asked))
    except ValueError:
        return found != asked
