"""Many stations at a glance: from their own metrics and from the broker, and what is shown of those that are silent."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from paho.mqtt import publish
from programs import Broker, free_port

from edgead.errors import EdgeadError, UsageError
from edgead.exposition import parse, total
from edgead.fleet.broker import read_states
from edgead.fleet.stations import StationView, parse_places, read_stations, view_of, with_states
from edgead.stream.sinks.exposition import Tally
from edgead.stream.sinks.metrics import Metrics
from edgead.stream.status import CameraStatus, PipelineStatus

STATUS = PipelineStatus(
    cameras={"top": CameraStatus("rtsp://x", "connected"), "side": CameraStatus("csi", "lost", drift="it has drifted")},
    counts={"top": {"OK": 90, "NG": 5, "LATE": 1, "INVALID": 4}, "side": {}},
    lost={"mqtt": {"full": 3}},
    engine="onnx",
    precision="int8",
    model='bot"tle',
    digest="abcdef012345",
    uptime=3600.0,
)
EXAMPLES = Path(__file__).parents[3] / "examples/fleet"


class Line:
    def __init__(self, status: PipelineStatus) -> None:
        self._status = status

    def status(self) -> PipelineStatus:
        return self._status


@pytest.fixture
def station() -> Iterator[Metrics]:
    with Metrics("0") as metrics:
        metrics.attach(Line(STATUS))  # type: ignore[arg-type]
        yield metrics


def test_a_station_is_shown_as_its_metrics_have_it(station: Metrics) -> None:
    (view,) = read_stations({"left": f"http://127.0.0.1:{station.port}/metrics"})
    assert (view.state, view.bundle, view.model, view.engine) == ("up", "abcdef012345", 'bot"tle', "onnx int8")
    assert (view.results, round(view.rejects, 9), view.invalid) == (100, 0.06, 0.04)
    assert view.disk_free is not None
    assert 0 < view.disk_free <= 1
    issues = "; ".join(view.issues)
    assert "camera side is lost" in issues
    assert "camera side: good parts have drifted" in issues
    assert "3 results lost by mqtt" in issues


def test_what_does_not_answer_is_shown_too(station: Metrics) -> None:
    places = {"gone": f"http://127.0.0.1:{free_port()}/metrics", "up": f"http://127.0.0.1:{station.port}/metrics",
              "wrong": f"http://127.0.0.1:{station.port}/other"}  # fmt: skip
    views = read_stations(places)
    assert [(view.name, view.state) for view in views] == [
        ("gone", "does not answer"), ("up", "up"), ("wrong", "does not answer")]  # fmt: skip
    assert "answers 404" in views[2].issues[0]


def test_a_disk_that_fills_is_said() -> None:
    samples = parse('edgead_info{engine="onnx"} 1\nedgead_disk_free_ratio 0.03\n')
    assert view_of("x", samples, 0.0).issues == ("3% of the disk are free",)


def test_places() -> None:
    assert parse_places(["left=10.0.0.5", "10.0.0.6:99", "https://host/m"]) == {
        "left": "http://10.0.0.5:9108/metrics",
        "10.0.0.6:99": "http://10.0.0.6:99/metrics",
        "host:9108": "https://host:9108/m",
    }
    for wrong in (["a=1.1.1.1", "a=2.2.2.2"], ["ftp://host"], ["host:port"], [""]):
        with pytest.raises(UsageError):
            parse_places(wrong)


def test_states_of_a_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(tmp_path, user=("fleet", "secret"))
    try:
        monkeypatch.setenv("EDGEAD_MQTT_PASSWORD", "secret")
        url = f"mqtt://fleet@127.0.0.1:{broker.port}/plant/+/status"
        assert read_states(url) == {}
        for name, state in (("left", "online"), ("right", "offline")):
            publish.single(f"plant/{name}/status", state, qos=1, retain=True, port=broker.port, hostname="127.0.0.1",
                           auth={"username": "fleet", "password": "secret"})  # fmt: skip
        assert read_states(url) == {"left": "online", "right": "offline"}
        monkeypatch.setenv("EDGEAD_MQTT_PASSWORD", "wrong")
        with pytest.raises(EdgeadError, match="refuses"):
            read_states(url)
    finally:
        broker.stop()
    with pytest.raises(EdgeadError, match="does not answer"):
        read_states(f"mqtt://127.0.0.1:{broker.port}")
    for wrong in ("http://host", "mqtt://host/a/#", "mqtt://host/+/+"):
        with pytest.raises(UsageError):
            read_states(wrong)


def test_metrics_and_broker_together() -> None:
    up = StationView("left", "up")
    views = with_states([up], {"left": "offline", "right": "online", "old": "offline"})
    assert [(view.name, view.state, bool(view.issues)) for view in views] == [
        ("left", "up", True), ("right", "online", False), ("old", "offline", True)]  # fmt: skip


def test_the_command(station: Metrics, tmp_path: Path, edgead) -> None:
    (tmp_path / "stations.yaml").write_text(yaml.safe_dump({"stations": {"left": f"127.0.0.1:{station.port}"}}))
    code, out, _ = edgead("fleet", "--file", "stations.yaml")
    assert code == 0
    assert re.search(r"left +up +bot.tle abcdef012345 +onnx int8 .* 100 +6\.0% +4\.0%", out), out
    code, out, err = edgead("fleet", "--file", "stations.yaml", f"right=127.0.0.1:{free_port()}", "--json", "--check")
    assert code == 4
    assert "2 of 2 stations have issues: left, right" in err
    assert [json.loads(line)["name"] for line in out.splitlines()] == ["left", "right"]
    assert edgead("fleet")[0] == 2


def test_rules_and_dashboard_ask_for_metrics_that_there_are() -> None:
    tally = Tally()
    known = {one.name for one in parse(tally.text(replace(STATUS)))} | {"up"}
    text = (EXAMPLES / "alerts.yaml").read_text() + (EXAMPLES / "dashboard.json").read_text()
    asked = set(re.findall(r"\bedgead_\w+", text))
    assert asked
    families = {name.removesuffix("_bucket") for name in known} | known
    assert asked - families - {"edgead_score"} == set()
    dashboard = json.loads((EXAMPLES / "dashboard.json").read_text())
    assert all(panel["targets"][0]["expr"] for panel in dashboard["panels"])
    rules = yaml.safe_load((EXAMPLES / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert all({"alert", "expr", "labels", "annotations"} <= set(rule) for rule in rules)
    assert total(parse('edgead_x{a="1"} 2\n'), "edgead_x", a="1") == 2


def test_containers_copy_what_there_is() -> None:
    root = EXAMPLES.parents[1]
    compose = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())
    assert {"station-left", "station-right", "broker", "prometheus"} == set(compose["services"])
    assert (EXAMPLES / compose["x-station"]["build"]["dockerfile"].removeprefix("examples/fleet/")).exists()
    extras = (root / "pyproject.toml").read_text()
    for path in EXAMPLES.glob("*.Dockerfile"):
        lines = re.sub(r"\\\n", " ", path.read_text()).splitlines()
        words = [line.split() for line in lines if line and not line.startswith("#")]
        assert {one[0] for one in words} <= {"FROM", "WORKDIR", "COPY", "RUN", "USER", "ENV", "ENTRYPOINT", "CMD"}
        for one in words:
            if one[0] == "COPY" and not one[1].startswith("--from"):
                assert [name for name in one[1:-1] if not (root / name).exists()] == []
        runs = [" ".join(one) for one in words if one[0] == "RUN"]
        assert any("install -d -o edgead -g edgead /var/cache/edgead" in one for one in runs)  # it is not root's
        assert words.index(["USER", "edgead"]) > max(index for index, one in enumerate(words) if one[0] == "RUN")
        (installed,) = re.findall(r"\.whl\)\[([\w,]+)\]", path.read_text())
        assert all(f"\n{extra} = [" in extras for extra in installed.split(","))
