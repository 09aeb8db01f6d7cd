"""Fires by an edge at an input pin of this machine (libgpiod 2): the kernel stamps and debounces it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import gpiod
from gpiod.line import Bias, Clock, Direction, Edge

from edgead.errors import UsageError, nearest
from edgead.stream.sinks.options import checked
from edgead.stream.trigger.base import TriggerControl, TriggerSource

EDGES = {"rising": Edge.RISING, "falling": Edge.FALLING}
BIASES = {"as-is": Bias.AS_IS, "none": Bias.DISABLED, "pull-up": Bias.PULL_UP, "pull-down": Bias.PULL_DOWN}
_TICK_S = 0.2

_log = logging.getLogger(__name__)


class GpioTrigger(TriggerSource):
    """One line of a chip, /dev/gpiochip0/17. The time of a trigger is the kernel's stamp of the edge."""

    def __init__(self, place: str, *, edge: str = "rising", debounce: float = 1.0, bias: str = "as-is") -> None:
        """Take the line; raises UsageError where it is taken or not there. `debounce` is in milliseconds."""
        chip, number = split_place(place, "trigger", "gpio")
        for name, known in ((edge, EDGES), (bias, BIASES)):
            if name not in known:
                raise UsageError(f"the trigger 'gpio' knows no '{name}': {nearest(name, known)}")
        checked("the trigger 'gpio': debounce", debounce, 0, 1000)
        self._place, self._number = place, number
        settings = gpiod.LineSettings(
            direction=Direction.INPUT,
            edge_detection=EDGES[edge],
            bias=BIASES[bias],
            debounce_period=timedelta(milliseconds=debounce),
            event_clock=Clock.MONOTONIC,
        )
        self._request = request_lines(chip, {number: settings}, place)
        self._ending = Event()
        self._thread: Thread | None = None

    def start(self, control: TriggerControl) -> None:
        self._thread = Thread(target=self._read, args=(control,), name="edgead trigger gpio", daemon=True)
        self._thread.start()

    def _read(self, control: TriggerControl) -> None:
        while not self._ending.is_set():
            try:
                events = self._request.read_edge_events() if self._request.wait_edge_events(_TICK_S) else []
            except (OSError, ValueError) as error:  # the chip was unplugged, or closed
                if not self._ending.is_set():
                    self.trouble = f"the line {self._place} cannot be read any more: {error}"
                    _log.error("%s", self.trouble)
                return
            for event in events:
                control.fire(f"gpio, {self._place}", clock=event.timestamp_ns / 1e9)

    def close(self) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join(2.0)
        self._request.release()


def split_place(place: str, role: str, kind: str) -> tuple[Path, int]:
    """The chip's file and the line's number of CHIP/NUMBER; raises UsageError."""
    chip, _, number = place.rpartition("/")
    if not chip or not number.isdecimal() or len(number) > 5:
        raise UsageError(f"the {role} '{kind}' needs a chip and a line, like {kind}:/dev/gpiochip0/17, not '{place}'")
    return Path(chip), int(number)


def request_lines(chip: Path, lines: Mapping[Any, Any], what: str) -> Any:
    """Have lines of a chip for this process alone; raises UsageError where they are taken or not there."""
    try:
        return gpiod.request_lines(str(chip), consumer="edgead", config=dict(lines))
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{what} cannot be had: {words}; `gpioinfo` says who has it") from error
