"""Carries the handshake as an OPC UA server: clients browse, read, subscribe, write the commands or call methods.

On loopback anybody may; beyond it only who has EDGEAD_OPCUA_USER and EDGEAD_OPCUA_PASSWORD, over signed and encrypted
connections with the station's certificate.
"""

from __future__ import annotations

import asyncio
import gc
import hmac
import ipaddress
import logging
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import TimeoutError
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asyncua import ua
from asyncua.common.callback import CallbackType
from asyncua.common.methods import uamethod
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager
from asyncua.ua.object_ids import ObjectIds

from edgead.errors import EdgeadError, UsageError
from edgead.stream.plc.controller import PlcControl, PlcOutput
from edgead.stream.plc.handshake import Fault, Handshake, Inputs
from edgead.stream.plc.opcua_nodes import METHODS, NAMESPACE, NODES, ROOT, node_values
from edgead.stream.trigger.base import checked_part

_START_S = 120.0  # the standard nodes alone take seconds, and far more on a machine that is busy
_POLICY = ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt
_EMPTY = {"Boolean": False, "String": ""}

_log = logging.getLogger(__name__)


class OpcUaServer(PlcOutput):
    """`opcua:4840` on loopback, `opcua:0.0.0.0:4840?cert=station.der&key=station.pem` beyond it."""

    def __init__(self, address: str = "4840", *, cert: Path | None = None, key: Path | None = None) -> None:
        """Listen once it is started; `cert` and `key` are the station's own, in DER or PEM. Raises UsageError."""
        host, _, port = address.rpartition(":")
        self._host = host.strip("[]") or "127.0.0.1"
        if not port.isdecimal() or int(port) > 65535:
            raise UsageError(f"the plc 'opcua' needs a port up to 65535, like opcua:4840, not '{port}'")
        try:
            beyond = not ipaddress.ip_address(self._host).is_loopback
        except ValueError as error:
            raise UsageError(f"the plc 'opcua' listens at an IP address: {error}") from error
        self._users = _users()
        if (cert is None) != (key is None):
            raise UsageError("the plc 'opcua' takes a certificate and its key together: give cert= and key=")
        if beyond and (cert is None or self._users is None):
            raise UsageError(
                f"opcua:{address} can be reached by others: give cert= and key=, and set EDGEAD_OPCUA_USER and "
                "EDGEAD_OPCUA_PASSWORD (12 characters or more)"
            )
        for path in (cert, key):
            if path is not None and not path.is_file():
                raise UsageError(f"the plc 'opcua' cannot read {path}")
        self.port, self._cert, self._key = int(port), cert, key
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="edgead plc opcua", daemon=True)
        self._server: Server | None = None
        self._control: PlcControl | None = None
        self._variables: dict[str, Any] = {}  # key -> node
        self._shown: dict[str, Any] = {}
        self._latest: tuple[Handshake, int] = (Handshake(), 0)
        self._scheduled = False

    def start(self, control: PlcControl) -> None:
        self._control = control
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(_START_S)
        except TimeoutError as error:
            raise EdgeadError(
                f"the OPC UA server did not start within {_START_S:g} s: is the machine too busy?"
            ) from error
        except OSError as error:
            raise UsageError(f"cannot listen at {self._host}:{self.port}: {error.strerror or error}") from error

    async def _serve(self) -> None:
        server = Server(user_manager=self._users)
        with collecting_nothing():  # the 6,000 nodes of the standard stay; looking for garbage among them is 40 % of it
            await server.init()
        server.set_server_name("edgead")
        await server.set_application_uri(f"urn:{socket.gethostname()}:edgead")
        self.port = self.port or _free_port(self._host)
        host = f"[{self._host}]" if ":" in self._host else self._host
        server.set_endpoint(f"opc.tcp://{host}:{self.port}/edgead")
        if self._cert is not None and self._key is not None:
            server.set_security_policy([_POLICY])
            await server.load_certificate(self._cert)
            await server.load_private_key(self._key)
        else:
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        server.set_identity_tokens([ua.UserNameIdentityToken if self._users else ua.AnonymousIdentityToken])
        await self._build(server)
        server.subscribe_server_callback(CallbackType.PostWrite, self._written)
        await server.start()
        self._server = server
        await self._show()

    async def _build(self, server: Server) -> None:
        """Make the nodes of the table."""
        index = await server.register_namespace(NAMESPACE)
        folders: dict[str, Any] = {"": server.nodes.objects}
        for node in NODES:
            folder = await _folder(folders, index, f"{ROOT}.{node.path}".rpartition(".")[0])
            kind = ua.VariantType[node.kind]
            name = node.path.rpartition(".")[2]
            variable = await folder.add_variable(
                _id(index, f"{ROOT}.{node.path}"), f"{index}:{name}", _EMPTY.get(node.kind, 0), kind
            )
            if node.written:
                await variable.set_writable()
            self._variables[node.key] = variable
        calls = {
            "StartSingleJob": self._start_job,
            "Reset": self._reset,
            "PrepareRecipe": self._prepare,
            "AcknowledgeResult": self._acknowledge,
        }
        for path, (arguments, results, _) in METHODS.items():
            folder = await _folder(folders, index, f"{ROOT}.{path}".rpartition(".")[0])
            name = path.rpartition(".")[2]
            takes, gives = ([_argument(*one) for one in some] for some in (arguments, results))
            await folder.add_method(
                _id(index, f"{ROOT}.{path}"), f"{index}:{name}", uamethod(calls[name]), takes, gives
            )

    def publish(self, state: Handshake, beats: int) -> None:
        self._latest = state, beats
        if self._server is not None and not self._scheduled:
            self._scheduled = True
            asyncio.run_coroutine_threadsafe(self._show(), self._loop)

    async def _show(self) -> None:
        """Write what has changed, the result before the lamps: in the order of the table."""
        self._scheduled = False
        values = node_values(*self._latest)
        for node in NODES:
            if not node.written and self._shown.get(node.key) != values[node.key]:
                self._shown[node.key] = values[node.key]
                variant = ua.Variant(values[node.key], ua.VariantType[node.kind])
                await self._variables[node.key].write_value(variant)

    async def _written(self, event: Any, dispatcher: object) -> None:
        """A client wrote: hear all commands, since several may have come in one request."""
        if not event.is_external or self._control is None:
            return
        said = {node.key: await self._variables[node.key].read_value() for node in NODES if node.written}
        try:
            part, bad = checked_part(said["part_wanted"] or ""), False
        except UsageError:
            part, bad = "", True
        trigger, ack, reset = (bool(said[name]) for name in ("trigger", "ack", "reset"))
        who = getattr(event.user, "name", None) or "a client"
        self._control.inputs(Inputs(trigger, ack, reset, part, int(said["recipe_wanted"]), bad), f"opcua, {who}")

    def _start_job(self, parent: object, meas: str, part: str, recipe: str, product: str) -> tuple[Any, Any]:
        assert self._control is not None  # it was started
        number, fault = self._control.start_job(part or "", _number(recipe), "opcua, StartSingleJob")
        return ua.Variant(number, ua.VariantType.UInt32), ua.Variant(int(fault), ua.VariantType.Int32)

    def _reset(self, parent: object) -> Any:
        assert self._control is not None  # it was started
        return ua.Variant(int(self._control.reset("opcua, Reset")), ua.VariantType.Int32)

    def _prepare(self, parent: object, recipe: str) -> Any:
        assert self._control is not None  # it was started
        known = self._control.select(_number(recipe), "opcua, PrepareRecipe")
        return ua.Variant(0 if known else int(Fault.UNKNOWN_RECIPE), ua.VariantType.Int32)

    def _acknowledge(self, parent: object, job: int) -> Any:
        assert self._control is not None  # it was started
        return ua.Variant(0 if self._control.acknowledge(job) else -1, ua.VariantType.Int32)

    def close(self) -> None:
        if self._thread.is_alive():
            if self._server is not None:
                server, self._server = self._server, None
                asyncio.run_coroutine_threadsafe(self._end(server), self._loop).result(_START_S)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(2.0)
        if not self._loop.is_running() and not self._loop.is_closed():
            self._loop.close()

    async def _end(self, server: Server) -> None:
        await self._show()
        await asyncio.sleep(0.1)  # in which subscribers hear that Ready is off
        await server.stop()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.05)


@contextmanager
def collecting_nothing() -> Iterator[None]:
    """No garbage is looked for in the block."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class _OneUser(UserManager):
    """The user that the environment names."""

    def __init__(self, name: str, password: str) -> None:
        self._name, self._password = name, password

    def get_user(
        self, iserver: Any, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        given = [(username or "", self._name), (password or "", self._password)]
        right = [hmac.compare_digest(one.encode(), other.encode()) for one, other in given]
        return User(role=UserRole.User, name=self._name) if all(right) else None


def _users() -> _OneUser | None:
    name, password = (os.environ.get(f"EDGEAD_OPCUA_{what}", "").strip() for what in ("USER", "PASSWORD"))
    if bool(name) != bool(password):
        raise UsageError("set EDGEAD_OPCUA_USER and EDGEAD_OPCUA_PASSWORD together")
    if password and len(password) < 12:
        raise UsageError("EDGEAD_OPCUA_PASSWORD is too short to be safe: give it 12 characters or more")
    return _OneUser(name, password) if name else None


async def _folder(folders: dict[str, Any], index: int, path: str) -> Any:
    if path not in folders:
        above, _, name = path.rpartition(".")
        parent = await _folder(folders, index, above)
        folders[path] = await parent.add_object(_id(index, path), f"{index}:{name}")
    return folders[path]


def _id(index: int, path: str) -> Any:
    return ua.NodeId.from_string(f"ns={index};s={path}")


def _argument(name: str, kind: str) -> ua.Argument:
    return ua.Argument(Name=name, DataType=ua.NodeId(getattr(ObjectIds, kind)), ValueRank=-1)


def _number(recipe: str | None) -> int:
    """The number of a recipe's text; 0 for none, and one that is unknown for what is no number."""
    text = (recipe or "").strip()
    return (int(text) if text.isdecimal() and len(text) < 6 else 65536) if text else 0


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
