"""Sparkplug B over a real broker: births, data and deaths, a broker that goes away, and a command."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from programs import Broker, until
from sparkplug_schema import Payload, read

from edgead import Detector, Frame
from edgead.stream.sinks import open_sink
from edgead.stream.sinks.base import Sink


class Host:
    """What listens in the plant."""

    def __init__(self, port: int) -> None:
        self.seen: list[tuple[str, bytes, int, bool]] = []
        self.client = Client(CallbackAPIVersion.VERSION2)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe("spBv1.0/#", qos=1)
        self.client.on_message = lambda client, data, m: self.seen.append((m.topic, m.payload, m.qos, m.retain))
        self.subscribed = False
        self.client.on_subscribe = self._on_subscribe
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        until(lambda: self.subscribed)

    def _on_subscribe(self, *_: object) -> None:
        self.subscribed = True

    def kinds(self) -> list[str]:
        return [topic.split("/")[2] for topic, *_ in self.seen]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture
def host(broker: Broker) -> Iterator[Host]:
    host = Host(broker.port)
    yield host
    host.close()


@pytest.fixture
def sink(broker: Broker, host: Host, tmp_path: Path) -> Iterator[Sink]:
    spec = f"mqtt://127.0.0.1:{broker.port}/Plant%201?payload=sparkplug&queue={tmp_path}/queue&station=press/1"
    sink = open_sink(spec)
    yield sink
    sink.close()


def emit(sink: Sink, detector: Detector, *indices: int) -> None:
    for index in indices:
        frame = Frame(tiny.bad() if index % 2 else tiny.good(), index, f"{index}", 1.7e9 + index, camera="left")
        sink.emit(frame, detector.detect(frame))


def test_a_life(sink: Sink, host: Host, detector: Detector) -> None:
    until(lambda: host.kinds() == ["NBIRTH"])
    emit(sink, detector, 0, 1, 2)
    until(lambda: len(host.seen) == 5)
    assert [topic for topic, *_ in host.seen] == [
        "spBv1.0/Plant 1/NBIRTH/press_1",
        "spBv1.0/Plant 1/DBIRTH/press_1/left",
        *["spBv1.0/Plant 1/DDATA/press_1/left"] * 3,
    ]
    payloads = [read(raw) for _, raw, *_ in host.seen]
    assert [seq for seq, *_ in payloads] == [0, 1, 2, 3, 4]
    assert [values["Result/Verdict"] for _, values, _ in payloads[2:]] == ["OK", "NG", "OK"]
    assert {(qos, retain) for _, _, qos, retain in host.seen} == {(0, False)}

    command = Payload()
    command.metrics.add(name="Node Control/Rebirth", datatype=11, boolean_value=True)
    host.client.publish("spBv1.0/Plant 1/NCMD/press_1", command.SerializeToString())
    until(lambda: host.kinds().count("NBIRTH") == 2)
    emit(sink, detector, 3)
    until(lambda: host.kinds()[-2:] == ["DBIRTH", "DDATA"])

    sink.close()
    until(lambda: host.kinds()[-1] == "NDEATH")
    assert read(host.seen[-1][1])[1] == {"bdSeq": payloads[0][1]["bdSeq"]}


def test_a_lost_connection_is_a_death_and_another_birth(sink: Sink, host: Host, detector: Detector) -> None:
    until(lambda: host.kinds() == ["NBIRTH"])
    sink._client.socket().shutdown(socket.SHUT_RDWR)
    until(lambda: host.kinds()[1:] in (["NDEATH", "NBIRTH"], ["NBIRTH", "NDEATH"]))
    numbers = {topic.split("/")[2]: read(raw)[1]["bdSeq"] for topic, raw, *_ in host.seen[1:]}
    assert numbers == {"NDEATH": 0, "NBIRTH": 1}


def test_what_waited_is_historical(sink: Sink, host: Host, broker: Broker, detector: Detector) -> None:
    until(lambda: host.kinds() == ["NBIRTH"])
    sink._client.reconnect_delay_set(4, 4)  # the host is back before it
    broker.stop()
    emit(sink, detector, 0, 1)
    host.subscribed = False
    broker.start()
    until(lambda: host.subscribed, 30)
    until(lambda: host.kinds().count("DDATA") == 2, 30)
    emit(sink, detector, 2)
    until(lambda: host.kinds().count("DDATA") == 3)
    data = [read(raw) for topic, raw, *_ in host.seen if "/DDATA/" in topic]
    frames = [(values["Result/Frame"], bool(historical)) for _, values, historical in data]
    assert frames == [(0, True), (1, True), (2, False)]
