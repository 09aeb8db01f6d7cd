"""Sinks: where frames and their results go. Each is one file, named in one table, imported when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from edgead.errors import UsageError
from edgead.stream.sinks.base import Sink
from edgead.stream.sinks.options import read_call, split_spec


@dataclass(frozen=True, slots=True)
class SinkEntry:
    """A row of the table: where a sink lives and what is written to name one."""

    target: str  # "module:Class", called as Class(place, **options); its parameters are the options there are
    example: str
    mark: str = "?"  # begins the options; "#" for URLs, whose query is the receiver's
    extra: str = ""  # what brings its package: edgead[extra]


SINKS: dict[str, SinkEntry] = {
    "jsonl": SinkEntry("edgead.stream.sinks.jsonl:JsonLines", "jsonl:results.jsonl"),
    "images": SinkEntry("edgead.stream.sinks.images:ImageFolder", "images:seen"),
    "video": SinkEntry("edgead.stream.sinks.video:VideoFile", "video:seen.mkv?fps=10"),
    "keep": SinkEntry("edgead.stream.sinks.events:EventRecorder", "keep:saved?quota=10GB&days=30"),
    "mqtt": SinkEntry("edgead.stream.sinks.mqtt:Mqtt", "mqtt://broker.local/edgead/{camera}", extra="mqtt"),
    "mqtts": SinkEntry("edgead.stream.sinks.mqtt:Mqtt", "mqtts://broker.local/edgead/{camera}", extra="mqtt"),
    "metrics": SinkEntry("edgead.stream.sinks.metrics:Metrics", "metrics:9108"),
    "web": SinkEntry("edgead.stream.sinks.web:Web", "web:8080", extra="web"),
    "http": SinkEntry("edgead.stream.sinks.webhook:Webhook", "http://mes.local/parts#verdicts=all", mark="#"),
    "https": SinkEntry("edgead.stream.sinks.webhook:Webhook", "https://mes.local/parts#verdicts=all", mark="#"),
}


def open_sink(spec: str, path: Path | None = None) -> Sink:
    """Open the sink that `spec` names, such as 'video:seen.mkv?fps=10': see SINKS for what can be written.

    With a `path`, `spec` is the kind alone, and the path may hold any character. Raises UsageError for a spec that
    cannot be understood or whose package is missing, DataError for a place that cannot be written.
    """
    marks = {kind: entry.mark for kind, entry in SINKS.items()}
    kind, place, options = split_spec(spec, marks) if path is None else split_spec(spec + ":", marks)
    entry = SINKS[kind]
    module, _, name = entry.target.partition(":")
    try:
        make = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if not entry.extra or (error.name or "").startswith("edgead"):
            raise
        raise UsageError(f"the sink '{kind}' needs {error.name}: pip install 'edgead[{entry.extra}]'") from error
    sink: Sink = make(path) if path is not None else read_call(make, kind, place, options, entry.example)
    return sink
