"""Opens cameras, videos and network streams through OpenCV, with time-outs and without giving away passwords."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.errors import SourceError
from edgead.frame_pool import FramePool

TIMEOUT_S = 5.0  # to open a network stream, and to wait for its next frame


class Capture(Protocol):
    """A device or stream as one thread reads it: cv2.VideoCapture's methods, and one to wake it."""

    def grab(self) -> bool:
        """Wait for the next frame, no longer than the time-out it was opened with, and say whether there is one."""
        ...

    def retrieve(self) -> tuple[bool, Any]:
        """Whether the grabbed frame could be decoded, and its pixels; may raise DataError saying why not."""
        ...

    def get(self, propId: int, /) -> float: ...

    def interrupt(self) -> None:
        """Wake a `grab` that waits in another thread, where the device can be woken; else it ends at its time-out."""
        ...

    def release(self) -> None: ...


class PooledCapture:
    """What decodes into memory of a pool, where it has one."""

    _pool: FramePool | None = None

    def use_pool(self, pool: FramePool) -> None:
        """See `edgead.stream.sources.Pooled`."""
        self._pool = pool

    def _empty(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        return np.empty(shape, np.uint8) if self._pool is None else self._pool.empty(shape)


class OpenCvCapture(PooledCapture):
    """A `Capture` by OpenCV, which cannot be woken."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture  # held, not inherited from: OpenCV crashes when an object of a subclass is freed
        self._shape: tuple[int, ...] = ()  # of the frame before
        self.grab = capture.grab
        self.get = capture.get
        self.release = capture.release

    def retrieve(self) -> tuple[bool, Any]:
        if not self._shape:
            there, pixels = self._capture.retrieve()
        else:
            there, pixels = self._capture.retrieve(self._empty(self._shape))  # a new array where it does not fit
        if there and pixels.dtype == np.uint8 and pixels.ndim == 3:
            self._shape = pixels.shape
        return there, pixels

    def interrupt(self) -> None:
        pass


def open_capture(
    target: int | str, timeout: float = TIMEOUT_S, prepare: Callable[[cv2.VideoCapture], None] = lambda capture: None
) -> Capture:
    """A camera by number or device path, a video file by path, a stream by URL; raises SourceError.

    A stream that shows nothing for `timeout` seconds is lost; 0 waits without limit. A camera is handed to `prepare`
    before its first frame.
    """
    if isinstance(target, int) or target.startswith("/dev/"):
        capture = cv2.VideoCapture(target, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
        if capture.isOpened():
            prepare(capture)
    else:
        read = [cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(1e3 * timeout)] if timeout else []
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(1e3 * TIMEOUT_S), *read]
        capture = cv2.VideoCapture(target, cv2.CAP_FFMPEG, timeouts if "://" in target else [])
    if capture.isOpened():
        return OpenCvCapture(capture)
    capture.release()
    raise SourceError(f"{redacted(target)} cannot be opened: {_advice(target)}")


def redacted(target: int | str) -> str:
    """The target in words for messages and results: user names, passwords and queries are left out.

    Of an address in which they cannot be told from the rest nothing is left but its kind.
    """
    if isinstance(target, int):
        return f"camera:{target}"
    kind, mark, rest = target.partition("://")
    if not mark:
        return target
    secret, at, place = rest.rpartition("@")
    if at and not secret:  # udp://@:5000 listens
        return f"{kind}://@{re.split(r'[?#]', place)[0]}"
    if re.search(r"[?#]", secret):  # a password with a question mark, or a query with an @
        return f"{kind}://***"
    return f"{kind}://{'***@' if at else ''}{re.split(r'[?#]', place)[0]}"


def _advice(target: int | str) -> str:
    if isinstance(target, int) or target.startswith("/dev/"):
        return "check that it is plugged in, free, and yours to read (`edgead cameras` lists what is there)"
    if "://" in target:
        return "check the address, the password and that the network reaches it"
    return "it is damaged or no video that this OpenCV reads; try an mp4 or avi file"
