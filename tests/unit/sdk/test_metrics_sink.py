"""The metrics are read by Prometheus' own parser, and only by those who may."""

from __future__ import annotations

import dataclasses
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
import tiny
from programs import free_port
from prometheus_client.parser import text_string_to_metric_families

from edgead import Detector, Frame
from edgead.errors import UsageError
from edgead.stream.sinks import open_sink
from edgead.stream.sinks.exposition import BOUNDS_S, Histogram
from edgead.stream.sinks.metrics import Metrics
from edgead.stream.status import CONNECTED, LOST, CameraStatus, PipelineStatus
from edgead.web.address import read_address

STATUS = PipelineStatus(
    counts={"left": {"OK": 7, "NG": 2}, 'ri"g\\h\nt': {"OK": 1}},
    cameras={
        "left": CameraStatus("camera:0", CONNECTED),
        "right": CameraStatus("camera:1", LOST),
        "new": CameraStatus("camera:2"),
    },
    dropped=7,
    unreadable=1,
    reconnects=5,
    unwritten={"mqtt": 6},
    lost={"mqtt": {'it answered "400"': 2}},
    fps=29.5,
    engine="onnx",
    precision="int8",
    model="abc",
    threshold=1.25,
    uptime=100.5,
)


class Pipeline:
    def __init__(self, status: PipelineStatus) -> None:
        self.given = status

    def status(self) -> PipelineStatus:
        return self.given


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metrics]:
    monkeypatch.delenv("EDGEAD_TOKEN", raising=False)
    sink = open_sink("metrics:0")
    yield sink
    sink.close()
    sink.close()


def samples(text: str) -> dict[tuple[str, frozenset], float]:
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation and family.type != "unknown" for family in families)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def read(metrics: Metrics, path: str = "/metrics", **headers: str) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{metrics.port}{path}", headers=headers)
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return answer.read().decode()


def test_what_is_counted_from_results(metrics: Metrics, detector: Detector) -> None:
    for index, image in enumerate((tiny.good(), tiny.bad(), tiny.bad())):
        frame = Frame(image, index, camera="left")
        metrics.emit(frame, dataclasses.replace(detector.detect(frame), age=40.0 * index))
    found = samples(read(metrics))
    assert found["edgead_results_total", frozenset({("camera", "left"), ("verdict", "NG")})] == 2
    assert found["edgead_results_total", frozenset({("camera", "left"), ("verdict", "OK")})] == 1
    assert found["edgead_latency_seconds_count", frozenset()] == 3
    assert found["edgead_frame_age_seconds_count", frozenset()] == 2  # a file has no age
    assert found["edgead_frame_age_seconds_bucket", frozenset({("le", "0.05")})] == 1
    assert found["edgead_frame_age_seconds_bucket", frozenset({("le", "+Inf")})] == 2
    assert found["edgead_frame_age_seconds_sum", frozenset()] == pytest.approx(0.12)


def test_what_the_line_tells(metrics: Metrics) -> None:
    metrics.attach(Pipeline(STATUS))
    found = samples(read(metrics))
    assert found["edgead_results_total", frozenset({("camera", 'ri"g\\h\nt'), ("verdict", "OK")})] == 1
    assert found["edgead_camera_connected", frozenset({("camera", "left")})] == 1
    assert found["edgead_camera_connected", frozenset({("camera", "right")})] == 0
    assert found["edgead_camera_connected", frozenset({("camera", "new")})] == 0
    assert found["edgead_unwritten_results_total", frozenset({("sink", "mqtt")})] == 6
    assert found["edgead_lost_results_total", frozenset({("sink", "mqtt"), ("reason", 'it answered "400"')})] == 2
    about = {("engine", "onnx"), ("precision", "int8"), ("model", "abc"), ("bundle", STATUS.digest)}
    assert found["edgead_info", frozenset(about)] == 1
    for name, value in {
        "dropped_frames_total": 7,
        "unreadable_frames_total": 1,
        "reconnects_total": 5,
        "frames_per_second": 29.5,
        "threshold_factor": 1.25,
        "uptime_seconds": 100.5,
    }.items():
        assert found[f"edgead_{name}", frozenset()] == value


def test_odd_numbers_can_be_read(metrics: Metrics, detector: Detector) -> None:
    for score in (float("nan"), float("inf"), float("-inf")):
        metrics.emit(Frame(tiny.good()), dataclasses.replace(detector(tiny.good()), score=score))
        shown = samples(read(metrics))["edgead_score", frozenset({("camera", "")})]
        assert str(shown) == str(score)


def test_a_histogram_counts_as_a_plain_one_does() -> None:
    values = [0.0, 0.005, 0.0051, 0.3, 10.0, 11.0]
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    for index, bound in enumerate(BOUNDS_S):
        assert sum(histogram.counts[: index + 1]) == sum(value <= bound for value in values)
    assert sum(histogram.counts) == len(values)


def test_only_metrics_are_there_and_only_for_those_who_may(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        read(metrics, "/")
    monkeypatch.setenv("EDGEAD_TOKEN", "a token of some length")
    guarded = open_sink("metrics:0.0.0.0:0")
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "a token of some length"}):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            read(guarded, **headers)
    assert "edgead_results_total" in read(guarded, Authorization="Bearer a token of some length")
    guarded.close()


def test_a_foreign_name_gets_no_metrics(metrics: Metrics) -> None:
    for host in ("evil.example", "evil.example:80", "[::1", "10.0.0.9"):
        with pytest.raises(urllib.error.HTTPError, match="421"):
            read(metrics, Host=host)
    for host in ("localhost", f"127.0.0.1:{metrics.port}", "[::1]:80"):
        assert "edgead_results_total" in read(metrics, Host=host)
    named = open_sink("metrics:0?names=press-3.plant, press-3")
    assert "edgead_results_total" in read(named, Host="press-3.plant")
    named.close()


def test_silent_clients_keep_nobody_from_the_metrics(metrics: Metrics) -> None:
    silent = [socket.create_connection(("127.0.0.1", metrics.port)) for _ in range(60)]
    assert "edgead_results_total" in read(metrics)
    served = [thread for thread in threading.enumerate() if "process_request_thread" in thread.name]
    assert len(served) <= 17
    for one in silent:
        one.close()


@pytest.mark.parametrize(
    ("text", "token", "answer"),
    [
        (
            "0.0.0.0:8080",
            "",
            "like export EDGEAD_TOKEN=[^ ]{24} .*keep to this machine with web:8080",
        ),
        ("[::]:8080", "", "set a token first"),
        ("192.168.1.5:8080", "", "set a token first"),
        ("0.0.0.0:8080", "short", "too short to be safe"),
        ("8080", "short", "too short to be safe"),
        ("camera.local:8080", "", "listens at an IP address, like web:0.0.0.0:8080, not 'camera.local'"),
        ("port", "", "needs a port up to 65535, like web:8080, not 'port'"),
        ("70000", "", "needs a port"),
    ],
)
def test_an_address_that_will_not_do(text: str, token: str, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_TOKEN", token)
    with pytest.raises(UsageError, match=answer):
        read_address(text, "web")


@pytest.mark.parametrize(("text", "host"), [("80", "127.0.0.1"), ("[::1]:80", "::1"), ("localhost:80", "localhost")])
def test_loopback_needs_no_token(text: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEAD_TOKEN", raising=False)
    address = read_address(text, "web")
    assert (address.host, address.port, address.token, address.loopback) == (host, 80, "", True)


def test_a_port_that_is_taken_is_named(metrics: Metrics) -> None:
    with pytest.raises(UsageError, match=f"cannot listen at 127.0.0.1:{metrics.port}: Address already in use"):
        open_sink(f"metrics:{metrics.port}")
    open_sink(f"metrics:{free_port()}").close()
