"""Sparkplug B over a real broker: births, data and deaths, a broker that goes away, and a command."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from mqtt_listener import MqttListener
from programs import Broker, until
from sparkplug_schema import Payload, read

from edgead import Detector, Frame
from edgead.errors import UsageError
from edgead.stream.sinks import open_sink
from edgead.stream.sinks.base import Sink


class Host(MqttListener):
    """What listens in the plant, and says whether it does."""

    def __init__(self, port: int) -> None:
        super().__init__(port, "spBv1.0/Plant 1/#")

    def kinds(self) -> list[str]:
        return [one.topic.split("/")[2] for one in self.seen]

    def say(self, state: str, name: str = "SCADA") -> None:
        self.client.publish(f"spBv1.0/STATE/{name}", state, qos=1, retain=True).wait_for_publish(5)


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


ONLINE, OFFLINE = '{{"online": true, "timestamp": {}}}', '{{"online": false, "timestamp": {}}}'


def test_nothing_goes_out_until_the_primary_host_is_online(
    broker: Broker, host: Host, detector: Detector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host.say(OFFLINE.format(5))
    host.say(ONLINE.format(9), "another")
    spec = f"mqtt://127.0.0.1:{broker.port}/Plant%201?payload=sparkplug&queue={tmp_path}/queue&station=press"
    with open_sink(f"{spec}&primary_host=SCADA") as sink:
        until(sink._client.is_connected)
        emit(sink, detector, 0, 1)
        until(lambda: "has no host SCADA online; results wait on the disk" in caplog.text)
        for words in (ONLINE.format(4), "ONLINE", '{"online": "true", "timestamp": 9}', b"\xff", '{"online": true}'):
            host.say(words)
        time.sleep(0.3)
        assert host.kinds() == []
        host.say(ONLINE.format(5))
        until(lambda: host.kinds() == ["NBIRTH", "DBIRTH", "DDATA", "DDATA"])
        until(lambda: "takes results again" in caplog.text)

        host.say(OFFLINE.format(4))  # of a session before
        emit(sink, detector, 2)
        until(lambda: host.kinds()[4:] == ["DDATA"])
        host.say(OFFLINE.format(6))
        until(lambda: host.kinds()[5:] == ["NDEATH"])
        emit(sink, detector, 3)
        time.sleep(0.3)
        assert host.kinds()[5:] == ["NDEATH"]
        host.say(ONLINE.format(7))
        until(lambda: host.kinds()[6:] == ["NBIRTH", "DBIRTH", "DDATA"])
        data = [read(one.payload) for one in host.seen if "/DDATA/" in one.topic]
        frames = [(values["Result/Frame"], bool(historical)) for _, values, historical in data]
        assert frames == [(0, True), (1, True), (2, False), (3, True)]
        births = [read(one.payload)[1]["bdSeq"] for one in host.seen if "/NBIRTH/" in one.topic]
        deaths = [read(one.payload)[1]["bdSeq"] for one in host.seen if "/NDEATH/" in one.topic]
        assert deaths == births[:1]
        assert births[1] > births[0]


def test_a_primary_host_that_returns_with_the_broker_is_waited_for(
    broker: Broker, host: Host, detector: Detector, tmp_path: Path
) -> None:
    host.say(ONLINE.format(1))
    spec = f"mqtt://127.0.0.1:{broker.port}/Plant%201?payload=sparkplug&queue={tmp_path}/queue&station=press"
    with open_sink(f"{spec}&primary_host=SCADA") as sink:
        until(lambda: host.kinds() == ["NBIRTH"])
        broker.stop()  # and with it what it has retained
        host.subscribed = False
        broker.start()
        until(lambda: host.subscribed and sink._client.is_connected(), 30)
        emit(sink, detector, 0)
        time.sleep(0.3)
        assert host.kinds() == ["NBIRTH"]
        host.say(ONLINE.format(1))  # the same session
        until(lambda: host.kinds()[1:] == ["NBIRTH", "DBIRTH", "DDATA"], 30)


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ("primary_host=SCADA", "only with payload=sparkplug"),
        ("payload=sparkplug&primary_host=a/b", "the host's id alone, like SCADA"),
    ],
)
def test_a_host_that_cannot_be_waited_for_is_refused(options: str, answer: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=answer):
        open_sink(f"mqtt://127.0.0.1:1/Plant?queue={tmp_path}&{options}")
