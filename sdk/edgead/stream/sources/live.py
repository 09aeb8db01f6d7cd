"""Reads cameras and network streams: one frame after the other, each within its time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import cv2

from edgead.closing import Closing
from edgead.errors import DataError, EdgeadError, SourceError
from edgead.frame_pool import FramePool
from edgead.ops import as_image
from edgead.stream.sources.capture import TIMEOUT_S, Capture, PooledCapture, open_capture, redacted
from edgead.stream.sources.clock import BacklogClock, FrameClock, RequestClock, Stamp, StampClock
from edgead.stream.sources.mjpeg import MjpegCapture, PartClock, open_http
from edgead.stream.sources.settings import Settable, SettableCamera, apply_settings, parse_settings
from edgead.stream.sources.snapshots import SnapshotCapture
from edgead.stream.sources.verified import ffmpeg_verifies, verification
from edgead.types import Frame, ImageU8

_log = logging.getLogger(__name__)


class LiveSource(Closing):
    """Frames as a device or a network delivers them, read by the thread that iterates.

    A frame that cannot be decoded is counted in `unreadable`. Losing the device, or seeing nothing of it for
    `timeout` seconds (0: without limit), raises SourceError in the iteration, after the last frame it delivered.
    """

    live = True

    def __init__(
        self,
        capture: Capture,
        name: str,
        bits: int = 16,
        timeout: float = TIMEOUT_S,
        clock: FrameClock | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`clock` says when frames were captured; where None, by what lay waiting. `settings` is what the device was
        set to, as it was read back."""
        self.fps = max(0.0, capture.get(cv2.CAP_PROP_FPS))
        self.timeout = timeout
        self.unreadable = 0
        self._capture = capture
        self._name = name
        self._bits = bits
        self._clock = clock or BacklogClock()
        self._settings = tuple((settings or {}).items())
        self._index = 0
        self._closing = threading.Event()
        self._released = False
        self._reading = threading.Lock()  # held by the thread that waits for the device

    def __iter__(self) -> Iterator[Frame]:
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        """The next frame that can be decoded; None once closed, or at the end of a recording."""
        with self._reading:
            frame = None
            try:
                frame = self._read()
            except EdgeadError:
                if not self._closing.is_set():
                    raise
            except Exception as error:
                raise SourceError(f"{self._name} failed: {type(error).__name__}: {error}") from error
            finally:
                if frame is None:  # closed, lost or at its end
                    self._release()
            return frame

    def _read(self) -> Frame | None:
        start = time.monotonic()
        while not self._closing.is_set():
            asked = time.monotonic()
            there = self._capture.grab()
            now, arrived = time.time(), time.monotonic()  # before the decoding, which takes its time
            late = 0 < 0.9 * self.timeout <= arrived - start  # a device's own deadline may be a little early
            if not there:
                break
            clock, by = self._clock.captured(asked, arrived)
            image, index = self._decoded(), self._index
            self._index += 1
            if image is not None and not self._closing.is_set():
                at, settings = now - (arrived - clock), self._settings
                return Frame(image, index, self._name, at, clock=clock, clocked_by=by, settings=settings)
            if late:
                break
        else:
            return None
        self._check_end(late=late)
        return None

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

    def _check_end(self, *, late: bool) -> None:
        """Raise SourceError, unless this is a recording at its end."""
        if late:
            raise SourceError(f"{self._name} was lost: it showed no frame for {self.timeout:g} s")
        promised = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if not 0 < promised <= self._index:  # a recording served over HTTP has an end; a live picture has none
            raise SourceError(
                f"{self._name} was lost after {self._index} frames: check the camera, its cable or the network"
            )

    def _release(self) -> None:
        self._closing.set()
        if not self._released:
            self._released = True
            self._capture.release()

    def use_pool(self, pool: FramePool) -> None:
        """Decode into arrays of this pool from the next frame on, where the device can; by the thread that reads."""
        if isinstance(self._capture, PooledCapture):
            self._capture.use_pool(pool)

    def configure(self, settings: Mapping[str, str]) -> None:
        """Set the device anew, by the thread that reads: `settings` as `parse_settings` gives them."""
        if isinstance(self._capture, SettableCamera):
            self._capture.configure(settings)
            self._settings = tuple(self._capture.read_back().items())
        elif isinstance(self._capture, Settable):
            self._settings = tuple(apply_settings(self._capture, settings, self._name).items())
        else:
            _log.warning("%s is no camera that can be set: its settings stay", self._name)

    def close(self) -> None:
        """Release the device; a thread that waits for a frame is woken and does it. Calling it again does nothing."""
        self._closing.set()
        self._capture.interrupt()
        if self._reading.acquire(blocking=False):  # nobody is reading
            try:
                self._release()
            finally:
                self._reading.release()


def open_camera(name: str, bits: int, timeout: float, opener: Callable[..., Capture] = open_capture) -> LiveSource:
    """A camera by number or device path, with settings after a question mark: see `edgead.stream.sources.settings`."""
    device, _, query = name.partition("?")
    if not device.isdecimal() and not device.startswith("/dev/"):
        raise SourceError(f"'{device}' is no camera: write camera:0 or /dev/video0 (`edgead cameras` lists them)")
    target = int(device) if device.isdecimal() else device
    if not query:
        capture = opener(target, timeout)
        return LiveSource(capture, redacted(target), bits, timeout, _driver_clock(capture))
    settings = parse_settings(query)
    found: dict[str, str] = {}
    prepared = opener(
        target, timeout, lambda capture: found.update(apply_settings(capture, settings, redacted(target)))
    )
    return LiveSource(prepared, redacted(target), bits, timeout, _driver_clock(prepared), found)


def open_stream(
    name: str, bits: int, timeout: float, opener: Callable[[int | str, float], Capture] = open_capture
) -> LiveSource:
    """A network stream by URL; who answers at an encrypted one is verified, unless it asks for `verify=no`."""
    url, verify = verification(name)
    with ffmpeg_verifies(url, verify):
        capture = opener(url, timeout)
    return LiveSource(capture, redacted(url), bits, timeout, StampClock(partial(_position, capture), "pts"))


def open_web(
    name: str, bits: int, timeout: float, opener: Callable[[int | str, float], Capture] = open_http
) -> LiveSource:
    """A stream by its HTTP address."""
    capture = opener(name, timeout)
    clock: FrameClock | None = None
    if isinstance(capture, MjpegCapture):
        clock = PartClock(capture)
    elif isinstance(capture, SnapshotCapture):
        clock = RequestClock()
    return LiveSource(capture, redacted(name), bits, timeout, clock)


def _driver_clock(capture: Capture) -> StampClock:
    """V4L2 stamps frames by the clock that time.monotonic() is."""
    return StampClock(partial(_position, capture), "driver", shared=True)


def _position(capture: Capture) -> Stamp | None:
    """OpenCV's time of the grabbed frame: a driver's stamp, or the presentation time of a stream."""
    milliseconds = capture.get(cv2.CAP_PROP_POS_MSEC)
    return Stamp(milliseconds / 1e3) if milliseconds > 0 else None
