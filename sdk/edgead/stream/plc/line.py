"""A line that judges parts when told to: its triggers, the handshake with its controllers, and the watch over both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgead.closing import Closing
from edgead.result import Result
from edgead.stream.plc.controller import HandshakeSettings, PlcController, PlcOutput
from edgead.stream.plc.monitor import JudgingMonitor
from edgead.stream.status import TriggerCounts
from edgead.stream.trigger.answers import Answer
from edgead.stream.trigger.base import Ticket, TriggerSource
from edgead.stream.trigger.line import TriggeredQueue, TriggerSettings
from edgead.types import Frame


@dataclass(frozen=True, slots=True)
class PartSettings:
    """What a line with triggers is asked."""

    trigger: TriggerSettings = field(default_factory=TriggerSettings)
    handshake: HandshakeSettings = field(default_factory=HandshakeSettings)
    drift_stops: bool = False  # whether drift turns Ready off


class TriggeredLine(Closing):
    """What the pipeline tells of, and the controllers read. Its methods may be called from any thread."""

    def __init__(
        self,
        sources: Sequence[TriggerSource],
        outputs: Sequence[PlcOutput],
        cameras: Sequence[str],
        settings: PartSettings,
        invalid: Callable[[Frame, str], Result],
        deliver: Callable[[int, Frame, Result], Result],
        lost: Callable[[], bool | None],
        drifting: Callable[[], bool],
        on_recipe: Callable[[int, int, str], None] = lambda old, new, who: None,
    ) -> None:
        """`invalid` gives the result of a frame that cannot be judged; `deliver` takes each answer with its camera's
        number and gives it as it goes out; `lost` says whether a camera is (None: one is yet to come), `drifting`
        whether scores drift; `on_recipe` is told of another recipe: the old number, the new one, and who asked."""
        self._deliver = deliver
        due = settings.trigger.answer_within
        self._monitor = JudgingMonitor(due, lost, lambda: settings.drift_stops and drifting())
        self._controller = PlcController(outputs, settings.handshake, self.fire, self._monitor.causes, on_recipe)
        self.queue = TriggeredQueue(
            sources,
            cameras,
            settings.trigger,
            invalid,
            self._answer,
            self._controller.opened,
            lambda: self._controller.recipe,
        )

    def start(self) -> None:
        """Show that nothing is judged yet, and take triggers from now on."""
        self._controller.start()
        self.queue.start()

    def fire(self, source: str, part: str = "", clock: float | None = None) -> Ticket:
        """See `TriggerControl.fire`."""
        return self.queue.fire(source, part, clock)

    def judging(self, frames: Sequence[Frame]) -> None:
        """These frames are judged from now on; none: the line waits."""
        self._monitor.begin(frames)

    def judged(self, camera: int, frame: Frame, result: Result) -> None:
        """A frame was judged."""
        self._monitor.begin(())  # it is no longer due, though the next may be waited for
        self.queue.judged(camera, frame, result)

    def _answer(self, ticket: Ticket, answer: Answer) -> None:
        result = self._deliver(*answer)
        self._controller.answered(result, result.recipe)
        ticket.answer.set_result(result)

    @property
    def recipe(self) -> int:
        """The recipe for the parts from now on; 0 where there are none."""
        return self._controller.recipe

    def select_recipe(self, number: int, who: str) -> bool:
        """Judge parts from now on with a recipe; false where its number is unknown."""
        return self._controller.select(number, who)

    def counts(self) -> TriggerCounts:
        """What was counted so far."""
        return self.queue.counts()

    def silent_sources(self) -> list[str]:
        """Why triggers cannot come, for each source that gives none."""
        return self.queue.silent_sources()

    def handshake(self) -> dict[str, Any]:
        """The handshake and the last parts, for the live page: plain values for JSON."""
        return self._controller.status()

    def end(self) -> None:
        """Turn Ready off and Reject on, answer the triggers that are open, and take no more."""
        self._monitor.end()
        self._controller.stop()
        self.queue.end()

    def close(self) -> None:
        """Leave the controllers; `end` comes first."""
        self._monitor.end()
        self._controller.close()
