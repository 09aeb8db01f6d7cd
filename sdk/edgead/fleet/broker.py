"""Reads the states that stations leave at an MQTT broker: `online`, or `offline` by the broker once a line is gone."""

from __future__ import annotations

import os
import re
import threading
from typing import Any
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from edgead.errors import EdgeadError, UsageError

WAIT_S = 5.0
QUIET_S = 0.5  # without another retained message, all of them have come


def read_states(url: str) -> dict[str, str]:
    """The retained states by station, of `mqtt://[USER@]HOST[:PORT]/TOPIC`, where TOPIC has a + for the station.

    The password is EDGEAD_MQTT_PASSWORD. Raises UsageError for an address that is none, EdgeadError where the broker
    does not answer.
    """
    parts = urlsplit(url)
    topic = unquote(parts.path.lstrip("/")) or "edgead/+/status"
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or topic.count("+") != 1:
        raise UsageError(f"'{url}' is no broker: write mqtt://HOST/edgead/+/status, + for the station")
    client = Client(CallbackAPIVersion.VERSION2)
    user = parts.username or os.environ.get("EDGEAD_MQTT_USER", "")
    if user:
        client.username_pw_set(user, os.environ.get("EDGEAD_MQTT_PASSWORD"))
    if parts.scheme == "mqtts":
        client.tls_set()
    station = re.compile(re.escape(topic).replace(r"\+", "([^/]+)"))
    found: dict[str, str] = {}
    refused: list[str] = []
    came = threading.Event()

    def connected(client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            refused.append(str(reason))
            came.set()
        else:
            client.subscribe(topic, qos=1)

    def received(_client: Client, _data: Any, message: Any) -> None:
        match = station.fullmatch(message.topic)
        if match is not None:
            found[match[1]] = message.payload.decode("utf-8", "replace")
            came.set()

    client.on_connect, client.on_message = connected, received
    client.on_subscribe = lambda *_: came.set()
    try:
        client.connect(parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883))
    except OSError as error:
        raise EdgeadError(f"the broker at {parts.hostname} does not answer: {error}") from error
    client.loop_start()
    try:
        if not came.wait(WAIT_S):
            raise EdgeadError(f"the broker at {parts.hostname} does not answer within {WAIT_S:.0f} s")
        while came.is_set():
            came.clear()
            came.wait(QUIET_S)
    finally:
        client.disconnect()
        client.loop_stop()
    if refused:
        raise EdgeadError(f"the broker at {parts.hostname} refuses: {refused[0]}")
    return found
