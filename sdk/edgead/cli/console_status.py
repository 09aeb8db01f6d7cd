"""What a person sees of a running line on standard error."""

from __future__ import annotations

import sys
import time

from edgead.cli.streams import say
from edgead.stream.pipeline import Pipeline
from edgead.stream.status import LOST, PipelineStatus
from edgead.types import Result, Verdict


class ConsoleStatus:
    """One line on stderr that is written over while a person watches, and the summary at the end."""

    INTERVAL = 0.2  # seconds between two writings

    def __init__(self) -> None:
        self._watched = sys.stderr is not None and sys.stderr.isatty()
        self._erase = "\r\x1b[K" if self._watched else ""
        self._next = 0.0

    def __call__(self, line: Pipeline, result: Result) -> None:
        now = time.monotonic()
        if self._watched and now >= self._next:
            self._next = now + self.INTERVAL
            judged = f"{result.camera} {result.verdict} {result.score:.2f}".lstrip()
            self._write(f"{self._erase}{judged}  {counts(line.status())}")

    def close(self, line: Pipeline) -> None:
        """Write the summary."""
        self._write(f"{self._erase}edgead: {counts(line.status())}\n")

    def _write(self, text: str) -> None:
        self._watched = say(text) and self._watched


def counts(status: PipelineStatus) -> str:
    """The line's counts in a row; what is zero and should be is left out."""
    rate = status.frames / status.uptime if status.uptime > 0 else 0.0
    text = f"{status.frames} frames in {status.uptime:.1f} s ({rate:.1f} a second), {status.verdicts[Verdict.NG]} NG"
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
