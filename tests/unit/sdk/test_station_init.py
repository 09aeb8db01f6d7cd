"""A station's file by ten questions: what is answered is in force, and what is not stands there to be found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgead.config import load_station
from edgead.config.station_file import QUESTIONS, station_text
from edgead.errors import UsageError


def test_there_are_ten_questions() -> None:
    assert len(QUESTIONS) == 10


def test_from_options_without_a_question(edgead, tmp_path: Path) -> None:
    options = ["--bundle", "cap.edgead", "--cameras", "top=genicam:EDG1?exposure=800&gain=2,side=csi://0"]
    options += ["--trigger", "gpio:/dev/gpiochip0/17", "--plc", "modbus:502", "--answer-within", "300"]
    code, out, _ = edgead("station", "init", *options, "--mqtt", "mqtt://broker.local/edgead/{camera}")
    assert (code, "edgead run --station station.yaml" in out) == (0, True)
    config = load_station(tmp_path / "station.yaml", environment={}).config
    assert config.cameras == {"top": "genicam:EDG1?exposure=800&gain=2", "side": "csi://0"}
    assert (config.bundle, config.trigger, config.plc) == ("cap.edgead", ["gpio:/dev/gpiochip0/17"], ["modbus:502"])
    assert (config.answer_within, config.trigger_window, config.review, config.timeout) == (300, 200, 0.8, 5)
    keep, web, mqtt = config.sinks
    assert (keep, web) == ("keep:saved?quota=10GB&days=30&good=0.001", "web:8080?review=saved")
    assert mqtt == "mqtt://broker.local/edgead/{camera}"
    assert "Its bundle cap.edgead is not here yet." in out


def test_every_line_says_what_it_is(tmp_path: Path) -> None:
    text = station_text({"events": "", "web": "", "review": ""})
    path = tmp_path / "station.yaml"
    path.write_text(text)
    config = load_station(path, environment={}).config
    assert (config.cameras, config.trigger, config.sinks, config.review) == ({"camera": "0"}, [], [], None)
    keys = [
        line for line in text.splitlines() if line.lstrip("# ").split(":")[0] in ("trigger", "plc", "sinks", "review")
    ]
    assert all(line.startswith("# ") and line.count("#") == 2 for line in keys)
    uncommented = "\n".join(line.removeprefix("# ") for line in text.splitlines()[3:])
    path.write_text(uncommented)
    assert load_station(path, environment={}).config.plc == ["modbus:502"]


def test_by_questions_at_a_terminal(edgead, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def prompt(words: str, default: str) -> str:
        asked.append(words)
        return "left=1" if "cameras" in words else default

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("edgead.cli.station.typer.prompt", prompt)
    code, _, _ = edgead("station", "init", "line.yaml", "--web", "")
    assert (code, len(asked)) == (0, 8)  # without a trigger and a controller nobody waits for an answer
    config = load_station(tmp_path / "line.yaml", environment={}).config
    assert (config.cameras, config.sinks) == ({"left": "1"}, ["keep:saved?quota=10GB&days=30&good=0.001"])


def test_an_answer_of_no_use_is_asked_for_again(edgead, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tries = {"MQTT broker": ["broker.local", "mqtt://broker.local/results"], "From which share": ["7", "0.9"]}

    def prompt(words: str, default: str) -> str:
        return next((answers.pop(0) for start, answers in tries.items() if words.startswith(start)), default)

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("edgead.cli.station.typer.prompt", prompt)
    code, out, _ = edgead("station", "init")
    assert (code, tries) == (0, {"MQTT broker": [], "From which share": []})
    assert "'broker.local' is no kind of broker: known: mqtt, mqtts." in out
    assert "'review' in the answer cannot be used: it must be a number above 0 and below 1, not '7'." in out
    config = load_station(tmp_path / "station.yaml", environment={}).config
    assert (config.review, config.sinks[-1]) == (0.9, "mqtt://broker.local/results")


@pytest.mark.parametrize(
    ("option", "answer", "words"),
    [
        ("--cameras", "left=rtps://10.0.0.5/1", "'rtps:' is no kind of source"),
        ("--trigger", "gpoi:/dev/gpiochip0/17", "did you mean 'gpio'?"),
        ("--plc", "profinet:1", "is no kind of plc"),
        ("--web", "http", "needs a port"),
        ("--mqtt", "broker.local", "is no kind of broker"),
    ],
)
def test_an_option_of_no_use_is_said(edgead, option: str, answer: str, words: str, tmp_path: Path) -> None:
    code, _, err = edgead("station", "init", option, answer)
    assert (code, words in err) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_without_a_terminal_it_says_that_nothing_was_asked(edgead, tmp_path: Path) -> None:
    code, out, _ = edgead("station", "init", "hall/line.yaml")
    assert (code, "Nothing was asked" in out) == (0, True)
    assert "edgead run --station hall/line.yaml" in (tmp_path / "hall/line.yaml").read_text()
    assert "Nothing was asked" not in edgead("station", "init", "--yes")[1]


def test_a_file_that_is_there_stays(edgead, tmp_path: Path) -> None:
    (tmp_path / "station.yaml").write_text("mine")
    code, _, err = edgead("station", "init", "--yes")
    assert (code, "is there already" in err) == (2, True)
    assert (tmp_path / "station.yaml").read_text() == "mine"
    assert edgead("station", "init", "--yes", "--force")[0] == 0
    assert [path.name for path in tmp_path.iterdir() if "new" in path.name] == []


@pytest.mark.parametrize(
    ("answers", "words"),
    [({"cameras": "nonsense"}, "left=camera:0"), ({"cameras": ""}, "needs a camera"), ({"review": "much"}, "a number")],
)
def test_answers_that_cannot_be_are_said(answers: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        station_text(answers)


def test_what_cannot_be_a_station_is_not_written(edgead, tmp_path: Path) -> None:
    code, _, err = edgead("station", "init", "--review", "7", "--yes")
    assert (code, "review" in err) == (2, True)
    assert list(tmp_path.iterdir()) == []
