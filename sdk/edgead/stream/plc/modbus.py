"""Carries the handshake over Modbus TCP as a server: the controller polls, writes its commands and reads the results.

The first client that writes is the master until it is gone or has been silent for a while; a write of another is
refused with exception 6 (busy) and is a fault. Everybody allowed may read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

from edgead.errors import UsageError
from edgead.stream.plc import registers
from edgead.stream.plc.controller import PlcControl, PlcOutput
from edgead.stream.plc.handshake import Fault, Handshake
from edgead.web.address import split_names

SILENT_S = 5.0  # without a request, after which a master is one no more

_START_S = 10.0
_READS_BITS, _READS_WORDS = (1, 2), (3, 4)
_WRITES_BITS, _WRITES_WORDS = (5, 15), (6, 16, 22)

_log = logging.getLogger(__name__)


class RegisterBank:
    """The registers and bits of the map, and who may write them. Used by one event loop; `show` from any thread."""

    def __init__(self, words: str, said: Callable[[list[int], str], None], refused: Callable[[str], None]) -> None:
        """`said` is called with the command registers after each write and who wrote, `refused` with who was not."""
        self._words, self._said, self._refused = words, said, refused
        self._commands = [0] * registers.WRITTEN_WORDS
        self._status: tuple[list[int], list[bool]] = registers.encode_status(Handshake(), 0, words)
        self._master: tuple[object, float] | None = None
        self.client: tuple[object, str] = (None, "")  # whose request is being answered

    def show(self, state: Handshake, beats: int) -> None:
        """Have the registers hold this state: at once, so that no request sees half of two."""
        self._status = registers.encode_status(state, beats, self._words)

    async def async_getValues(self, device_id: int, func_code: int, address: int, count: int = 1) -> Any:
        """The registers or bits, or an exception code."""
        if self._master is not None and self._master[0] is self.client[0]:
            self._master = self.client[0], time.monotonic()
        status_words, status_bits = self._status
        if func_code in (*_READS_BITS, *_WRITES_BITS):
            command = self._commands[0]
            space: list[Any] = [bool(command >> at & 1) for at in range(registers.WRITTEN_BITS)]
            space += [False] * (registers.TOTAL_BITS - len(status_bits) - len(space)) + status_bits
        else:
            space = [*self._commands, *[0] * (registers.STATUS - len(self._commands)), *status_words]
        return space[address : address + count] if address + count <= len(space) else ExcCodes.ILLEGAL_ADDRESS

    async def async_setValues(self, device_id: int, func_code: int, address: int, values: Any) -> ExcCodes | None:
        """Take what a master writes; the exception code where it may not."""
        bits = func_code in _WRITES_BITS
        if address + len(values) > (registers.WRITTEN_BITS if bits else registers.WRITTEN_WORDS):
            return ExcCodes.ILLEGAL_ADDRESS
        connection, name = self.client
        now = time.monotonic()
        if self._master is not None and self._master[0] is not connection and now - self._master[1] < SILENT_S:
            self._refused(name)
            return ExcCodes.DEVICE_BUSY
        self._master = connection, now
        if bits:
            for at, value in enumerate(values, start=address):
                self._commands[0] = self._commands[0] & ~(1 << at) | bool(value) << at
        else:
            self._commands[address : address + len(values)] = [int(value) & 0xFFFF for value in values]
        self._said(list(self._commands), name)
        return None

    def forget(self, connection: object) -> None:
        """A client is gone; its commands are taken back, so that a lost master raises nothing."""
        if self._master is not None and self._master[0] is connection:
            self._master = None
            self._commands[0] = 0
            self._said(list(self._commands), "a master that is gone")

    def device_ids(self) -> list[int]:
        """Every unit number is this device's."""
        return list(range(256))


class ModbusServer(PlcOutput):
    """`modbus:502` on loopback, `modbus:0.0.0.0:502?clients=10.0.0.4` for the controller with that address alone."""

    def __init__(self, address: str = "502", *, clients: str = "", words: str = "big") -> None:
        """Listen once it is started; `clients` are the addresses that may connect, with commas between, `words` the
        order of the two registers of a 32-bit value. Raises UsageError."""
        host, _, port = address.rpartition(":")
        self._host, self._allowed = host.strip("[]") or "127.0.0.1", split_names(clients)
        if not port.isdecimal() or int(port) > 65535:
            raise UsageError(f"the plc 'modbus' needs a port up to 65535, like modbus:502, not '{port}'")
        try:
            beyond = not ipaddress.ip_address(self._host).is_loopback
            for client in self._allowed:
                ipaddress.ip_address(client)
        except ValueError as error:
            raise UsageError(f"the plc 'modbus' takes IP addresses: {error}") from error
        if beyond and not self._allowed:
            raise UsageError(
                f"modbus:{address} can be reached by others, and Modbus knows no password: say who may connect, like "
                f"modbus:{address}?clients=10.0.0.4"
            )
        self.port = int(port)
        self._words = registers.checked_words(words)
        self._bank = RegisterBank(words, self._said, self._second)
        self._control: PlcControl | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="edgead plc modbus", daemon=True)
        self._server: _Server | None = None

    def start(self, control: PlcControl) -> None:
        self._control = control
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(_START_S)
        except RuntimeError as error:
            raise UsageError(
                f"cannot listen at {self._host}:{self.port}: the port is taken, or below 1024 and not yours"
            ) from error

    async def _serve(self) -> None:
        device = SimDevice(0, simdata=[SimData(0, count=1, values=0, datatype=DataType.REGISTERS)])
        self._server = _Server(device, address=(self._host, self.port), ignore_missing_devices=False)
        self._server.context = self._bank  # type: ignore[assignment]
        self._server.bank, self._server.allowed = self._bank, self._allowed
        await self._server.serve_forever(background=True)
        sockets = getattr(self._server.transport, "sockets", ())
        self.port = sockets[0].getsockname()[1] if sockets else self.port

    def publish(self, state: Handshake, beats: int) -> None:
        self._bank.show(state, beats)

    def _said(self, commands: list[int], who: str) -> None:
        if self._control is not None:
            self._control.inputs(registers.inputs_of(commands), f"modbus, {who}")

    def _second(self, who: str) -> None:
        if self._control is not None:
            self._control.notice(Fault.SECOND_MASTER, f"{who} wrote while another client is the master")

    def close(self) -> None:
        if self._thread.is_alive():
            if self._server is not None:
                asyncio.run_coroutine_threadsafe(self._end(self._server), self._loop).result(_START_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(2.0)
        if not self._loop.is_running() and not self._loop.is_closed():
            self._loop.close()

    async def _end(self, server: _Server) -> None:
        await server.shutdown()  # type: ignore[no-untyped-call]
        await asyncio.sleep(0.05)  # in which connections that were aborted are released


class _Server(ModbusTcpServer):
    bank: RegisterBank
    allowed: frozenset[str] = frozenset()

    def callback_new_connection(self) -> ServerRequestHandler:
        return _Handler(  # type: ignore[no-untyped-call]
            self, self.trace_packet, self.trace_pdu, self.trace_connect
        )


class _Handler(ServerRequestHandler):
    """One client."""

    server: _Server

    def connection_made(self, transport: Any) -> None:
        self.name = str((transport.get_extra_info("peername") or ("",))[0])
        if self.server.allowed and self.name not in self.server.allowed:
            _log.error("%s may not connect to the plc's registers: add it to clients= if it should", self.name)
            transport.abort()
            return
        super().connection_made(transport)

    def callback_disconnected(self, exc: Exception | None) -> None:
        self.server.bank.forget(self)
        super().callback_disconnected(exc)

    async def handle_request(self) -> None:
        self.server.bank.client = self, self.name  # nothing below waits: the next request finds its own
        await super().handle_request()  # type: ignore[no-untyped-call]
