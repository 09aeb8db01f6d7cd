"""Results as JSON lines, each written at once, so that a reader never waits and a power cut costs one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

from edgead.errors import DataError
from edgead.stream.sinks.base import Sink
from edgead.types import Frame, Result


class SinkGone(BrokenPipeError):
    """Nobody reads standard output any more: the line, which works for nobody else, ends."""


class JsonLines(Sink):
    """One result a line, appended to a file, or on standard output where no path is given."""

    needs_pixels = False

    def __init__(self, path: Path | None = None) -> None:
        """Open `path` for appending; raises DataError."""
        self._torn = False
        self._file: BinaryIO | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror}") from error

    def emit(self, frame: Frame, result: Result) -> None:
        line = result.to_json() + "\n"
        if self._file is None:
            try:
                sys.stdout.write(line)
                sys.stdout.flush()
            except BrokenPipeError as error:
                raise SinkGone(*error.args) from error
        else:
            self._append(self._file, line.encode())

    def _append(self, file: BinaryIO, line: bytes) -> None:
        if self._torn:  # a full disk cut the last line short: keep the damage to that one
            line = b"\n" + line
        written = 0
        try:
            while written < len(line):
                written += file.write(line[written:])
            self._torn = False
        except OSError:
            self._torn = self._torn or written > 0
            raise

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
