"""Gives each trigger exactly one answer, in time: when its frames are judged, or when its time is over.

Frames come in from the threads that read cameras, judgments from the one that judges; a thread of the tracker's own
answers what nobody else does, so that an engine that hangs keeps no part waiting.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from edgead.closing import Closing
from edgead.result import Result
from edgead.stream.status import TriggerCounts
from edgead.stream.trigger.base import Ticket, Trigger, checked_part
from edgead.stream.trigger.matching import TriggerMatcher, TriggerWindow
from edgead.types import Frame

OPEN = 64  # parts that may wait for their answer; one more is answered at once
HELD = 16  # frames of a camera that are held for a trigger that is yet to come
_END_S = 2.0  # seconds that those get who answer while the line ends

Judged = tuple[int, Frame, Result]  # the camera's number, its frame and the judgment

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What is known of a part when its trigger is answered."""

    ticket: Ticket
    judged: tuple[Judged, ...]  # its frames, in the order they were judged
    lacks: str = ""  # what of its frames is missing, in words
    late: str = ""  # why it is answered before its frames are judged
    notes: tuple[str, ...] = ()  # what else is to be said


@dataclass(slots=True)
class _Part:
    ticket: Ticket
    due: float  # time.monotonic()
    wanted: list[int]  # frames of each camera that are yet to come
    waiting: int = 0  # frames that are yet to be judged
    judged: list[Judged] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    passed: set[int] = field(default_factory=set)  # cameras that have shown a frame after its window


class PartTracker(Closing):
    """The parts that are before the cameras. Every method may be called from any thread."""

    def __init__(
        self,
        window: TriggerWindow,
        cameras: int,
        answer_within: float,
        queue: Callable[[int, Frame], bool],
        on_answer: Callable[[Outcome], None],
        on_open: Callable[[Trigger], None] = lambda trigger: None,
        recipe: Callable[[], int] = lambda: 0,
    ) -> None:
        """`queue` takes frames that belong to a part, `on_answer` what is known of each; it is called once a trigger.

        `answer_within` is in seconds from the trigger; `on_open` is told of each trigger before any frame of it;
        `recipe` gives the number of the recipe for the parts from now on.
        """
        self._window, self._within = window, answer_within
        self._queue, self._on_answer, self._on_open, self._recipe = queue, on_answer, on_open, recipe
        self._matcher = TriggerMatcher(window)
        self._parts: dict[int, _Part] = {}
        self._held: list[deque[Frame]] = [deque(maxlen=HELD) for _ in range(cameras)]
        self._counts = TriggerCounts()
        self._changed = threading.Condition()
        self._closed = False
        self._answering = 0  # triggers that are being answered just now
        self._said_close = False
        self._thread = threading.Thread(target=self._watch, name="edgead parts", daemon=True)

    def start(self) -> None:
        """Answer what is due from now on."""
        self._thread.start()

    def counts(self) -> TriggerCounts:
        """What was counted so far."""
        with self._changed:
            return replace(self._counts)

    def oldest_due(self) -> float:
        """When the first of the open triggers is due (time.monotonic()); infinite where none is open."""
        with self._changed:
            return min((part.due for part in self._parts.values()), default=float("inf"))

    def fire(self, source: str, part: str = "", clock: float | None = None) -> Ticket:
        """See `TriggerControl.fire`. A trigger that cannot be taken is answered at once."""
        part, now = checked_part(part), time.monotonic()
        at = now if clock is None else min(clock, now)
        with self._changed:
            self._counts.triggers += 1
            trigger = Trigger(self._counts.triggers, at, time.time() - (now - at), source, part, self._recipe())
            ticket = Ticket(trigger)
            refused = "the line is at its end" if self._closed else ""
            if not refused and len(self._parts) >= OPEN:
                refused = f"{OPEN} triggers wait for their answers already"
            self._on_open(trigger)
            if not refused:
                self._open(ticket)
                claimed = self._claim_held()
                self._changed.notify_all()
            else:
                self._answering += 1
        if refused:
            self._answer(Outcome(ticket, (), f"no frame was taken for it: {refused}"))
            return ticket
        for camera, frame in claimed:
            self._queue(camera, frame)
        return ticket

    def _open(self, ticket: Ticket) -> None:
        trigger = ticket.trigger
        before = self._matcher.open(trigger)
        part = _Part(ticket, trigger.clock + self._within, [self._window.frames] * len(self._held))
        if before is not None and before[0] in self._parts:  # else it has all its frames
            part.notes.append(
                f"its trigger came {1e3 * before[1]:.0f} ms after the one before, inside that one's window"
            )
            self._counts.close += 1
            if not self._said_close:
                _log.warning("trigger %d: %s; others like it are counted", trigger.number, part.notes[0])
                self._said_close = True
        self._parts[trigger.number] = part

    def _claim_held(self) -> list[tuple[int, Frame]]:
        claimed = []
        for camera, held in enumerate(self._held):
            for frame in list(held):
                if (mine := self._assigned(camera, frame)) is not None:
                    held.remove(frame)
                    claimed.append((camera, mine))
        return claimed

    def _assigned(self, camera: int, frame: Frame) -> Frame | None:
        """The frame with the number of its trigger, whose part waits for it from now on; None where it has none."""
        number = self._matcher.owner(frame.clock)
        part = None if number is None else self._parts.get(number)
        if part is None or not part.wanted[camera]:
            return None
        part.wanted[camera] -= 1
        part.waiting += 1
        trigger = part.ticket.trigger
        return replace(frame, trigger=trigger.number, recipe=trigger.recipe)

    def admit(self, camera: int, frame: Frame) -> bool:
        """Queue a frame where it belongs to a part, else count it; false once nobody wants frames."""
        now = time.monotonic()
        with self._changed:
            if self._closed:
                return False
            mine = self._assigned(camera, frame)
            if mine is None:
                self._hold(camera, frame, now)
            passed = self._pass(camera, frame.clock)
        for outcome in passed:
            self._answer(outcome)
        return self._queue(camera, mine) if mine is not None else True

    def _hold(self, camera: int, frame: Frame, now: float) -> None:
        held = self._held[camera]
        while held and now > held[0].clock + self._window.hold:
            held.popleft()
            self._counts.unclaimed += 1
        if self._window.hold and now <= frame.clock + self._window.hold and self._matcher.owner(frame.clock) is None:
            self._counts.unclaimed += len(held) == HELD
            held.append(frame)
        else:
            self._counts.unclaimed += 1

    def _pass(self, camera: int, clock: float) -> list[Outcome]:
        """Note that a camera's frames are past the windows that end by `clock`."""
        outcomes = []
        for number, part in list(self._parts.items()):
            if self._matcher.end(number) <= clock:
                part.passed.add(camera)
                outcomes += self._outcome_if_over(part)
        return outcomes

    def judged(self, camera: int, frame: Frame, result: Result) -> None:
        """Take the judgment of a frame that was admitted, and answer its trigger where it was the last."""
        with self._changed:
            part = self._parts.get(frame.trigger)
            if part is None:
                self._counts.overdue += 1
                return
            part.waiting -= 1
            part.judged.append((camera, frame, result))
            outcomes = self._outcome_if_over(part)
        for outcome in outcomes:
            self._answer(outcome)

    def _outcome_if_over(self, part: _Part) -> list[Outcome]:
        """What is known of a part, taken from the open ones, where no frame of it is to be expected any more."""
        coming = [camera for camera, count in enumerate(part.wanted) if count and camera not in part.passed]
        return [] if part.waiting or coming else [self._take(part)]

    def _take(self, part: _Part, late: str = "") -> Outcome:
        trigger, missing = part.ticket.trigger, sum(part.wanted)
        self._answering += 1
        del self._parts[trigger.number]
        whole = self._window.frames * len(self._held)
        lacks = ""
        if missing:
            lacks = f"{whole - missing} of its {whole} frames"
            if missing == whole:
                self._counts.no_picture += 1
                lacks = f"no picture: no frame was captured within {1e3 * self._window.length:.0f} ms"
        self._counts.late += bool(late)
        return Outcome(part.ticket, tuple(part.judged), lacks, late, tuple(part.notes))

    def _answer(self, outcome: Outcome) -> None:
        self._on_answer(outcome)
        with self._changed:
            self._counts.answered += 1
            self._answering -= 1
            self._changed.notify_all()

    def _watch(self) -> None:
        """Answer what is due, until closed."""
        while True:
            with self._changed:
                due = [part for part in self._parts.values() if part.due <= time.monotonic()]
                outcomes = [self._take(part, self._late(part)) for part in due]
                if not outcomes:
                    if self._closed:
                        return
                    next_due = min((part.due for part in self._parts.values()), default=None)
                    self._changed.wait(None if next_due is None else max(0.0, next_due - time.monotonic()))
            for outcome in outcomes:
                self._answer(outcome)

    def _late(self, part: _Part) -> str:
        """Why a part that is due is answered before its frames are judged; "" where it has none that wait."""
        return f"not judged within {1e3 * self._within:.0f} ms of its trigger" if part.waiting else ""

    def close(self) -> None:
        """Answer every trigger that is open, and take no more frames."""
        with self._changed:
            self._closed = True
            outcomes = [self._take(part, self._late(part)) for part in list(self._parts.values())]
            self._changed.notify_all()
        for outcome in outcomes:
            self._answer(outcome)
        with self._changed:  # other threads may be at it, too
            self._changed.wait_for(lambda: not self._answering, _END_S)
        if self._thread.ident is not None:
            self._thread.join(_END_S)
