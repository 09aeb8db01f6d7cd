"""Plays a video or a folder of images at its pace, over and over, as a camera shows frames: to try without one.

`replay:line.mp4` keeps the video's own rate; `replay:parts/?fps=2&times=3` shows two images a second, three times
over. Where nothing is said images come at 5 a second, and it never ends.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import cv2

from edgead.errors import SourceError, nearest
from edgead.stream.sources import Source, parse
from edgead.stream.sources.images import open_images
from edgead.stream.sources.live import LiveSource
from edgead.stream.sources.video import open_video
from edgead.types import Frame, ImageU8

_log = logging.getLogger(__name__)

RATE = 5.0  # frames a second where neither the file nor the address says it
OPTIONS = {"fps": (0.01, 1000.0), "times": (1, 10**9)}


class ReplayCapture:
    """A `Capture` of a source of files that is opened again at its end."""

    def __init__(self, opener: Callable[[], Source], fps: float = 0.0, times: int = 0) -> None:
        """`fps` 0: the source's own rate; `times` 0: without end. Raises SourceError where it cannot be opened."""
        self._opener = opener
        self._left = times or math.inf
        self._source = opener()
        self._frames: Iterator[Frame] = iter(self._source)
        self._fps = fps or self._source.fps or RATE
        self._due = time.monotonic()
        self._interrupted = threading.Event()
        self._image: ImageU8 | None = None
        self._shown = 0

    def grab(self) -> bool:
        if (frame := self._next()) is None or self._interrupted.wait(max(0.0, self._due - time.monotonic())):
            return False
        self._due = max(self._due + 1 / self._fps, time.monotonic())  # what was late is not made up for
        self._image = frame.image
        self._shown += 1
        return True

    def _next(self) -> Frame | None:
        """The next frame, of the source opened anew where it has ended; None at the end of the last time."""
        frame = next(self._frames, None)
        while frame is None and self._left > 1:
            self._left -= 1
            self._source.close()
            self._source = self._opener()
            self._frames = iter(self._source)
            if (frame := next(self._frames, None)) is None:
                raise SourceError("there is no readable frame to show again: check the files")
        return frame

    def retrieve(self) -> tuple[bool, Any]:
        return True, self._image

    def get(self, propId: int, /) -> float:
        """The rate, or how many frames there were, at the end of which it is over."""
        return self._fps if propId == cv2.CAP_PROP_FPS else float(self._shown)

    def interrupt(self) -> None:
        self._interrupted.set()

    def release(self) -> None:
        self._source.close()


def open_replay(name: str, bits: int, timeout: float) -> LiveSource:
    """The video, folder, glob or file that `name` stands for, as a camera; raises SourceError."""
    place, options = _options(name)
    kind, files = parse(place)
    if kind not in ("video", "images"):
        raise SourceError(f"'{place}' cannot be shown again: replay: takes a video or a folder of images")
    report = once(_log.warning)  # of each round is what it was of the first

    def opened() -> Source:
        return open_video(files, bits, 0, report=report) if kind == "video" else open_images(files, bits, 0, report)

    capture = ReplayCapture(opened, options.get("fps", 0.0), int(options.get("times", 0)))
    return LiveSource(capture, f"replay:{place}", bits, timeout)


def once(report: Callable[[str], None]) -> Callable[[str], None]:
    """The same, told no text twice."""
    said: set[str] = set()

    def tell(text: str) -> None:
        if text not in said:
            said.add(text)
            report(text)

    return tell


def _options(name: str) -> tuple[str, dict[str, float]]:
    """The place, and the options behind its question mark, which a glob may have too; raises SourceError."""
    place, _, query = name.rpartition("?")
    if "=" not in query:
        return name, {}
    found = {}
    for option, value in parse_qsl(query, keep_blank_values=True):
        if option not in OPTIONS:
            raise SourceError(f"a replay has no '{option}': {nearest(option, OPTIONS)}")
        low, high = OPTIONS[option]
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not low <= number <= high or (option == "times" and number % 1):
            raise SourceError(f"{option} of a replay is a number from {low:g} to {high:g}, not '{value}'")
        found[option] = number
    return place, found
