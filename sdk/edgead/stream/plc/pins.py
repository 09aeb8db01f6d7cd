"""Carries the handshake by output pins: lamps, a pulse for each result, and an ejector further down the line.

The pins belong to a process of their own (`pin_guard`), which drives them to reject when this one is killed, stopped or
hangs. An ejector comes some time or some counts of an encoder after the camera: until then a part travels in a shift
register, and one that gets there without an OK is ejected.
"""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Condition, Thread

from edgead.errors import UsageError, nearest
from edgead.stream.plc.controller import PlcControl, PlcOutput
from edgead.stream.plc.handshake import Handshake, ResultWord
from edgead.stream.plc.shift_register import MOST, ShiftRegister, Unwrapped
from edgead.stream.sinks.options import checked

PINS = ("ready", "busy", "fault", "heartbeat", "ok", "ng", "reject", "eject")
TICK_S = 0.002
_KEEPALIVE_S = 0.05
_STALE_S = 0.1  # after which an encoder that was not read may have moved on
_START_S = 30.0

_log = logging.getLogger(__name__)


class Pins(PlcOutput):
    """`pins:/dev/gpiochip0?ready=5&ok=6&ng=7&reject=13&eject=19&delay=120`."""

    def __init__(
        self,
        chip: Path,
        *,
        ready: int = -1,
        busy: int = -1,
        fault: int = -1,
        heartbeat: int = -1,
        ok: int = -1,
        ng: int = -1,
        reject: int = -1,
        eject: int = -1,
        pulse: float = 50.0,
        delay: float = 0.0,
        encoder: str = "",
        counts: int = 0,
        active_low: str = "",
    ) -> None:
        """Each pin is the number of a line of the `chip`; those that are not given are not used.

        `ok`, `ng` (whatever is not OK) and `eject` are pulses of `pulse` milliseconds, the others levels. `reject` is
        off only for a part that is OK, for `pulse` milliseconds: from its result on, or with `delay` or `counts` while
        that part is at the ejector. `delay` is in milliseconds from the trigger; or `counts` of
        `encoder`, modbus://HOST:PORT/REGISTER. `active_low` names pins with commas between. Raises UsageError.
        """
        given = dict(zip(PINS, (ready, busy, fault, heartbeat, ok, ng, reject, eject), strict=True))
        self._pins = {name: number for name, number in given.items() if number >= 0}
        low = [name.strip() for name in active_low.split(",") if name.strip()]
        _check(self._pins, low)
        checked("the plc 'pins': pulse", pulse, 1, 10_000)
        checked("the plc 'pins': delay", delay, 0, 600_000)
        if bool(encoder) != bool(counts) or (delay and counts):
            raise UsageError("the plc 'pins' delays by delay=MS, or by encoder=URL and counts=N together")
        self._config = json.dumps({"chip": str(chip), "pins": self._pins, "active_low": low})
        self._pulse, self._delayed = pulse / 1e3, bool(delay or counts)
        self._encoder = Encoder(encoder) if encoder else None
        self._register = ShiftRegister(float(counts) if counts else delay / 1e3)
        self._overflow = ""  # why a part is not followed to the ejector
        self._changed = Condition()
        self._state, self._beats = Handshake(), 0
        self._seen_triggers = self._seen_answer = 0
        self._until = dict.fromkeys(("ok", "ng", "eject", "pass"), 0.0)  # ends of pulses, time.monotonic()
        self._ending = False
        self._guard: subprocess.Popen[bytes] | None = None
        self._thread: Thread | None = None

    def start(self, control: PlcControl) -> None:
        command = [sys.executable, "-m", "edgead.stream.plc.pin_guard", self._config]
        self._guard = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - this Python
        assert self._guard.stdout is not None
        said = self._guard.stdout.readline().decode().strip()
        if said != "ready":
            self._end_guard()
            raise UsageError(said or "the process that holds the pins did not start")
        if self._encoder is not None:
            self._encoder.start()
        self._thread = Thread(target=self._run, name="edgead plc pins", daemon=True)
        self._thread.start()

    def publish(self, state: Handshake, beats: int) -> None:
        with self._changed:
            self._state, self._beats = state, beats
            self._changed.notify_all()

    def _run(self) -> None:
        last, sent = b"", 0.0
        while not self._ending:
            now = time.monotonic()
            with self._changed:
                levels = self._levels(now)
            line = json.dumps(levels).encode() + b"\n"
            if line != last or now - sent >= _KEEPALIVE_S:
                if not self._send(line):
                    return
                last, sent = line, now
            with self._changed:
                self._changed.wait(TICK_S if self._delayed or any(end > now for end in self._until.values()) else 0.02)

    def _send(self, line: bytes) -> bool:
        assert self._guard is not None
        assert self._guard.stdin is not None
        try:
            self._guard.stdin.write(line)
            self._guard.stdin.flush()
        except OSError:
            self.trouble = "the process that holds the pins is gone"
            _log.error("%s: start the line again", self.trouble)
            return False
        return True

    def _levels(self, now: float) -> dict[str, bool]:
        """The level of each pin now."""
        state = self._state
        self._follow(state, now)
        reject = now >= self._until["pass"] or bool(state.causes)
        levels = {
            "ready": state.ready,
            "busy": state.busy,
            "fault": bool(state.fault),
            "heartbeat": bool(self._beats & 1),
            "ok": now < self._until["ok"],
            "ng": now < self._until["ng"],
            "reject": reject,
            "eject": now < self._until["eject"],
        }
        return {name: levels[name] for name in self._pins}

    def _follow(self, state: Handshake, now: float) -> None:
        """Move parts on by what the handshake and the encoder say."""
        position = now
        if self._encoder is not None:
            position, self.trouble = float(self._encoder.position), self._encoder.trouble
            if self.trouble:
                self._register.doubt()
        for number in range(self._seen_triggers + 1, state.triggers + 1):
            if self._delayed and not self._register.triggered(number, position):
                self._overflow = f"more than {MOST} parts are between camera and ejector"
        self.trouble = self.trouble or self._overflow
        self._seen_triggers = state.triggers
        answer = state.answer
        if state.done and answer.trigger != self._seen_answer:
            self._seen_answer = answer.trigger
            ok = answer.word is ResultWord.OK
            self._until["ok" if ok else "ng"] = now + self._pulse
            if not self._delayed:
                self._gate(now, ok=ok)
            self._register.answered(answer.trigger, ok=ok)
        for _, ok in self._register.arrived(position) if self._delayed else ():
            self._gate(now, ok=ok)

    def _gate(self, now: float, *, ok: bool) -> None:
        """Open the gate for a part, or close it at once, also where the one before still passes."""
        self._until["pass"] = now + self._pulse if ok else now
        if not ok:
            self._until["eject"] = now + self._pulse

    def close(self) -> None:
        self._ending = True
        if self._thread is not None:
            self._thread.join(2.0)
        if self._encoder is not None:
            self._encoder.close()
        self._end_guard()

    def _end_guard(self) -> None:
        guard, self._guard = self._guard, None
        if guard is None:
            return
        assert guard.stdin is not None
        assert guard.stdout is not None
        with suppress(OSError):
            guard.stdin.close()
        try:
            guard.wait(2.0)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()
        guard.stdout.close()


class Encoder:
    """Counts of a Modbus register, read in a thread."""

    def __init__(self, url: str) -> None:
        from edgead.stream.plc.modbus_link import ModbusLink

        place, _, register = url.rpartition("/")
        if not register.isdecimal() or int(register) > 65535:
            raise UsageError(f"an encoder is a register, like modbus://10.0.0.4:502/12, not '{url}'")
        self.position = 0
        self._link, self._register = ModbusLink(place), int(register)
        self._read_at = -math.inf  # time.monotonic()
        self._ending = False
        self._thread = Thread(target=self._run, name="edgead plc encoder", daemon=True)

    @property
    def trouble(self) -> str:
        """Why `position` may be an old one; "" where it is of this moment."""
        silent = time.monotonic() - self._read_at > _STALE_S
        return f"the encoder at {self._link.name} cannot be read: no part passes the ejector" if silent else ""

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        counter, said = Unwrapped(), False
        while not self._ending:
            try:
                self.position = counter.of(self._link.read(self._register, 1)[0])
                self._read_at, said = time.monotonic(), False
            except Exception as error:  # an OSError as a rule; whatever an odd device makes of the library
                if not said:
                    _log.error("the encoder cannot be read: %s; no part passes the ejector meanwhile", error)
                said = True
            time.sleep(0.1 if said else 0.005)

    def close(self) -> None:
        self._ending = True
        if self._thread.ident is not None:
            self._thread.join(2.0)
        self._link.close()


def _check(pins: Mapping[str, int], low: list[str]) -> None:
    if not pins:
        raise UsageError("the plc 'pins' needs a pin, like pins:/dev/gpiochip0?reject=13&ready=5")
    twice = sorted(name for name, number in pins.items() if list(pins.values()).count(number) > 1)
    if twice:
        raise UsageError(f"the plc 'pins' has one line for {' and '.join(twice)}: give each its own")
    for name in low:
        if name not in pins:
            raise UsageError(f"the plc 'pins' has no pin '{name}' to be active low: {nearest(name, pins)}")
