"""Fires by a coil or a discrete input of a Modbus TCP device, which is read again and again: each rise is a trigger."""

from __future__ import annotations

import logging
import re
from threading import Event, Thread
from urllib.parse import urlsplit

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from edgead.errors import UsageError
from edgead.stream.sinks.options import checked
from edgead.stream.trigger.base import TriggerControl, TriggerSource

_EXAMPLE = "modbus://10.0.0.4:502/coil/0"
_PATH = re.compile(r"/(coil|input)/(\d{1,5})")
_PAUSE_S = 1.0  # between two trials to connect

_log = logging.getLogger(__name__)


class ModbusTrigger(TriggerSource):
    """Polls one bit. A rise between two polls that are further apart than the pulse is long is not seen: see `poll`."""

    def __init__(self, url: str, *, poll: float = 10.0, unit: int = 1, timeout: float = 1.0) -> None:
        """modbus://HOST:PORT/coil/NUMBER, or input/NUMBER for a discrete input; numbers begin at 0.

        `poll` is the milliseconds between two readings, `unit` the device's number, `timeout` the seconds that one
        reading may take. Raises UsageError.
        """
        parts = urlsplit(url)
        match = _PATH.fullmatch(parts.path)
        if not parts.hostname or match is None or int(match[2]) > 65535:
            raise UsageError(f"the trigger 'modbus' is written like {_EXAMPLE}, not '{url}'")
        checked("the trigger 'modbus': poll", poll, 1, 10_000)
        checked("the trigger 'modbus': unit", unit, 0, 255)
        checked("the trigger 'modbus': timeout", timeout, 0.05, 60)
        self._name = f"{parts.hostname}:{parts.port or 502}{parts.path}"
        self._kind, self._address, self._unit, self._poll = match[1], int(match[2]), unit, poll / 1e3
        self._client = ModbusTcpClient(parts.hostname, port=parts.port or 502, timeout=timeout, retries=0)
        self._ending = Event()
        self._thread: Thread | None = None
        self.trouble = "not connected yet"

    def start(self, control: TriggerControl) -> None:
        self._thread = Thread(target=self._run, args=(control,), name="edgead trigger modbus", daemon=True)
        self._thread.start()

    def _run(self, control: TriggerControl) -> None:
        before: bool | None = None  # not known: the first reading after a loss is no edge
        while not self._ending.is_set():
            now = self._read()
            if now and before is False:
                control.fire(f"modbus, {self._name}")
            before = now
            self._ending.wait(_PAUSE_S if now is None else self._poll)
        self._client.close()  # type: ignore[no-untyped-call]

    def _read(self) -> bool | None:
        """The bit; None where it cannot be read, which is said once."""
        try:
            if not self._client.connected and not self._client.connect():  # type: ignore[no-untyped-call]
                raise OSError("it cannot be reached")
            read = self._client.read_coils if self._kind == "coil" else self._client.read_discrete_inputs
            answer = read(self._address, count=1, device_id=self._unit)
            if answer.isError():
                raise OSError(f"it answers {answer}")
        except (ModbusException, OSError) as error:
            self._client.close()  # type: ignore[no-untyped-call]
            self._fail(str(error))
            return None
        if self.trouble:
            _log.warning("%s is read", self._name)
        self.trouble = ""
        return bool(answer.bits[0])

    def _fail(self, why: str) -> None:
        if not self.trouble or self.trouble == "not connected yet":
            _log.error("no trigger from %s: %s; it is tried again", self._name, why)
            self.trouble = why

    def close(self) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join(2.0)
