"""Results as a table that a spreadsheet opens: `--sink csv:results.csv?separator=;`."""

from __future__ import annotations

import csv
from pathlib import Path

from edgead.errors import DataError
from edgead.result import Result
from edgead.stream.sinks.base import Sink
from edgead.types import Frame

COLUMNS = ("time", "camera", "index", "name", "verdict", "score")


class CsvSink(Sink):
    """One row a result, appended to a file and on its way to the disk at once."""

    needs_pixels = False

    def __init__(self, path: Path, *, separator: str = ",") -> None:
        """Open `path`, with a first row of names where it is new; raises DataError. A parameter is an option."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a", newline="", encoding="utf-8")
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror}") from error
        self._rows = csv.writer(self._file, delimiter=separator)
        self._is_new = self._file.tell() == 0

    def emit(self, frame: Frame, result: Result) -> None:
        if self._is_new:
            self._rows.writerow(COLUMNS)
            self._is_new = False
        self._rows.writerow((result.time, result.camera, result.index, result.name, result.verdict, result.score))
        self._file.flush()

    def close(self) -> None:
        self._file.close()
