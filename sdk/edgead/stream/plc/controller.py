"""Runs the handshake: takes triggers, answers and the controller's signals, and has every output say the same.

A thread of its own looks several times a second at whether the line still judges. Where it does not, Ready goes off,
Reject on and, unless a camera alone is the cause, the heartbeat stops.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from edgead.closing import Closing
from edgead.errors import EdgeadError
from edgead.result import Result
from edgead.stream.plc import handshake
from edgead.stream.plc.handshake import FAULTS, Fault, Handshake, Inputs, PartAnswer
from edgead.stream.trigger.base import Ticket, Trigger

TICK_S = 0.02  # between two looks at the line: how much later than stated a signal may change
CYCLES = 50  # parts that are remembered for the live page

_SILENT = frozenset({Fault.STOPPED, Fault.OVERDUE})  # under which the heartbeat stops

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HandshakeSettings:
    """How the handshake is kept."""

    ack: bool = True  # whether the controller acknowledges results
    ack_within: float = 5.0  # seconds after which a result that is not acknowledged is a fault; 0: never
    heartbeat: float = 0.1  # seconds between two changes of the heartbeat
    recipes: Collection[int] = ()  # the numbers that are known


class PlcControl(Protocol):
    """The handshake as what carries it sees it. Every method may be called from any thread and returns at once."""

    def inputs(self, inputs: Inputs, source: str) -> None:
        """What the controller says now; `source` is who said it, in words."""
        ...

    def notice(self, fault: Fault, words: str) -> None:
        """Something was wrong once."""
        ...

    def start_job(self, part: str, recipe: int, source: str) -> tuple[int, Fault]:
        """Judge one part, with a recipe where its number is not 0: the trigger's number, or 0 and why it was not
        taken."""
        ...

    def acknowledge(self, trigger: int) -> bool:
        """The result of that trigger was read; false where it does not stand there."""
        ...

    def reset(self, source: str) -> Fault:
        """Drop results and notices; gives the fault that stays."""
        ...

    def select(self, recipe: int, who: str) -> bool:
        """Judge parts from now on with a recipe; false where its number is unknown."""
        ...


class PlcOutput(Closing):
    """Carries the handshake to a controller."""

    trouble: str = ""  # why it cannot, in words; "" while it can

    @abstractmethod
    def start(self, control: PlcControl) -> None:
        """Called once, after the first `publish`."""

    @abstractmethod
    def publish(self, state: Handshake, beats: int) -> None:
        """Show this state, with the number of heartbeats so far; from any thread, and at once."""


class PlcController(Closing):
    """The handshake of one line. Every method may be called from any thread."""

    def __init__(
        self,
        outputs: Sequence[PlcOutput],
        settings: HandshakeSettings,
        fire: Callable[[str, str], Ticket],
        causes: Callable[[], frozenset[Fault]],
        on_recipe: Callable[[int, int, str], None] = lambda old, new, who: None,
    ) -> None:
        """`fire` is called with the source and the part's id where the controller raised Trigger; `causes` says which
        faults hold now; `on_recipe` is told of another recipe: the old number, the new one, and who asked."""
        self._outputs, self._settings, self._fire, self._causes = outputs, settings, fire, causes
        self._on_recipe = on_recipe
        recipe = min(settings.recipes, default=0)
        self._state = Handshake(ack=settings.ack, recipe=recipe)
        self._beats = 0
        self._beat_at = 0.0
        self._lock = threading.RLock()
        self._starting = threading.Lock()  # one job at a time
        self._ending = threading.Event()
        self._cycles: deque[dict[str, Any]] = deque(maxlen=CYCLES)
        self._thread = threading.Thread(target=self._watch, name="edgead plc", daemon=True)

    @property
    def recipe(self) -> int:
        """The recipe for the parts from now on; 0 where there are none."""
        return self._state.recipe

    def start(self) -> None:
        """Show the state, then listen."""
        self._publish()
        for output in self._outputs:
            output.start(self)
        self._thread.start()

    def opened(self, trigger: Trigger) -> None:
        """A trigger was taken."""
        with self._lock:
            self._change(handshake.opened(self._state, time.monotonic()))

    def answered(self, result: Result, recipe: int) -> None:
        """A trigger was answered."""
        answer = handshake.answer_of(result, recipe)
        with self._lock:
            self._change(handshake.answered(self._state, answer, time.monotonic()))
            self._cycles.append(_cycle(answer, result))

    def inputs(self, inputs: Inputs, source: str) -> None:
        """See `PlcControl.inputs`."""
        with self._lock:
            if inputs == self._state.inputs:
                return
            before = self._state
            state, fire = handshake.controlled(before, inputs, time.monotonic(), recipes=self._settings.recipes)
            self._change(state)
        if state.recipe != before.recipe:
            self._on_recipe(before.recipe, state.recipe, source)
        if fire:
            with suppress(EdgeadError):  # a part's id that cannot be one: it was looked at already
                self._fire(source, inputs.part)

    def start_job(self, part: str, recipe: int, source: str) -> tuple[int, Fault]:
        """See `PlcControl.start_job`."""
        with self._starting:
            if recipe and not self.select(recipe, source):
                return 0, Fault.UNKNOWN_RECIPE
            with self._lock:
                if not self._state.ready:
                    self._change(replace(self._state, refused=self._state.refused + 1))
                    return 0, self._state.fault or Fault.NOT_READY
            try:
                return self._fire(source, part).trigger.number, Fault.NONE
            except EdgeadError:
                return 0, Fault.BAD_PART

    def acknowledge(self, trigger: int) -> bool:
        """See `PlcControl.acknowledge`."""
        with self._lock:
            if not self._state.done or self._state.answer.trigger != trigger:
                return False
            now, said = time.monotonic(), self._state.inputs
            state, _ = handshake.controlled(self._state, replace(said, ack=True), now)
            self._change(handshake.controlled(state, replace(said, ack=False), now)[0])
        return True

    def reset(self, source: str) -> Fault:
        """See `PlcControl.reset`."""
        with self._lock:
            said = self._state.inputs
            for pressed in (False, True, said.reset):
                self.inputs(replace(said, reset=pressed), source)
            return self._state.fault

    def notice(self, fault: Fault, words: str) -> None:
        """See `PlcControl.notice`."""
        with self._lock:
            if self._state.notice is fault:
                return
            self._change(handshake.noticed(self._state, fault))
        _log.error("fault %d: %s: %s", fault, FAULTS[fault][0], words)

    def select(self, recipe: int, who: str) -> bool:
        """See `PlcControl.select`."""
        with self._lock:
            if recipe not in self._settings.recipes:
                return False
            before = self._state.recipe
            self._change(replace(self._state, recipe=recipe))
        if recipe != before:
            self._on_recipe(before, recipe, who)
        return True

    def _watch(self) -> None:
        while not self._ending.wait(TICK_S):
            self._look()

    def _look(self) -> None:
        now, causes = time.monotonic(), self._causes()
        broken = [output.trouble for output in self._outputs if output.trouble]
        if broken:
            causes |= {Fault.OUTPUTS}
        with self._lock:
            state = handshake.ticked(handshake.caused(self._state, causes), now, self._settings.ack_within)
            beats = now - self._beat_at >= self._settings.heartbeat and not causes & _SILENT
            if beats:
                self._beats, self._beat_at = self._beats + 1, now
            if state is not self._state or beats:
                self._change(state)

    def _change(self, state: Handshake) -> None:
        before, self._state = self._state, state
        if state.fault is not before.fault and state.fault:
            _log.warning("fault %d: %s", state.fault, FAULTS[state.fault][0])
        self._publish()

    def _publish(self) -> None:
        for output in self._outputs:
            output.publish(self._state, self._beats)

    def status(self) -> dict[str, Any]:
        """The handshake for the live page: plain values for JSON."""
        with self._lock:
            state = self._state
            lamps = ("ready", "busy", "done", "reject")
            return {
                **{name: getattr(state, name) for name in lamps},
                "fault": int(state.fault),
                "why": FAULTS[state.fault][0] if state.fault else "",
                "beats": self._beats,
                "recipe": state.recipe,
                "refused": state.refused,
                "cycles": list(self._cycles),
            }

    def stop(self) -> None:
        """The line does not judge any more: Ready off, Reject on, no heartbeat; answers are still shown."""
        self._ending.set()
        if self._thread.ident is not None:
            self._thread.join(2.0)
        with self._lock:
            self._change(handshake.caused(self._state, frozenset({Fault.STOPPED})))

    def close(self) -> None:
        """Leave the controller with Ready off and Reject on."""
        self.stop()
        for output in self._outputs:
            output.close()


def _cycle(answer: PartAnswer, result: Result) -> dict[str, Any]:
    return {
        "trigger": answer.trigger,
        "part": answer.part,
        "result": answer.word.name,
        "score": None if answer.score == -1.0 else round(answer.score, 4),
        "answer_ms": round(result.answer, 1),
        "recipe": answer.recipe,
        "time": time.time(),
    }
