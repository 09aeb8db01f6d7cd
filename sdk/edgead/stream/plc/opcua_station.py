"""The controller's end of the handshake over OPC UA, for the simulator."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from asyncua import ua
from asyncua.sync import Client

from edgead.stream.plc.handshake import Inputs
from edgead.stream.plc.opcua_nodes import NAMESPACE, NODES, ROOT
from edgead.stream.plc.simulate import Link, Seen

_READ = ("ready", "busy", "done", "fault", "reject", "result", "fault_code", "beats")
_MORE = ("trigger_number", "part", "recipe", "refused")


class OpcUaStation(Link):
    """A station's OPC UA server; every method raises OSError where it is not reached."""

    def __init__(self, url: str, timeout: float = 1.0) -> None:
        """`url` is opc.tcp://HOST:PORT; a request may take `timeout` seconds."""
        self._url, self._timeout = url, timeout
        self._client: Client | None = None
        self._nodes: dict[str, Any] = {}

    def _connected(self) -> Client:
        if self._client is None:
            client = self._client = Client(self._url, timeout=self._timeout)
            client.connect()
            index = client.get_namespace_index(NAMESPACE)
            self._nodes = {node.key: client.get_node(f"ns={index};s={ROOT}.{node.path}") for node in NODES}
        return self._client

    def look(self) -> Seen:
        try:
            keys = (*_READ, *_MORE)
            found = self._connected().read_values([self._nodes[key] for key in keys])
        except Exception as error:  # asyncua raises its own, and those of asyncio and sockets
            self.close()
            raise OSError(f"{self._url} does not answer: {type(error).__name__} {error}") from error
        values = dict(zip(keys, found, strict=True))
        return Seen(
            ready=bool(values["ready"]),
            busy=bool(values["busy"]),
            done=bool(values["done"]),
            fault=bool(values["fault"]),
            reject=bool(values["reject"]),
            result=int(values["result"]),
            fault_code=int(values["fault_code"]),
            beats=int(values["beats"]),
            trigger=int(values["trigger_number"]),
            part=str(values["part"]),
            recipe=int(values["recipe"]),
            refused=int(values["refused"]),
        )

    def say(self, inputs: Inputs) -> None:
        part = "\x07" if inputs.bad_part else inputs.part
        values = {
            "trigger": ua.Variant(inputs.trigger, ua.VariantType.Boolean),
            "ack": ua.Variant(inputs.ack, ua.VariantType.Boolean),
            "reset": ua.Variant(inputs.reset, ua.VariantType.Boolean),
            "part_wanted": ua.Variant(part, ua.VariantType.String),
            "recipe_wanted": ua.Variant(inputs.recipe, ua.VariantType.UInt16),
        }
        try:
            client = self._connected()
            client.write_values([self._nodes[key] for key in values], list(values.values()))
        except Exception as error:
            self.close()
            raise OSError(f"{self._url} does not answer: {type(error).__name__} {error}") from error

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):  # of a connection that is gone already
                client.disconnect()
            if client.tloop.is_alive():
                client.tloop.stop()
