"""Which part a frame shows, where parts are counted in frames: every so many of a camera are one part.

A count is lost with one frame that nobody saw, and every later part with it. So frames are counted by their index,
which goes on over those that were dropped; the count starts anew when the source is opened again, and after a pause.
"""

from __future__ import annotations

from collections import deque
from statistics import median

from edgead.types import Frame

PAUSE_S = 1.0  # without a frame, at least, after which the count starts anew
PAUSE = 5.0  # and so many times the usual time between two frames
_USUAL = 31  # intervals that say what is usual
_FEWEST = 3  # of them

Part = tuple[int, int]  # the count it belongs to, and its place there


class PartCounter:
    """Parts of `frames` consecutive frames of one camera."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._last: Frame | None = None
        self._count = 0
        self._first = 0  # index at which the count began
        self._intervals: deque[float] = deque(maxlen=_USUAL)

    def of(self, frame: Frame) -> Part:
        """The part of a frame; frames come in order."""
        last, self._last = self._last, frame
        if last is not None and self._anew(last, frame):
            self._count += 1
            self._first = frame.index
        return self._count, (frame.index - self._first) // self._frames

    def _anew(self, last: Frame, frame: Frame) -> bool:
        return frame.opening != last.opening or frame.index <= last.index or self._paused(last, frame)

    def _paused(self, last: Frame, frame: Frame) -> bool:
        """Whether the camera paused between two frames; what was dropped here between them is no pause."""
        if not last.clock or not frame.clock:
            return False
        interval = (frame.clock - last.clock) / (frame.index - last.index)
        usual = median(self._intervals) if len(self._intervals) >= _FEWEST else interval
        paused = interval > max(PAUSE_S, PAUSE * usual)
        if not paused:
            self._intervals.append(interval)
        return paused
