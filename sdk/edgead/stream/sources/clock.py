"""When a frame was captured, on the scale of time.monotonic(): by the source's own stamps, else by what lay waiting.

The moment at which a frame is read says nothing about its age: it may have spent seconds in the buffers of a socket or
a driver. Stamps tell, once it is known how far their clock is from ours: as far as the frame that came the fastest
says, since nothing arrives before it was captured. Without stamps a frame that nobody had to wait for is as old as the
one before it and the usual time between two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

FARTHEST_S = 3600.0  # of a driver's stamp from our clock: beyond it the driver means another clock
_DRIFT = 1e-4  # seconds a second by which two clocks may drift apart
_FRESH = 0.25  # of the usual interval: who had to wait for that long got a new frame
_STALL = 3.0  # usual intervals without a frame after which what comes may have been held up
_USUAL, _FEWEST = 31, 3  # intervals that say what is usual, and how many are needed


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a source says about the time of a frame, in seconds of a clock of its own."""

    time: float
    resolution: float = 0.0  # seconds by which it may be later


class FrameClock(ABC):
    """Says when frames were captured; frames come in order."""

    @abstractmethod
    def captured(self, asked: float, arrived: float) -> tuple[float, str]:
        """When, and by which clock, for a frame asked for at `asked` and there at `arrived` (time.monotonic())."""


class BacklogClock(FrameClock):
    """By what lay waiting: frames that come faster than the source shows them are old."""

    def __init__(self) -> None:
        self._intervals: deque[float] = deque(maxlen=_USUAL)  # between frames that were waited for
        self._arrived = 0.0  # of the frame before; 0 before the first
        self._last = 0.0  # when it was captured
        self._held: float | None = None  # when the frame before a stall was captured, until the next one tells

    def captured(self, asked: float, arrived: float) -> tuple[float, str]:
        usual = median(self._intervals) if len(self._intervals) >= _FEWEST else 0.0
        interval, waited = arrived - self._arrived, arrived - asked
        fresh = waited > _FRESH * (usual or interval)
        stalled = bool(usual) and interval > _STALL * usual
        if not usual or fresh:
            clock, held = arrived, self._last if stalled else None
        else:  # it lay there; and so did what came first after a stall
            before = self._last if self._held is None else self._held + usual
            clock, held = min(arrived, before + usual), None
        if self._arrived and fresh and not stalled:
            self._intervals.append(interval)
        self._arrived, self._last, self._held = arrived, clock, held
        return clock, "backlog"


class StampClock(FrameClock):
    """By the stamps that `read` gives, `name` in results; by the backlog where it gives None.

    `shared` says that their clock is ours, time.monotonic().
    """

    def __init__(self, read: Callable[[], Stamp | None], name: str, *, shared: bool = False) -> None:
        self._read, self._name, self._shared = read, name, shared
        self._backlog = BacklogClock()
        self._ahead: float | None = None  # how far our clock is ahead of theirs
        self._before = 0.0  # the stamp before
        self._at = 0.0  # when it was read

    def captured(self, asked: float, arrived: float) -> tuple[float, str]:
        otherwise = self._backlog.captured(asked, arrived)
        stamp = self._read()
        if stamp is None:
            return otherwise
        if self._shared:
            known = 0 <= arrived - stamp.time < FARTHEST_S
            return (stamp.time, self._name) if known else otherwise
        clock = min(arrived, stamp.time + self._offset(stamp.time, arrived) + stamp.resolution)
        # stamps to the second cannot tell what the backlog can
        return (min(clock, otherwise[0]) if stamp.resolution else clock), self._name

    def _offset(self, stamp: float, arrived: float) -> float:
        """How far our clock is ahead, by the fastest frame so far."""
        ahead = arrived - stamp
        if self._ahead is not None and stamp >= self._before:  # a clock that is set back is another clock
            ahead = min(ahead, self._ahead + _DRIFT * (arrived - self._at))
        self._ahead, self._before, self._at = ahead, stamp, arrived
        return ahead


class RequestClock(FrameClock):
    """By the request: a picture that is asked for is not older than that."""

    def captured(self, asked: float, arrived: float) -> tuple[float, str]:
        return asked, "request"
