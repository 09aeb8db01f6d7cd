"""`edgead`, with a sink that notes which part each result is about, and with a clock that a file sets wrong."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import fault_parts

from edgead import cli
from edgead.files import LineFile
from edgead.result import Result
from edgead.stream.sinks import SINKS, SinkEntry
from edgead.stream.sinks.base import Sink
from edgead.types import Frame


class Ledger(Sink):
    """What the line has judged, and what it was shown."""

    def __init__(self, path: Path) -> None:
        self._file = LineFile(path)

    def emit(self, frame: Frame, result: Result) -> None:
        part, bad, sure = fault_parts.read(frame.image)
        entry = {
            "process": os.getpid(),
            "at": time.monotonic(),
            "number": result.number,
            "index": result.index,
            "camera": result.camera,
            "time": result.time,
            "verdict": result.verdict.value,
            "part": part,
            "bad": bad,
            "sure": sure,
        }
        self._file.append(json.dumps(entry).encode())

    def close(self) -> None:
        self._file.close()


def step_clock(file: Path) -> None:
    """Add the seconds that stand in `file` to the time of day, as setting the clock does."""
    offset = [0.0]
    real = time.time

    def watch() -> None:
        while True:
            with suppress(OSError, ValueError):
                offset[0] = float(file.read_text() or 0)
            time.sleep(0.02)

    time.time = lambda: real() + offset[0]
    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    SINKS.builtin["ledger"] = SinkEntry("fault_line:Ledger", example="ledger:FILE")
    step_clock(Path(sys.argv[1]))
    cli.main(sys.argv[2:])
