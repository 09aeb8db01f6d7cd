"""Prints what a person sees of a running line on standard error."""

from __future__ import annotations

import math
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from edgead.cli import streams
from edgead.cli.streams import say
from edgead.config import StationConfig
from edgead.result import Result
from edgead.stream.pipeline import Pipeline
from edgead.stream.sources.capture import redacted
from edgead.stream.status import LOST, PipelineStatus
from edgead.types import Verdict
from edgead.wording import plural, printable


class ConsoleStatus:
    """One line on stderr that is written over while a person watches, and the summary at the end."""

    INTERVAL = 0.2  # seconds between two writings

    def __init__(self) -> None:
        self._watched = sys.stderr is not None and sys.stderr.isatty()
        self._erase = "\r\x1b[K" if self._watched else ""
        self._next = 0.0
        self._reasons = Reasons()

    def begin(self, pipeline: Pipeline, sinks: Sequence[str]) -> None:
        """Say what judges, and where the results go."""
        status = pipeline.status()
        places = ", ".join(sinks) or "the terminal alone"
        self._write(
            f"edgead: {printable(status.model)} ({status.digest}) on {status.engine} {status.precision}; "
            f"{plural(len(status.cameras), 'source')}; results go to {printable(places)}\n"
        )

    def __call__(self, pipeline: Pipeline, result: Result) -> None:
        self._reasons.add(result)
        now = time.monotonic()
        if self._watched and now >= self._next:
            self._next = now + self.INTERVAL
            score = f" {result.score:.2f}" if math.isfinite(result.score) else ""
            judged = f"{result.camera} {result.verdict}{score}".lstrip()
            self._write(f"{self._erase}{judged}  {counts(pipeline.status())}")

    def close(self, pipeline: Pipeline) -> None:
        """Write the summary."""
        self._write(f"{self._erase}edgead: {counts(pipeline.status())}\n")
        for sentence in self._reasons.sentences():
            self._write(f"edgead: {printable(sentence)}\n")

    def _write(self, text: str) -> None:
        self._watched = not streams.quiet and say(text) and self._watched


def sink_words(config: StationConfig) -> list[str]:
    """Where results go, without anything secret."""
    printed = config.json or config.jsonl == "-"
    files = [None if config.jsonl == "-" else config.jsonl, config.save, config.video]
    places = [*(["standard output (JSON)"] if printed else []), *files]
    return [str(place) for place in places if place] + [_in_words(spec) for spec in config.sinks]


def _in_words(spec: str) -> str:
    """A sink without its options; of a page the address that a browser takes."""
    place = redacted(spec).partition("?")[0]
    kind, _, where = place.partition(":")
    host, _, port = where.rpartition(":")
    if kind != "web" or not port.isdecimal() or not int(port):
        return place
    beyond = host in ("0.0.0.0", "[::]")  # noqa: S104 - told from others, and listened at only with a token
    return f"the page http://{(socket.gethostname() if beyond else host) or '127.0.0.1'}:{port}"


class Reasons:
    """Why frames were not judged, or may be NG for another reason than their part: each kind once, with an example."""

    MOST = 5

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], str] = {}

    def add(self, result: Result) -> None:
        """Count one result's reasons."""
        if result.verdict is not Verdict.INVALID and not result.is_anomalous:
            return
        for reason in result.reasons:
            kind = result.verdict.value, re.sub(r"[0-9][0-9.,]*", "#", reason)  # numbers differ from frame to frame
            self._counts[kind] += 1
            self._examples.setdefault(kind, reason)

    def sentences(self) -> Iterator[str]:
        """The most frequent kinds, `3 INVALID: the picture is blurred ...`."""
        for kind, count in self._counts.most_common(self.MOST):
            yield f"{count} {kind[0]}: {self._examples[kind]}"
        if (more := len(self._counts) - self.MOST) > 0:
            yield f"{plural(more, 'more reason')} in the results"


def counts(status: PipelineStatus) -> str:
    """The line's counts in a row; what is zero and should be is left out."""
    rate = status.frames / status.uptime if status.uptime > 0 else 0.0
    frames, ng = plural(status.frames, "frame"), status.verdicts[Verdict.NG]
    text = f"{frames} in {status.uptime:.1f} s ({rate:.1f} a second), {ng} NG"
    more = {str(verdict): status.verdicts[verdict] for verdict in (Verdict.REVIEW, Verdict.INVALID)}
    more |= {
        "late": status.late,
        "overtaken": status.dropped,
        "unreadable": status.unreadable,
        "reconnected": status.reconnects,
    }
    more["not written"] = sum(status.unwritten.values())
    more["cameras lost"] = sum(camera.state == LOST for camera in status.cameras.values())
    return text + "".join(f", {count} {what}" for what, count in more.items() if count)
