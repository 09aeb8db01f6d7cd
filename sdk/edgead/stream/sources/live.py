"""Cameras and network streams: one thread reads, and the newest frame wins.

A condition variable with one slot and an "over" flag, not a queue with an end marker: a marker in a queue
of one overtakes the last frame.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import cv2

from edgead.closing import Closing
from edgead.errors import DataError, EdgeadError, SourceError
from edgead.ops import as_image
from edgead.stream.sources.capture import TIMEOUT_S, Capture, describe, open_capture
from edgead.stream.sources.mjpeg import open_http
from edgead.types import Frame, ImageU8

_log = logging.getLogger(__name__)


class LiveSource(Closing):
    """Frames as a device or a network delivers them.

    With `policy` "latest" a new frame replaces one that was not taken yet, which is counted in `dropped`; with
    "every" the reader waits, and what the device drops meanwhile is not seen. A frame that cannot be decoded is
    counted in `unreadable`. Losing the device, or seeing nothing of it for `timeout` seconds (0: for ever), raises
    SourceError in the iteration, after the last frame it delivered.
    """

    live = True

    def __init__(
        self, capture: Capture, name: str, policy: str = "latest", bits: int = 16, timeout: float = TIMEOUT_S
    ) -> None:
        self.fps = max(0.0, capture.get(cv2.CAP_PROP_FPS))
        self.dropped = 0
        self.unreadable = 0
        self._timeout = timeout or None
        self._capture = capture
        self._name = name
        self._every = policy == "every"
        self._bits = bits
        self._changed = threading.Condition()
        self._slot: Frame | None = None
        self._error: EdgeadError | None = None
        self._over = False
        self._closing = False
        self._thread = threading.Thread(target=self._read, name=f"edgead {name}", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with self._changed:
                awake = self._changed.wait_for(lambda: self._slot or self._over or self._closing, self._timeout)
                frame, self._slot = self._slot, None
                self._changed.notify_all()
            if frame is not None:
                yield frame
            elif not awake:
                raise SourceError(f"{self._name} was lost: it showed no frame for {self._timeout:g} s")
            elif self._error is not None and not self._closing:
                raise self._error
            else:
                return

    def _read(self) -> None:
        try:
            self._read_until_over()
        except EdgeadError as error:
            self._error = error
        except Exception as error:  # the thread carries whatever happened to the one who iterates
            self._error = SourceError(f"{self._name} failed: {type(error).__name__}: {error}")
            self._error.__cause__ = error
        finally:
            self._capture.release()
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _read_until_over(self) -> None:
        index = 0
        while not self._closing:
            if not self._capture.grab():
                self._check_end(index)
                return
            taken, clock = time.time(), time.monotonic()  # before the decoding, which takes its time
            image = self._decoded()
            if image is not None:
                self._offer(Frame(image, index, self._name, taken, clock=clock))
            index += 1

    def _decoded(self) -> ImageU8 | None:
        """The grabbed frame as (H, W, 3) BGR uint8, or None, counted, where it is damaged."""
        try:
            there, pixels = self._capture.retrieve()
            if there:
                return as_image(pixels, bits=self._bits)
            reason = "it cannot be decoded"
        except DataError as error:
            reason = str(error)
        if self.unreadable == 0:
            _log.warning("%s delivered a damaged frame: %s; it and others like it are counted", self._name, reason)
        self.unreadable += 1
        return None

    def _offer(self, frame: Frame) -> None:
        with self._changed:
            if self._every:
                self._changed.wait_for(lambda: self._slot is None or self._closing)
            if self._closing:
                return
            if self._slot is not None:
                self.dropped += 1
            self._slot = frame
            self._changed.notify_all()

    def _check_end(self, frames: int) -> None:
        promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if not 0 < promised <= frames:  # a recording served over HTTP has an end; a live picture has none
            raise SourceError(
                f"{self._name} was lost after {frames} frames: check the camera, its cable or the network"
            )

    def close(self) -> None:
        """End the thread and release the device; calling it again does nothing."""
        with self._changed:
            self._closing = True
            self._slot = None
            self._changed.notify_all()
        self._thread.join(2 * TIMEOUT_S)  # a read that hangs ends at its own time-out
        if self._thread.is_alive():
            _log.warning("%s does not answer; its reader is left to end by itself", self._name)


def open_camera(
    name: str, policy: str, bits: int, timeout: float, opener: Callable[[int | str, float], Capture] = open_capture
) -> LiveSource:
    """A camera by number or device path."""
    if not name.isdecimal() and not name.startswith("/dev/"):
        raise SourceError(f"'{name}' is no camera: write camera:0 or /dev/video0 (`edgead cameras` lists them)")
    target = int(name) if name.isdecimal() else name
    return LiveSource(opener(target, timeout), describe(target), policy, bits, timeout)


def open_stream(
    name: str, policy: str, bits: int, timeout: float, opener: Callable[[int | str, float], Capture] = open_capture
) -> LiveSource:
    """A network stream by URL."""
    return LiveSource(opener(name, timeout), describe(name), policy, bits, timeout)


def open_web(
    name: str, policy: str, bits: int, timeout: float, opener: Callable[[int | str, float], Capture] = open_http
) -> LiveSource:
    """A stream by its HTTP address."""
    return LiveSource(opener(name, timeout), describe(name), policy, bits, timeout)
