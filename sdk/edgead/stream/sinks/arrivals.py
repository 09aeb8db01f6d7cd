"""Records when events arrived, by a clock of the archive's own that setting the computer's clock does not move.

A board without a battery clock starts in 1970, or where it was switched off, and is set by the network later; a clock
may also be set wrong for a while. So age is not read off the computer's clock: within a run it is measured by the
monotonic one, and between two runs as what the computer's clock has gone on past the newest date in the archive, at
most half of the days to be kept, and nothing where it has gone back or was never set. Where it errs, events stay
longer.

The file `.arrivals` in the archive has a line for each event: its arrival in milliseconds, a tab, and its path.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from edgead.closing import Closing
from edgead.errors import EdgeadError
from edgead.files import LineFile, write_file

NAME = ".arrivals"
_SPARE = 1000  # lines about deleted events that the file may have
_NEVER_SET = 1_700_000_000.0  # seconds since the epoch; a clock before that (November 2023) was never set

_log = logging.getLogger(__name__)


class Arrivals(Closing):
    """The arrivals of an archive's events, and the time by the archive's clock."""

    def __init__(
        self,
        folder: Path,
        dated: Iterable[tuple[str, float]],
        longest_gap: float,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read `folder`'s arrivals, and work out those of events of `dated` (path, date) that the file does not have.

        `longest_gap` is the most seconds that may pass between two events or two runs; dates and `wall` are in seconds
        since the epoch.
        """
        self._path, self._steady = folder / NAME, steady
        dated = sorted(dated, key=lambda event: event[1])
        self._at = dict(_estimated(dated, longest_gap)) | _read(self._path, {path for path, _ in dated})
        newest = max((date for _, date in dated), default=wall())
        self._start = max(self._at.values(), default=wall()) + _gap(newest, wall(), longest_gap)
        self._started = steady()
        self._file: LineFile | None = None
        self._appended = 0  # lines since the file was rewritten
        self._rewrite()

    def __getitem__(self, path: str) -> float:
        """The arrival of an event, in seconds of the archive's clock."""
        return self._at[path]

    def now(self) -> float:
        """The archive's clock, in seconds."""
        return self._start + self._steady() - self._started

    def add(self, path: str) -> float:
        """Note the arrival of an event; where the disk does not take it, its date tells after a restart."""
        arrived = self._at[path] = self.now()
        with suppress(OSError):
            self._file = self._file or LineFile(self._path)
            self._file.append(_line(path, arrived))
        self._appended += 1
        if self._appended > _SPARE + len(self._at):  # more of it is about what was deleted than about what is there
            self._rewrite()
        return arrived

    def forget(self, path: str) -> None:
        """An event was deleted."""
        self._at.pop(path, None)

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _rewrite(self) -> None:
        """Leave out what was deleted; without events there is no file."""
        self._appended = 0
        lines = [_line(path, arrived) + b"\n" for path, arrived in sorted(self._at.items(), key=lambda item: item[1])]
        try:
            if lines or self._path.exists():
                write_file(self._path, b"".join(lines))
        except EdgeadError as error:
            _log.warning("%s; it is not shortened", error)


def _gap(newest: float, now: float, most: float) -> float:
    """The seconds from the newest date to `now`, as far as the clock that gave both can be believed."""
    return min(most, max(0.0, now - newest)) if newest > _NEVER_SET else 0.0


def _estimated(dated: Iterable[tuple[str, float]], most: float) -> Iterator[tuple[str, float]]:
    """Arrivals of events of which only the date is known, in order of their dates."""
    newest = arrived = None
    for path, date in dated:
        arrived = date if arrived is None or newest is None else arrived + _gap(newest, date, most)
        newest = date
        yield path, arrived


def _read(file: Path, known: set[str]) -> dict[str, float]:
    """What the file says of the events that are there; a damaged line costs itself."""
    found: dict[str, float] = {}
    with suppress(OSError):
        for line in file.read_bytes().splitlines():
            arrived, _, path = line.decode("utf-8", "replace").partition("\t")
            if path in known and arrived.isdecimal() and len(arrived) < 16:
                found[path] = int(arrived) / 1000
    return found


def _line(path: str, arrived: float) -> bytes:
    return f"{max(0, round(arrived * 1000))}\t{path}".encode()
