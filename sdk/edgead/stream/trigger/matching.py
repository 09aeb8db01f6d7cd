"""Says to which trigger a frame belongs: by its time of capture alone, so that no delay moves it to another part."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

from edgead.errors import UsageError
from edgead.stream.trigger.base import Trigger

_KEPT = 256  # triggers of which the windows are known


@dataclass(frozen=True, slots=True)
class TriggerWindow:
    """Which frames are of a trigger's part: from `delay - before` to `delay + length` seconds after it."""

    frames: int = 1  # of each camera
    delay: float = 0.0
    length: float = 0.2
    before: float = 0.0

    def __post_init__(self) -> None:
        if self.frames < 1 or self.length <= 0 or min(self.delay, self.before) < 0:
            raise UsageError("a trigger's window is longer than 0 ms, with a delay and a time before it of 0 or more")

    @property
    def hold(self) -> float:
        """Seconds after its capture in which a frame may still be claimed by a trigger that is yet to come."""
        return max(0.0, self.before - self.delay)


@dataclass(frozen=True, slots=True, order=True)
class _Begin:
    clock: float
    trigger: int


class TriggerMatcher:
    """The windows of the newest triggers. A window ends where that of the next trigger begins.

    So a frame that was captured after a part's trigger is never judged as the part's before it.
    """

    def __init__(self, window: TriggerWindow) -> None:
        self._window = window
        self._begins: list[_Begin] = []

    def open(self, trigger: Trigger) -> tuple[int, float] | None:
        """Take a trigger; gives the number of the one before and the seconds since, where it lies inside its window."""
        begin = _Begin(trigger.clock + self._window.delay - self._window.before, trigger.number)
        insort(self._begins, begin)
        del self._begins[:-_KEPT]
        place = self._begins.index(begin) if begin in self._begins else 0
        before = self._begins[place - 1] if place else None
        if before is None or begin.clock - before.clock >= self._window.length + self._window.before:
            return None
        return before.trigger, begin.clock - before.clock

    def owner(self, clock: float) -> int | None:
        """The number of the trigger to whose part a frame captured at `clock` belongs; None: to none."""
        place = next((at for at in range(len(self._begins) - 1, -1, -1) if self._begins[at].clock <= clock), None)
        if place is None:
            return None
        begin = self._begins[place]
        inside = clock - begin.clock < self._window.length + self._window.before
        return begin.trigger if inside else None

    def end(self, number: int) -> float:
        """When the window of a trigger ends (time.monotonic()); 0.0 for one that is no longer known."""
        for at, begin in enumerate(self._begins):
            if begin.trigger == number:
                whole = begin.clock + self._window.length + self._window.before
                following = self._begins[at + 1].clock if at + 1 < len(self._begins) else whole
                return min(whole, following)
        return 0.0
