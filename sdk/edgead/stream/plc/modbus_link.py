"""A client's connection to a register map over Modbus TCP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from edgead.closing import Closing
from edgead.errors import UsageError

_MOST = 100  # registers of one request


class ModbusLink(Closing):
    """Registers of one device. Every method raises OSError where it is not reached or refuses."""

    def __init__(self, url: str, unit: int = 1, timeout: float = 1.0) -> None:
        """`url` is modbus://HOST:PORT; raises UsageError for another. It connects when it is first used."""
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port or 502
        except ValueError:
            host, port = None, 0
        if not host or parts.scheme != "modbus":
            raise UsageError(f"a Modbus device is written like modbus://10.0.0.4:502, not '{url}'")
        self.name = f"{host}:{port}"
        self._unit = unit
        self._client = ModbusTcpClient(host, port=port, timeout=timeout, retries=0)

    def read(self, address: int, count: int) -> list[int]:
        """Holding registers from `address` on."""
        found: list[int] = []
        while len(found) < count:
            most = min(_MOST, count - len(found))
            found += self._ask("read_holding_registers", address + len(found), count=most).registers
        return found

    def write(self, address: int, values: Sequence[int]) -> None:
        """Write holding registers in one request."""
        self._ask("write_registers", address, list(values))

    def _ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        try:
            if not self._client.connected and not self._client.connect():  # type: ignore[no-untyped-call]
                raise OSError(f"{self.name} cannot be reached")
            answer = getattr(self._client, name)(*arguments, device_id=self._unit, **options)
        except ModbusException as error:
            self.close()
            raise OSError(f"{self.name} does not answer: {error}") from error
        if answer.isError():
            raise PermissionError(f"{self.name} refuses: exception {getattr(answer, 'exception_code', '')}")
        return answer

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]
