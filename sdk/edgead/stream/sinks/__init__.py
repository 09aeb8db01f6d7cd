"""Sinks: where frames and their results go. Each is one file, named in one table, imported when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol

from edgead.types import Frame, Result


class Sink(Protocol):
    """Takes what the line has judged. An OSError from `emit` is reported and the line goes on."""

    def emit(self, frame: Frame, result: Result) -> None:
        """Take one frame and its result; neither may be changed."""
        ...

    def close(self) -> None:
        """Finish what was begun; calling it again does nothing."""
        ...


@dataclass(frozen=True, slots=True)
class SinkEntry:
    """A row of the table: where a sink lives and what it is given."""

    target: str  # "module:Class", called as Class(path)


SINKS: dict[str, SinkEntry] = {
    "jsonl": SinkEntry("edgead.stream.sinks.jsonl:JsonLines"),
    "images": SinkEntry("edgead.stream.sinks.images:ImageFolder"),
    "video": SinkEntry("edgead.stream.sinks.video:VideoFile"),
}


def open_sink(kind: str, path: Path) -> Sink:
    """The sink `kind` of the table, writing to `path`; raises UsageError or DataError when it cannot."""
    module, _, name = SINKS[kind].target.partition(":")
    sink: Sink = getattr(import_module(module), name)(path)
    return sink
