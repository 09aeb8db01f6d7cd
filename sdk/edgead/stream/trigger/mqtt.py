"""Fires by an MQTT message: its payload is the part's id, a JSON object {"part": "A-17"}, or empty.

A retained message is an old one and fires nothing; so does one that comes again (QoS 1) with the same packet.
"""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

import msgspec
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edgead.errors import UsageError
from edgead.stream.sinks.delivery import host_and_port, read_url
from edgead.stream.trigger.base import TriggerControl, TriggerSource

_EXAMPLE = "mqtt://broker.local/line/trigger"
_PORTS = {"mqtt": 1883, "mqtts": 8883}

_log = logging.getLogger(__name__)


class MqttTrigger(TriggerSource):
    """Subscribes to one topic with QoS 1, and again after each loss of the broker."""

    def __init__(self, url: str, *, user: str = "", ca: Path | None = None) -> None:
        """mqtt://HOST:PORT/TOPIC, mqtts:// for TLS, which verifies the broker by the system's certificates or `ca`.

        The user is `user`, the URL's or EDGEAD_MQTT_USER, the password the URL's or EDGEAD_MQTT_PASSWORD. Raises
        UsageError.
        """
        parts = read_url(url, _EXAMPLE)
        self._host, self._port = host_and_port(parts, _EXAMPLE, _PORTS[parts.scheme])
        self._topic = unquote(parts.path.lstrip("/"))
        if not self._topic:
            raise UsageError(f"the trigger 'mqtt' needs a topic, like {_EXAMPLE}")
        self._control: TriggerControl | None = None
        self._client = Client(CallbackAPIVersion.VERSION2)
        name = user or unquote(parts.username or "") or os.environ.get("EDGEAD_MQTT_USER", "")
        if name:
            password = unquote(parts.password or "") or os.environ.get("EDGEAD_MQTT_PASSWORD", "")
            self._client.username_pw_set(name, password or None)
        if parts.scheme == "mqtts":
            try:
                self._client.tls_set(ca_certs=str(ca) if ca else None)
            except (OSError, ValueError, ssl.SSLError) as error:
                raise UsageError(f"the trigger 'mqtt' cannot use its ca: {error}") from error
        self.trouble = "the broker is not reached yet"

    def start(self, control: TriggerControl) -> None:
        self._control = control
        client = self._client
        client.on_connect, client.on_disconnect, client.on_message = self._connected, self._lost, self._arrived
        client.connect_timeout = 5.0
        client.reconnect_delay_set(1, 10)
        client.connect_async(self._host, self._port, 15)
        client.loop_start()

    def _connected(self, client: Client, userdata: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            self.trouble = f"the broker refuses the connection ({code})"
            _log.error("no trigger from %s:%d: %s", self._host, self._port, self.trouble)
            return
        client.subscribe(self._topic, qos=1)
        self.trouble = ""

    def _lost(self, client: Client, userdata: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure and not self.trouble:
            _log.error("the broker %s:%d is gone: no trigger comes from it until it is back", self._host, self._port)
        self.trouble = "the broker is gone"

    def _arrived(self, client: Client, userdata: Any, message: Any) -> None:
        assert self._control is not None  # it was started
        if message.retain or message.dup:
            _log.warning("an old message on %s fired no trigger", message.topic)
            return
        try:
            self._control.fire(f"mqtt, {self._host}", _part(message.payload))
        except (ValueError, msgspec.MsgspecError) as error:  # a UsageError is a ValueError
            _log.error("a message on %s fired no trigger: %s", message.topic, error)

    def close(self) -> None:
        self._client.disconnect()
        leaving = Thread(target=self._client.loop_stop, daemon=True)  # it waits for as long as a broker hangs
        leaving.start()
        leaving.join(2.0)


class _Message(msgspec.Struct):
    part: str = ""


def _part(payload: bytes) -> str:
    text = payload.decode("utf-8").strip()
    return msgspec.json.decode(text, type=_Message).part if text.startswith("{") else text
