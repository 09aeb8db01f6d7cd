"""Publishes results to an MQTT broker (paho-mqtt, protocol 3.1.1, QoS 1), through a queue on the disk.

What is promised: every result that `emit` took arrives at the broker at least once, in order, however long the broker
is away and whether or not the program is restarted meanwhile; see `disk_queue` for power cuts and for the limit at
which results are refused rather than taken. "Arrives" means that the broker has acknowledged it: a broker whose rules
forbid the topic acknowledges too, and drops it. `sequence` in a message rises by one and tells a repeated one.

A retained message on the status topic says `online`, or `offline` by the broker itself once the line is gone.

With `payload=sparkplug` the messages are Sparkplug B's, and so is the promise: they go out once, at QoS 0, in order;
results that waited while the broker, or the primary host, was away are marked historical.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any
from urllib.parse import unquote

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from edgead.errors import UsageError, nearest
from edgead.result import Result
from edgead.stream.sinks.base import Sink
from edgead.stream.sinks.dead_letters import DeadLetters
from edgead.stream.sinks.delivery import DeliveryWorker, host_and_port, message, queue_folder, read_url
from edgead.stream.sinks.disk_queue import DiskQueue, Record
from edgead.stream.sinks.options import Size, Verdicts, checked
from edgead.stream.sinks.sparkplug import PrimaryHost, SparkplugNode, asks_for_rebirth
from edgead.stream.sinks.topics import checked_topic, fill, status_topic
from edgead.types import Frame, Verdict

PAYLOADS = ("json", "sparkplug")
_EXAMPLE = "mqtt://broker.local/edgead/{camera}"
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_IN_FLIGHT = 20  # messages sent before the first of them is acknowledged
_WAIT_S = 0.5
_LONGEST_RECONNECT_S = 15

_log = logging.getLogger(__name__)


class Mqtt(Sink):
    """Publishes one JSON message a result. `emit` writes to the disk and never waits for the broker."""

    needs_pixels = False

    def __init__(
        self,
        url: str,
        *,
        verdicts: Verdicts = frozenset(Verdict),
        station: str = "",
        status: str = "",
        user: str = "",
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        queue: Path | None = None,
        limit: Size = 256 * 10**6,
        sync: float = 1.0,
        keepalive: int = 30,
        dead: Size = 16 * 10**6,
        payload: str = "json",
        primary_host: str = "",
    ) -> None:
        """Begin to connect to mqtt://HOST:PORT/TOPIC, or mqtts:// for TLS, which verifies the broker.

        The topic may hold {station}, {camera} and {verdict}; `station` is the machine's name unless given. `status`
        is the topic of online and offline, else the topic's fixed beginning and /status. The user is `user`, the
        URL's or EDGEAD_MQTT_USER, the password the URL's or EDGEAD_MQTT_PASSWORD. `ca` is a file of certificates to
        trust instead of the system's, `cert` and `key` are this client's own. `queue` is the folder where results
        wait, of at most `limit` bytes; `sync` is the promise's seconds about the disk; `keepalive` the seconds
        between two signs of life; `dead` the bytes of what is given up that are kept. `payload` is json, or sparkplug:
        then the topic is the group's name, the station the node, each camera a device, and data wait for as long as
        the host application `primary_host`, where one is given, is not online. Raises UsageError, DataError.
        """
        parts = read_url(url, _EXAMPLE)
        host, port = host_and_port(parts, _EXAMPLE, _PORTS[parts.scheme])
        checked("the sink 'mqtt': keepalive", keepalive, 1, 65535)
        checked("the sink 'mqtt': sync", sync, 0, 3600)
        self._station = station or socket.gethostname()
        self._topic = checked_topic(unquote(parts.path.lstrip("/")) or "edgead/{station}/{camera}")
        self._node = _sparkplug(payload, self._topic, self._station)
        self._host = _primary_host(primary_host, payload)
        self._status = status or status_topic(self._topic, self._station)
        self._verdicts = verdicts
        self._name = f"the broker {host}:{port}"
        folder = queue_folder(queue, f"{parts.scheme}://{host}:{port}/{self._topic}")
        self._client = _Client(CallbackAPIVersion.VERSION2, client_id=_client_id(folder))
        name = user or unquote(parts.username or "") or os.environ.get("EDGEAD_MQTT_USER", "")
        if name:
            password = unquote(parts.password or "") or os.environ.get("EDGEAD_MQTT_PASSWORD", "")
            self._client.username_pw_set(_text(name, "user"), _text(password, "password") or None)
        if parts.scheme == "mqtts":
            self._trust(ca, cert, key)
        self._connected, self._acknowledged = Event(), SimpleQueue[int]()
        self._anew = False  # what went out at QoS 0 with the last connection is not sent again by paho
        self._live = 0  # the first record that is no older than the connection
        self._flight: dict[int, int] = {}  # message id of the protocol -> number in the queue
        self._arrived: set[int] = set()
        self._unreachable = "cannot be reached" + (" or is not trusted" if parts.scheme == "mqtts" else "")
        self._trouble = ""
        self._queue = DiskQueue(folder, limit, sync)
        letters = DeadLetters(folder, dead)
        self._worker = DeliveryWorker(self._queue, letters, self._deliver, self._name, _WAIT_S, batch=_IN_FLIGHT)
        self._connect(host, port, keepalive)

    def emit(self, frame: Frame, result: Result) -> None:
        if not result.is_any(self._verdicts):
            return
        values = {"station": self._station, "camera": result.camera or "camera", "verdict": result.verdict.value}
        payload = message(self._queue.next, self._station, result)
        topic = fill("{camera}" if self._node else self._topic, values)
        self._queue.append(topic.encode() + b"\0" + payload)

    def close(self) -> None:
        """Give what waits a little time to arrive, say offline and leave."""
        self._worker.close(drain_s=2.0 if self._connected.is_set() else 0.0)
        if self._connected.is_set():
            if self._node:
                self._client.publish(*self._node.death())
            else:
                self._client.publish(self._status, "offline", qos=1, retain=True)
        self._client.disconnect()
        leaving = Thread(target=self._client.loop_stop, daemon=True)  # it waits for as long as a broker hangs
        leaving.start()
        leaving.join(2.0)

    def lost(self) -> dict[str, int]:
        return self._worker.lost()

    def _trust(self, ca: Path | None, cert: Path | None, key: Path | None) -> None:
        files = {name: str(path) if path else None for name, path in (("ca", ca), ("cert", cert), ("key", key))}
        try:
            self._client.tls_set(ca_certs=files["ca"], certfile=files["cert"], keyfile=files["key"])
        except (OSError, ValueError, ssl.SSLError) as error:
            raise UsageError(f"the sink 'mqtt' cannot use its ca, cert or key: {error}") from error

    def _connect(self, host: str, port: int, keepalive: int) -> None:
        client = self._client
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail, client.on_publish = self._on_connect_fail, self._on_publish
        client.will_set(self._status, "offline", qos=1, retain=True)
        if self._node:
            client.on_pre_connect, client.on_message = self._on_pre_connect, self._on_message
        client.connect_timeout = 5.0
        client.reconnect_delay_set(1, _LONGEST_RECONNECT_S)
        client.connect_async(host, port, keepalive)
        client.loop_start()

    def _deliver(self, records: Sequence[Record]) -> int:
        if not self._connected.wait(_WAIT_S):  # paho connects again by itself
            if self._host is not None and self._client.is_connected():
                self._report(f"has no host {self._host.name} online")
            return 0
        if self._anew:
            self._anew = False
            self._flight.clear()
        known = {*self._flight.values(), *self._arrived}
        for record in records:  # those that paho has it sends again by itself when the broker is back
            if record.number not in known:
                sent = self._publish(record)
                if sent is None or sent.rc in (MQTTErrorCode.MQTT_ERR_QUEUE_SIZE, MQTTErrorCode.MQTT_ERR_NO_CONN):
                    break
                self._flight[sent.mid] = record.number
        self._take_acknowledged()
        count = 0
        while count < len(records) and records[count].number in self._arrived:
            self._arrived.remove(records[count].number)
            count += 1
        return count

    def _publish(self, record: Record) -> MQTTMessageInfo | None:
        """Hand a record to paho; None where the node has died meanwhile."""
        topic, _, payload = record.data.partition(b"\0")
        if self._node is None:
            return self._client.publish(topic.decode(), payload, qos=1)
        said = json.loads(payload)
        with self._node.lock:
            if not self._connected.is_set():
                return None
            for message in self._node.data(topic.decode(), said, historical=record.number < self._live):
                sent = self._client.publish(*message)
        return sent

    def _take_acknowledged(self) -> None:
        """Note what the broker has acknowledged, waiting for the first of it."""
        try:
            mid = self._acknowledged.get(timeout=_WAIT_S)
            while True:
                if (number := self._flight.pop(mid, None)) is not None:
                    self._arrived.add(number)
                mid = self._acknowledged.get_nowait()
        except Empty:
            return

    def _report(self, trouble: str) -> None:
        if trouble != self._trouble:
            _log.error("%s %s; results wait on the disk", self._name, trouble)
        self._trouble = trouble

    # Called by paho's thread. It holds its locks meanwhile: note and return.

    def _on_connect(self, client: Client, userdata: Any, flags: Any, code: Any, properties: Any) -> None:
        if code.is_failure:
            self._report(f"refuses the connection ({code})")
            return
        if self._node:
            client.subscribe(self._node.commands, qos=1)
        else:
            client.publish(self._status, "online", qos=0, retain=True)
        if self._host is None:
            self._begin()
        else:  # what it said last is retained, and comes now
            self._host.online = False
            client.subscribe(self._host.topic, qos=1)

    def _begin(self) -> None:
        """Let results go out."""
        if self._node:
            self._live = self._queue.next
            self._anew = True
            self._be_born()
        self._connected.set()
        if self._trouble:
            _log.warning("%s takes results again", self._name)
        self._trouble = ""

    def _on_pre_connect(self, client: Client, userdata: Any) -> None:
        if self._node:
            client.will_set(*self._node.begin(), qos=1)

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        if self._host is not None and message.topic == self._host.topic:
            if self._host.hear(bytes(message.payload)):
                self._follow(self._host)
        elif self._connected.is_set() and asks_for_rebirth(bytes(message.payload)):
            self._be_born()

    def _follow(self, host: PrimaryHost) -> None:
        """Begin once the host is online; die and connect anew, to wait for it, once it no longer is."""
        if host.online and not self._connected.is_set():
            self._begin()
        elif not host.online and self._connected.is_set() and self._node:
            self._connected.clear()
            with self._node.lock:
                self._client.publish(*self._node.death())
            self._client.leave_for_a_moment()

    def _be_born(self) -> None:
        if self._node:
            with self._node.lock:
                self._client.publish(*self._node.birth())

    def _on_disconnect(self, client: Client, userdata: Any, flags: Any, code: Any, properties: Any) -> None:
        if self._connected.is_set() and code.is_failure:
            self._report("is gone")
        self._connected.clear()

    def _on_connect_fail(self, client: Client, userdata: Any) -> None:
        self._report(self._unreachable)

    def _on_publish(self, client: Client, userdata: Any, mid: int, code: Any, properties: Any) -> None:
        self._acknowledged.put(mid)


class _Client(Client):
    """paho's client, whose thread goes on whatever it meets."""

    _comes_back = False

    def leave_for_a_moment(self) -> None:
        """Disconnect, as a client does that means to, and connect again."""
        self._comes_back = True
        self.disconnect()

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        while True:
            try:
                code = super().loop_forever(timeout, retry_first_connection)
                if not self._comes_back:
                    return code
                self._comes_back = False
                self.connect_async(self.host, self.port, self.keepalive)
            except Exception as error:  # of a library or of a name that cannot be looked up
                _log.error(
                    "the connection to the broker failed: %s: %s; it is tried again", type(error).__name__, error
                )
                time.sleep(1.0)


def _text(word: str, what: str) -> str:
    """A word as the protocol can carry it; raises UsageError."""
    try:
        word.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the {what} for the broker is no UTF-8: set it again") from None
    return word


def _sparkplug(payload: str, group: str, station: str) -> SparkplugNode | None:
    """The node whose messages are sent; None for JSON. Raises UsageError."""
    if payload not in PAYLOADS:
        raise UsageError(f"the sink 'mqtt' has no payload '{payload}': {nearest(payload, PAYLOADS)}")
    if payload == "json":
        return None
    if not re.fullmatch(r"[^/{}]+", group):
        raise UsageError(
            f"Sparkplug B has topics of its own: '{group}' must be a group's name alone, like "
            "mqtt://broker.local/Plant1?payload=sparkplug"
        )
    return SparkplugNode(group, fill("{station}", {"station": station}))


def _primary_host(name: str, payload: str) -> PrimaryHost | None:
    """The host application that is waited for; None where none is. Raises UsageError."""
    if not name:
        return None
    if payload != "sparkplug":
        raise UsageError("the sink 'mqtt' has a primary_host only with payload=sparkplug")
    if re.search(r"[/+#\0]", name):
        raise UsageError(f"the primary_host '{name}' holds a sign of topics: give the host's id alone, like SCADA")
    return PrimaryHost(name)


def _client_id(folder: Path) -> str:
    """The same at each start, so that the broker takes a new connection for the end of the old one."""
    return "edgead-" + hashlib.sha256(f"{socket.gethostname()} {folder.absolute()}".encode()).hexdigest()[:16]
