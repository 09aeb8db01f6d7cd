"""Puts triggers before a line: their sources, the frames they claim, and the answer to each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from edgead.result import Result
from edgead.stream.queue import FrameQueue, QueuePolicy
from edgead.stream.status import TriggerCounts
from edgead.stream.trigger.answers import Answer, answer_of
from edgead.stream.trigger.base import Ticket, Trigger, TriggerSource
from edgead.stream.trigger.matching import TriggerWindow
from edgead.stream.trigger.tracker import Outcome, PartTracker
from edgead.types import Frame

CLAIMED = QueuePolicy(64, drops_oldest=True)  # frames of a camera that belong to triggers
_SIZE = (480, 640)  # of the black frame of a part without a picture, before any frame came

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TriggerSettings:
    """What a line with triggers is asked."""

    window: TriggerWindow = field(default_factory=TriggerWindow)
    answer_within: float = 1.0  # seconds from a trigger to its answer at the latest
    rule: str = "any"  # which of a part's frames decide


class TriggeredQueue(FrameQueue):
    """A queue that lets only frames pass that belong to a trigger, and answers each trigger once."""

    def __init__(
        self,
        sources: Sequence[TriggerSource],
        cameras: Sequence[str],
        settings: TriggerSettings,
        invalid: Callable[[Frame, str], Result],
        deliver: Callable[[Ticket, Answer], None],
        on_open: Callable[[Trigger], None] = lambda trigger: None,
        recipe: Callable[[], int] = lambda: 0,
    ) -> None:
        """`invalid` gives the result of a frame that cannot be judged, `deliver` takes the answers, from any thread,
        `on_open` is told of each trigger before it is answered; `recipe` gives the number of the one for new parts."""
        super().__init__([CLAIMED] * len(cameras))
        self._sources, self._names, self._settings = sources, cameras, settings
        self._invalid, self._deliver = invalid, deliver
        self._size = _SIZE
        self._tracker = PartTracker(
            settings.window, len(cameras), settings.answer_within, super().put, self._answer, on_open, recipe
        )

    def start(self) -> None:
        """Take triggers from now on."""
        self._tracker.start()
        for source in self._sources:
            source.start(self)

    def fire(self, source: str, part: str = "", clock: float | None = None) -> Ticket:
        """See `TriggerControl.fire`."""
        return self._tracker.fire(source, part, clock)

    def put(self, camera: int, frame: Frame) -> bool:
        """Queue a frame where it belongs to a trigger; false once nobody wants frames."""
        self._size = (frame.image.shape[0], frame.image.shape[1])
        for source in self._sources:
            source.watch(self._names[camera], frame)
        return self._tracker.admit(camera, frame) and not self.closed

    def judged(self, camera: int, frame: Frame, result: Result) -> None:
        """Take the judgment of a frame that was taken from here."""
        self._tracker.judged(camera, frame, result)

    def counts(self) -> TriggerCounts:
        """What was counted so far."""
        return self._tracker.counts()

    def oldest_due(self) -> float:
        """When the first of the open triggers is due (time.monotonic())."""
        return self._tracker.oldest_due()

    def silent_sources(self) -> list[str]:
        """Why triggers cannot come, for each source that gives none."""
        return [source.trouble for source in self._sources if source.trouble]

    def _answer(self, outcome: Outcome) -> None:
        ticket = outcome.ticket
        try:
            answer = answer_of(outcome, self._settings.rule, self._size, self._invalid, self._names[0])
            self._deliver(ticket, answer)
        except Exception as error:  # the others must be answered all the same
            _log.error("trigger %d could not be answered: %s: %s", ticket.trigger.number, type(error).__name__, error)
            ticket.answer.set_exception(error)

    def end(self) -> None:
        """Take no more triggers, and answer those that are open."""
        with ExitStack() as stack:
            stack.callback(self._tracker.close)
            for source in self._sources:
                stack.callback(source.close)
