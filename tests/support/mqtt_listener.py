"""What listens at a real broker: every message that comes, in order."""

from __future__ import annotations

from typing import NamedTuple

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from programs import until


class Message(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool


class MqttListener:
    """A client that subscribes to `topics`, also anew after the broker was away, and remembers what it has `seen`."""

    def __init__(self, port: int, topics: str = "#", user: tuple[str, str] | None = None) -> None:
        """Return when the broker has taken the subscription."""
        self.seen: list[Message] = []
        self.subscribed = False
        self.client = Client(CallbackAPIVersion.VERSION2)
        if user:
            self.client.username_pw_set(*user)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe(topics, qos=1)
        self.client.on_message = lambda client, data, m: self.seen.append(Message(m.topic, m.payload, m.qos, m.retain))
        self.client.on_subscribe = self._on_subscribe
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        until(lambda: self.subscribed)

    def _on_subscribe(self, *_: object) -> None:
        self.subscribed = True

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()
