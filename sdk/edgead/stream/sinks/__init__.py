"""Opens sinks: where frames and their results go. Each is one file, named in one table, imported when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgead.registry import Lazy, Registry
from edgead.stream.sinks.base import Sink
from edgead.stream.sinks.options import read_call, split_spec


@dataclass(frozen=True, slots=True)
class SinkEntry(Lazy):
    """A sink's class, called as Class(place, **options): its parameters are the options there are."""

    example: str = ""  # what is written to name one
    separator: str = "?"  # begins the options; "#" for URLs, whose query is the receiver's


SINKS = Registry(
    "edgead.sinks",
    SinkEntry,
    {
        "jsonl": SinkEntry("edgead.stream.sinks.jsonl:JsonLines", example="jsonl:results.jsonl"),
        "images": SinkEntry("edgead.stream.sinks.images:ImageFolder", example="images:seen"),
        "video": SinkEntry("edgead.stream.sinks.video:VideoFile", example="video:seen.mkv?fps=10"),
        "keep": SinkEntry("edgead.stream.sinks.events:EventRecorder", example="keep:saved?quota=10GB&days=30"),
        "mqtt": SinkEntry("edgead.stream.sinks.mqtt:Mqtt", example="mqtt://broker.local/edgead/{camera}", extra="mqtt"),
        "mqtts": SinkEntry(
            "edgead.stream.sinks.mqtt:Mqtt", example="mqtts://broker.local/edgead/{camera}", extra="mqtt"
        ),
        "metrics": SinkEntry("edgead.stream.sinks.metrics:Metrics", example="metrics:9108"),
        "web": SinkEntry("edgead.stream.sinks.web:Web", example="web:8080", extra="web"),
        "http": SinkEntry(
            "edgead.stream.sinks.webhook:Webhook", example="http://mes.local/parts#verdicts=all", separator="#"
        ),
        "https": SinkEntry(
            "edgead.stream.sinks.webhook:Webhook", example="https://mes.local/parts#verdicts=all", separator="#"
        ),
    },
)


def open_sink(spec: str, path: Path | None = None) -> Sink:
    """Open the sink that `spec` names, such as 'video:seen.mkv?fps=10': see SINKS for what can be written.

    With a `path`, `spec` is the kind alone, and the path may hold any character. Raises UsageError for a spec that
    cannot be understood or whose package is missing, DataError for a place that cannot be written.
    """
    separators = {kind: entry.separator for kind, entry in SINKS.items()}
    kind, place, options = split_spec(spec, separators) if path is None else split_spec(spec + ":", separators)
    entry = SINKS[kind]
    make = entry.load(f"the sink '{kind}'")
    sink: Sink = (
        make(path) if path is not None else read_call(make, kind, place, options, entry.example or f"{kind}:PLACE")
    )
    return sink


def title_of(sink: Sink) -> str:
    """What a sink is called in messages and counts: the kind that a person writes, else its class."""
    name = type(sink).__name__
    return sink.title or next(
        (kind for kind, entry in SINKS.builtin.items() if entry.target.endswith(f":{name}")), name
    )
