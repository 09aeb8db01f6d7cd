"""Opening cameras, videos and network streams through OpenCV, with time-outs and without giving away passwords."""

from __future__ import annotations

import re
import sys
from typing import Any, Protocol

import cv2

from edgead.errors import SourceError

TIMEOUT_MS = 5000  # to open a network stream, and to wait for its next frame


class Capture(Protocol):
    """What is used of cv2.VideoCapture; tests hand in their own."""

    def read(self) -> tuple[bool, Any]:
        """Whether there was a frame, and its pixels."""
        ...

    def get(self, propId: int, /) -> float: ...

    def release(self) -> None: ...


def open_capture(target: int | str) -> Capture:
    """A camera by number or device path, a video file by path, a stream by URL; raises SourceError."""
    if isinstance(target, int) or target.startswith("/dev/"):
        capture = cv2.VideoCapture(target, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
    else:
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, TIMEOUT_MS]
        capture = cv2.VideoCapture(target, cv2.CAP_FFMPEG, timeouts if "://" in target else [])
    if capture.isOpened():
        return capture
    capture.release()
    raise SourceError(f"{describe(target)} cannot be opened: {_advice(target)}")


def describe(target: int | str) -> str:
    """The target in words for messages and results: user names, passwords and queries are left out."""
    if isinstance(target, int):
        return f"camera:{target}"
    return re.sub(r"://.*@", "://***@", target.partition("?")[0]) if "://" in target else target


def _advice(target: int | str) -> str:
    if isinstance(target, int) or target.startswith("/dev/"):
        return "check that it is plugged in, free, and yours to read (`edgead doctor` lists cameras; group 'video')"
    if "://" in target:
        return "check the address, the password and that the network reaches it"
    return "it is damaged or no video that this OpenCV reads; try an mp4 or avi file"
