"""Writes the audit log: every change of what a station does, by whom, from what to what.

One JSON object a line, only ever appended and on the disk before the change is answered:
`{"when": "2026-11-22T13:45:01.250000+00:00", "station": ..., "who": "the page, 10.0.0.7", "what": "threshold",
"old": 1.0, "new": 1.2, "persisted": false}`. A change that is not persisted holds until the station is started again.
At a start what the options ask for is compared with what the log says was last in force, and each difference is noted.
A log that cannot be written is said; the change is made and the line goes on.
"""

from __future__ import annotations

import json
import logging
import os
import pwd
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock
from typing import Any

from edgead.closing import Closing
from edgead.files import LineFile

_READ = 4 << 20  # bytes at the end of the log in which what was last in force is looked for

_log = logging.getLogger(__name__)


class AuditLog(Closing):
    """The log of one station. Its methods may be called from any thread."""

    def __init__(self, path: Path | None = None, station: str = "") -> None:
        """Append to `path`, which stations may share; without one, changes are only said in the program's own log."""
        self._path, self._station = path, station
        self._lock = Lock()
        self._file: LineFile | None = None

    def begin(self, state: Mapping[str, Any]) -> None:
        """Note what a start changes: where a value of `state` is another than the one last in force, or is new."""
        before = self._last()
        for what, new in state.items():
            if what not in before or before[what] != new:
                self._append(what, before.get(what), new, f"start by {user_name()}", persisted=True)

    def changed(self, what: str, old: Any, new: Any, who: str, *, persisted: bool) -> None:
        """Note a change while the station runs, also in the program's log."""
        lasting = "" if persisted else ", for this run only"
        _log.warning("%s changed from %s to %s by %s%s", what, old, new, who or "the program", lasting)
        self.note(what, old, new, who, persisted=persisted)

    def note(self, what: str, old: Any, new: Any, who: str, *, persisted: bool) -> None:
        """Note a change that is said elsewhere."""
        self._append(what, old, new, who or "the program", persisted=persisted)

    def latest(self, kinds: Collection[str]) -> tuple[str, Any, Any] | None:
        """The newest change of one of these kinds that the log tells of this station: what, old and new."""
        found = [entry for entry in self._entries() if entry["what"] in kinds]
        return (found[-1]["what"], found[-1]["old"], found[-1]["new"]) if found else None

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _append(self, what: str, old: Any, new: Any, who: str, *, persisted: bool) -> None:
        if self._path is None:
            return
        entry = {"when": datetime.now(timezone.utc).isoformat(), "station": self._station, "who": who, "what": what}
        line = json.dumps({**entry, "old": old, "new": new, "persisted": persisted})
        try:
            with self._lock:
                self._file = self._file or LineFile(self._path)
                self._file.append(line.encode())
                self._file.sync()
        except OSError as error:
            _log.error("the audit log %s cannot be written: %s; not noted there: %s", self._path, error, line)

    def _last(self) -> dict[str, Any]:
        """The newest value of everything that the log tells of this station."""
        return {entry["what"]: entry["new"] for entry in self._entries()}

    def _entries(self) -> Iterator[dict[str, Any]]:
        """What the log tells of this station; damaged lines are passed over."""
        for line in _end_of(self._path):
            with suppress(ValueError, TypeError, AttributeError):
                entry = json.loads(line)
                if entry.keys() >= {"what", "old", "new"} and entry.get("station") == self._station:
                    yield entry


def _end_of(path: Path | None) -> list[bytes]:
    """The last lines of a file; none where it cannot be read."""
    if path is None:
        return []
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _READ))
            return file.read().splitlines()
    except OSError:
        return []


def user_name() -> str:
    """Who runs this program."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"
