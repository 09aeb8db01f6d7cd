"""Results reach a real broker: at least once, in order, whatever becomes of the broker or of the program."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from mqtt_listener import MqttListener
from programs import Broker, free_port, until

from edgead import Detector, Frame
from edgead.errors import UsageError
from edgead.stream.sinks import open_sink
from edgead.stream.sinks.base import Sink


class Listener(MqttListener):
    """Hears all that a broker has."""

    def numbers(self) -> list[int]:
        return [json.loads(one.payload)["sequence"] for one in self.seen if not one.topic.endswith("status")]

    def states(self) -> list[str]:
        return [one.payload.decode() for one in self.seen if one.topic.endswith("status")]


@pytest.fixture
def listener(broker: Broker) -> Iterator[Listener]:
    listener = Listener(broker.port)
    yield listener
    listener.close()


def connect(port: int, tmp_path: Path, options: str = "", topic: str = "line/{camera}/{verdict}") -> Sink:
    return open_sink(f"mqtt://127.0.0.1:{port}/{topic}?queue={tmp_path}/queue&station=press%201{options}")


def emit(sink: Sink, detector: Detector, *indices: int, camera: str = "left") -> None:
    for index in indices:
        frame = Frame(tiny.bad() if index % 2 else tiny.good(), index, f"{index}", camera=camera)
        sink.emit(frame, detector.detect(frame))


def test_results_arrive_under_their_topics(
    broker: Broker, listener: Listener, detector: Detector, tmp_path: Path
) -> None:
    sink = connect(broker.port, tmp_path)
    emit(sink, detector, 0, 1)
    emit(sink, detector, 2, camera="a/b#")
    until(lambda: len(listener.numbers()) == 3)
    topics = [topic for topic, *_ in listener.seen if not topic.endswith("status")]
    assert topics == ["line/left/OK", "line/left/NG", "line/a_b_/OK"]
    message = json.loads(listener.seen[-1].payload)
    assert (message["sequence"], message["station"], message["index"], message["verdict"]) == (3, "press 1", 2, "OK")
    sink.close()
    sink.close()
    until(lambda: listener.states()[-1] == "offline")
    assert listener.states()[0] == "online"
    late = Listener(broker.port)
    until(lambda: late.seen)
    assert [(one.topic, one.payload, one.retain) for one in late.seen] == [("line/status", b"offline", True)]
    late.close()


@pytest.mark.parametrize("seconds", [0, pytest.param(60, marks=pytest.mark.slow)])
def test_the_broker_is_away_for_a_while(
    broker: Broker, detector: Detector, tmp_path: Path, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    caplog.set_level(logging.WARNING)
    listener = Listener(broker.port)
    sink = connect(broker.port, tmp_path)
    emit(sink, detector, *range(5))
    until(lambda: len(listener.numbers()) == 5)
    broker.stop()
    emit(sink, detector, *range(5, 60))
    until(lambda: "results wait on the disk" in caplog.text)
    time.sleep(seconds)
    listener.close()
    broker.start()
    listener = Listener(broker.port)
    until(lambda: len(set(listener.numbers())) == 55, 60)
    assert list(dict.fromkeys(listener.numbers())) == list(range(6, 61))
    emit(sink, detector, 60)
    until(lambda: listener.numbers()[-1] == 61)
    said = [record.message.partition(str(broker.port))[2] for record in caplog.records]
    assert said == [" is gone; results wait on the disk", *said[1:-1], " takes results again"]
    assert said[1:-1] in ([], [" cannot be reached; results wait on the disk"])
    sink.close()
    listener.close()


def test_a_broker_that_hangs_keeps_nobody_waiting(
    broker: Broker, listener: Listener, detector: Detector, tmp_path: Path
) -> None:
    sink = connect(broker.port, tmp_path)
    emit(sink, detector, 0)
    until(lambda: listener.numbers() == [1])
    broker.freeze()
    emit(sink, detector, *range(1, 50))  # more than may be in flight
    broker.thaw()
    until(lambda: len(set(listener.numbers())) == 50)
    assert list(dict.fromkeys(listener.numbers())) == list(range(1, 51))
    sink.close()


def test_a_restart_while_the_broker_is_away_loses_nothing(
    broker: Broker, detector: Detector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker.stop()
    for start in (0, 3):
        sink = connect(broker.port, tmp_path)
        emit(sink, detector, *range(start, start + 3))
        sink.close()
    assert "6 results for the broker" in caplog.text
    broker.start()
    listener = Listener(broker.port)
    sink = connect(broker.port, tmp_path)
    until(lambda: len(listener.numbers()) == 6)
    assert listener.numbers() == [1, 2, 3, 4, 5, 6]
    sink.close()
    listener.close()


def test_a_line_that_dies_is_offline(broker: Broker, listener: Listener, tmp_path: Path) -> None:
    sink = connect(broker.port, tmp_path)
    until(lambda: listener.states() == ["online"])
    sink._client._sock_close()  # as when the program is killed: no word of parting
    until(lambda: "offline" in listener.states())
    until(lambda: listener.states()[-1] == "online")  # and it comes back by itself
    sink.close()


def test_user_and_password(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(tmp_path, user=("line", "s3cret/word"))
    listener = Listener(broker.port, user=("line", "s3cret/word"))
    monkeypatch.setenv("EDGEAD_MQTT_PASSWORD", "wrong-word")
    wrong = connect(broker.port, tmp_path, "&user=line")
    until(lambda: "refuses the connection (Not authorized)" in caplog.text)
    wrong.close()
    right = open_sink(f"mqtt://line:s3cret%2Fword@127.0.0.1:{broker.port}/line?queue={tmp_path}/queue")
    emit(right, detector, 0)
    until(lambda: listener.numbers() == [1])
    right.close()
    listener.close()
    broker.stop()
    assert "wrong-word" not in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning")  # paho leaves it to the garbage collector
def test_the_brokers_certificate_is_verified(
    detector: Detector, tmp_path: Path, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Broker(tmp_path, tls=True)
    request.addfinalizer(broker.stop)
    url = f"mqtts://localhost:{broker.port}/line?queue={tmp_path}/queue"
    stranger = open_sink(url)
    until(lambda: "cannot be reached or is not trusted" in caplog.text)
    emit(stranger, detector, 0)
    stranger.close()
    known = open_sink(f"{url}&ca={broker.cert}")
    until(lambda: len(known._queue) == 0)
    known.close()


@pytest.mark.parametrize(
    ("spec", "answer"),
    [
        ("mqtt:", "needs a place"),
        ("mqtt:///topic", "needs a host"),
        ("mqtt://h:99999/t", "no number up to 65535"),
        ("mqtt://h/a/{camra}", "unknown field {camra}: did you mean 'camera'"),
        ("mqtt://h/a/+/b", "holds a wildcard"),
        ("mqtts://h/a?ca=/absent.pem", "cannot use its ca, cert or key"),
        ("mqtt://h/a?qos=0", "no option 'qos'"),
        ("mqtt://a..b/t", "cannot reach a host called 'a..b'"),
        ("mqtt://[::1/t", "cannot be read"),
        ("mqtt://h/a?keepalive=-1", "keepalive must be from 1 to 65535"),
        (f"mqtt://h/{'a' * 40000}", "more than 30000 bytes"),
    ],
)
def test_what_cannot_be_meant_is_answered(spec: str, answer: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=answer):
        open_sink(spec + ("" if "?" in spec or spec == "mqtt:" else f"?queue={tmp_path}"))


@pytest.mark.parametrize(
    ("topic", "status"),
    [
        ("a/b", "a/b/status"),
        ("{station}/{camera}", "press_1/status"),
        ("a/x{verdict}/b", "a/status"),
        ("", "edgead/press_1/status"),
    ],
)
def test_where_the_status_stands(tmp_path: Path, topic: str, status: str) -> None:
    sink = connect(free_port(), tmp_path, topic=topic)
    assert sink._status == status
    sink.close()
