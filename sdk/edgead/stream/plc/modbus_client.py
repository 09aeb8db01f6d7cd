"""Carries the handshake over Modbus TCP as a client: the controller is the server, and has the same map in its memory.

edgead reads the rows that the controller writes and writes its own, `base` registers further on. What it cannot reach
it tries again; a controller that is away raises nothing, so no part is judged for it.
"""

from __future__ import annotations

import logging
from threading import Condition, Thread

from edgead.stream.plc import registers
from edgead.stream.plc.controller import PlcControl, PlcOutput
from edgead.stream.plc.handshake import Handshake, Inputs
from edgead.stream.plc.modbus_link import ModbusLink
from edgead.stream.sinks.options import checked

_PAUSE_S = 0.5  # between two trials to reach the controller

_log = logging.getLogger(__name__)


class ModbusClient(PlcOutput):
    """`modbus://10.0.0.4:502?base=0`."""

    def __init__(self, url: str, *, base: int = 0, unit: int = 1, poll: float = 10.0, words: str = "big") -> None:
        """`base` is the register at which the map begins, `poll` the milliseconds between two readings; for `words`
        see `ModbusServer`. Raises UsageError."""
        checked("the plc 'modbus': base", base, 0, 65535 - registers.TOTAL_WORDS)
        checked("the plc 'modbus': unit", unit, 0, 255)
        checked("the plc 'modbus': poll", poll, 1, 1000)
        self._words = registers.checked_words(words)
        self._link = ModbusLink(url.partition("?")[0], unit)
        self._base, self._poll = base, poll / 1e3
        self._changed = Condition()
        self._status = registers.encode_status(Handshake(), 0, words)[0]
        self._new, self._ending = True, False
        self._said = ""
        self._thread: Thread | None = None

    def start(self, control: PlcControl) -> None:
        self._thread = Thread(target=self._run, args=(control,), name="edgead plc modbus", daemon=True)
        self._thread.start()

    def publish(self, state: Handshake, beats: int) -> None:
        status = registers.encode_status(state, beats, self._words)[0]
        with self._changed:
            self._new = self._new or status != self._status
            self._status = status
            self._changed.notify_all()

    def _run(self, control: PlcControl) -> None:
        while not self._ending:
            try:
                self._exchange(control)
                if self._said:
                    _log.warning("the controller at %s is back", self._link.name)
                self._said = ""
                pause = self._poll
            except OSError as error:
                self._lose(control, str(error))
                pause = _PAUSE_S
            with self._changed:
                self._changed.wait_for(lambda: self._ending or (self._new and not self._said), pause)

    def _exchange(self, control: PlcControl) -> None:
        """Write what is new, then hear what the controller says."""
        with self._changed:
            status, new = self._status, self._new
            self._new = False
        if new:
            try:
                self._link.write(self._base + registers.STATUS, status)
            except OSError:
                self._new = True
                raise
        commands = self._link.read(self._base, registers.WRITTEN_WORDS)
        control.inputs(registers.inputs_of(commands), f"modbus, {self._link.name}")

    def _lose(self, control: PlcControl, why: str) -> None:
        self._link.close()
        if not self._said:
            _log.error("%s; it is tried again, and no part is judged for it meanwhile", why)
            control.inputs(Inputs(), "a controller that is away")
        self._said, self._new = why, True

    def close(self) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(2.0)
            if not self._said and not self._thread.is_alive():
                self._leave()
        self._link.close()

    def _leave(self) -> None:
        """Have the controller see Ready off and Reject on."""
        try:
            self._link.write(self._base + registers.STATUS, self._status)
        except OSError as error:
            _log.error("%s: it does not see that the line has ended, but by its heartbeat", error)
