"""Reads a video file in step: every frame, in order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2

from edgead.closing import Closing
from edgead.errors import SourceError
from edgead.frame_pool import FramePool
from edgead.ops import as_image
from edgead.stream.sources.capture import Capture, PooledCapture, open_capture
from edgead.types import Frame

_log = logging.getLogger(__name__)


class VideoSource(Closing):
    """The frames of a video file."""

    live = False
    timeout = 0.0

    def __init__(
        self, capture: Capture, name: str, bits: int = 16, report: Callable[[str], None] = _log.warning
    ) -> None:
        """`report` is told that a file ended early."""
        self.fps = max(0.0, capture.get(cv2.CAP_PROP_FPS))
        self.unreadable = 0
        self._capture: Capture | None = capture
        self._name = name
        self._bits = bits
        self._report = report

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while self._capture is not None:
            if not self._capture.grab():
                self._check_end(self._capture, index)
                return
            there, image = self._capture.retrieve()
            if there:
                yield Frame(as_image(image, bits=self._bits), index, self._name)
            else:
                self.unreadable += 1
            index += 1

    def use_pool(self, pool: FramePool) -> None:
        """Decode into arrays of this pool from the next frame on."""
        capture = self._capture
        if capture is not None and isinstance(capture, PooledCapture):
            capture.use_pool(pool)

    def _check_end(self, capture: Capture, frames: int) -> None:
        """OpenCV tells neither the end of a file from a damaged one: compare with what its header promised."""
        if frames == 0:
            raise SourceError(f"{self._name} has no readable frame: it is damaged or empty")
        promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if frames < 0.98 * promised - 1:  # containers are often off by a frame or two
            self._report(f"{self._name} ended after {frames} of {promised} frames: it may be damaged")

    def close(self) -> None:
        """Release the file; calling it again does nothing."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def open_video(
    name: str,
    bits: int,
    timeout: float,
    opener: Callable[[int | str], Capture] = open_capture,
    report: Callable[[str], None] = _log.warning,
) -> VideoSource:
    """The video file `name`; a time-out has no meaning for files."""
    if not Path(name).exists():
        raise SourceError(f"there is no video at {name}: check the path")
    return VideoSource(opener(name), name, bits, report)
