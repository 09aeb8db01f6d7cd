"""Writes results as JSON lines, each at once, so that a reader never waits.

A line is in the hands of the system when `emit` returns, so it outlives the program; a power cut costs what was
written in the last `sync` seconds. A file that was moved away, as logrotate does, is begun anew with the next line.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from threading import Event, Lock, Thread

from edgead.errors import DataError
from edgead.files import LineFile
from edgead.result import Result
from edgead.stream.sinks.base import Sink
from edgead.stream.sinks.options import checked
from edgead.types import Frame

_log = logging.getLogger(__name__)


class SinkGone(BrokenPipeError):
    """Nobody reads standard output any more: the line, which works for nobody else, ends."""


class JsonLines(Sink):
    """One result a line, appended to a file, or on standard output where no path is given."""

    needs_pixels = False

    def __init__(self, path: Path | None = None, *, sync: float = 1.0) -> None:
        """Open `path` for appending; what is written is on the disk within `sync` seconds (0: at once).

        Raises DataError where it cannot be written, UsageError for a `sync` out of range.
        """
        checked("the sink 'jsonl': sync", sync, 0, 3600)
        self._file: LineFile | None = None
        self._lock = Lock()
        self._sync_s, self._written, self._closing = sync, False, Event()
        self._thread: Thread | None = None
        if path is None:
            return
        try:
            self._file = LineFile(path)
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror}") from error
        if sync > 0:
            self._thread = Thread(target=self._keep_synced, args=(self._file,), name="edgead jsonl sync", daemon=True)
            self._thread.start()

    def emit(self, frame: Frame, result: Result) -> None:
        line = result.to_json()
        if self._file is None:
            _print(line)
            return
        with self._lock:
            self._file.append(line.encode())
            self._written = True
            if self._thread is None:
                self._file.sync()

    def _keep_synced(self, file: LineFile) -> None:
        while not self._closing.wait(self._sync_s):
            with self._lock:
                if not self._written:
                    continue
                self._written = False
                try:
                    file.sync()
                except OSError as error:
                    _log.error("%s: what was written may not be on the disk: %s", file.path, error)

    def close(self) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        if self._file is not None:
            self._file.close()


def _print(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise SinkGone(*error.args) from error
