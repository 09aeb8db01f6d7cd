"""Writes a station's file from ten answers, with a comment at each key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import yaml

from edgead.errors import UsageError


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that a station is asked, and the line that its answer becomes."""

    name: str  # of the answer, and of the option without its dashes
    words: str
    default: str
    example: str = ""


QUESTIONS = (
    Question("bundle", "Which bundle judges", "", "bottle.edgead"),
    Question("cameras", "Which cameras, as NAME=SOURCE with commas between", "camera=0", "left=camera:0,right=csi://0"),
    Question("trigger", "What says that a part is there (empty: every frame is judged)", "", "gpio:/dev/gpiochip0/17"),
    Question("plc", "Which controller gets the result (empty: none)", "", "modbus:502"),
    Question("answer-within", "Milliseconds from the trigger in which it must have its answer", "500"),
    Question("review", "From which share of the threshold on a person decides (empty: never)", "0.8"),
    Question("events", "Where anomalies are kept (empty: nowhere)", "saved"),
    Question("web", "Port of the live page (empty: none)", "8080"),
    Question("mqtt", "MQTT broker and topic for results (empty: none)", "", "mqtt://broker.local/edgead/{camera}"),
    Question("timeout", "Seconds without a frame after which a camera is lost", "5"),
)
_NAMED = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)=(.+)", re.DOTALL)


def station_text(answers: Mapping[str, str], name: str = "station.yaml") -> str:
    """The file of that name, in YAML; raises UsageError for cameras and numbers that cannot be read."""
    said = {question.name: answers.get(question.name, question.default).strip() for question in QUESTIONS}
    lines = [
        f"# A station: edgead run --station {name}",
        "# Every key is an option of `edgead run`, which explains it (edgead run --help).",
    ]
    lines.append("# What stands behind a # is not in force.")
    lines += _entry("bundle", said["bundle"], "the bundle that judges", "bottle.edgead")
    lines += ["cameras:  # name: source, as `edgead cameras` prints it"]
    lines += [f"  {name}: {_plain(source)}" for name, source in read_cameras(said["cameras"])]
    timeout = read_number(said["timeout"], "timeout")
    lines += _entry("timeout", timeout, "seconds without a frame until a camera is lost", 5)
    parts = bool(said["trigger"] or said["plc"])
    lines += _list("trigger", [said["trigger"]], "what says that a part is there", "http:8090")
    lines += _list("plc", [said["plc"]], "the controller that gets the result", "modbus:502")
    within = read_number(said["answer-within"], "answer-within")
    lines += _entry(
        "answer-within", within if parts else "", "milliseconds from a trigger to its answer", within or 500
    )
    window = "frames captured so many milliseconds after a trigger are its part's"
    lines += _entry("trigger-window", min(200, within or 200) if parts else "", window, 200)
    lines += _entry(
        "review", read_number(said["review"], "review"), "a person decides from this share of the threshold", 0.8
    )
    lines += _entry("deadline", "", "milliseconds from capture; judged later is LATE", 200)
    lines += _entry("min-area", "", "pixels of the frame; smaller defects do not count", 40)
    sinks = [_events_sink(said["events"]), _web_sink(said["web"], said["events"]), said["mqtt"]]
    lines += _list("sinks", sinks, "where results go", "jsonl:results.jsonl")
    return "\n".join(lines) + "\n"


def _events_sink(folder: str) -> str:
    """The sink of what is to be reviewed, with one good part of a thousand."""
    return f"keep:{folder}?quota=10GB&days=30&good=0.001" if folder else ""


def _web_sink(port: str, reviewed: str) -> str:
    """The live page, with the kept events at /review."""
    return f"web:{port}{f'?review={quote(reviewed)}' if reviewed else ''}" if port else ""


def read_cameras(text: str) -> list[tuple[str, str]]:
    """The names and sources of 'left=camera:0,right=csi://0'; raises UsageError."""
    found = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        match = _NAMED.fullmatch(part)
        if match is None:
            raise UsageError(f"a camera is written like left=camera:0, not '{part}'")
        found.append((match[1], match[2]))
    if not found:
        raise UsageError("a station needs a camera, like camera=0")
    return found


def read_number(text: str, name: str) -> Any:
    """The number, an int where it is whole; '' stays ''. Raises UsageError that names the answer."""
    if not text:
        return ""
    try:
        number = float(text)
    except ValueError:
        raise UsageError(f"{name} is a number, not '{text}'") from None
    return int(number) if number.is_integer() else number


def _entry(key: str, value: Any, words: str, example: Any) -> list[str]:
    """A key with its value, or behind a # with an example where it has none."""
    line = f"{key}: {_plain(example)}" if value == "" else f"{key}: {_plain(value)}"
    return [f"{'# ' if value == '' else ''}{line}  # {words}"]


def _list(key: str, values: list[str], words: str, example: str) -> list[str]:
    said = [value for value in values if value]
    mark = "" if said else "# "
    return [f"{mark}{key}:  # {words}", *(f"{mark}  - {_plain(value)}" for value in said or [example])]


def _plain(value: Any) -> str:
    """A value as YAML writes it on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).strip().removesuffix("...").strip()
