"""Finds events among many: an index in SQLite of what the events' files say, which can be made anew at any time.

The files are what counts. `refresh` reads those that are new or changed, told by the times of their folders, and
forgets what is gone; several programs may have the same index open.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock
from typing import Any

from edgead.closing import Closing
from edgead.errors import DataError, EdgeadError
from edgead.files import cache_folder
from edgead.review.labels import decide, read_labels
from edgead.review.layout import DAY, EVENT, RESULT

VERSION = 2  # of the tables
_CHUNK = 500  # events that are written together
_SETTLED_NS = 2 * 10**9  # a folder changed less long ago may change again within one tick of the disk's clock
_TABLES = """
create table if not exists days (day text primary key, stamp integer) without rowid;
create table if not exists events (
    number integer primary key, id text unique, day text, stamp integer, time real, camera text, verdict text,
    score real, kept text, decision text, kinds text);
create table if not exists labels (
    event text, person text, label text, kind text, at text, primary key (event, person)) without rowid;
create index if not exists by_day on events (day, id, stamp);
create index if not exists by_time on events (time, id);
create index if not exists by_score on events (score);
create index if not exists by_camera on events (camera, time);
create index if not exists by_verdict on events (verdict, time);
create index if not exists by_decision on events (decision, time);
create index if not exists by_person on labels (person, at);
create index if not exists by_person_and_event on labels (person, event);
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is listed of an event."""

    id: str  # DAY/NAME
    time: float  # seconds since the epoch, at capture
    camera: str
    verdict: str
    score: float | None  # calibrated; None where it was not measured
    kept: str  # why it was kept
    decision: str  # see `decide`
    kinds: str  # of its defects, with commas between


class EventIndex(Closing):
    """The index of one folder of events. Its methods may be called from any thread."""

    def __init__(self, folder: Path, file: Path | None = None) -> None:
        """Open the index of `folder`, by default in edgead's cache; one that is damaged or of another version is made
        anew. Raises DataError for a folder that is not there."""
        if not folder.is_dir():
            raise DataError(f"there is no folder {folder}: `edgead run` keeps events with the sink keep:FOLDER")
        self.folder = folder
        name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
        self._file = file or cache_folder("review") / f"{name}.sqlite"
        self._lock, self._refreshing = Lock(), Lock()
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"the index cannot be kept in {self._file.parent}: {error.strerror}") from error
        try:
            return self._connected()
        except sqlite3.DatabaseError:
            for left in self._file.parent.glob(f"{self._file.name}*"):
                left.unlink()
            return self._connected()

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._file, timeout=10, check_same_thread=False, isolation_level=None)
        try:
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = off")  # it can be made anew
            if connection.execute("pragma user_version").fetchone()[0] not in (0, VERSION):
                raise sqlite3.DatabaseError("of another version")
            connection.executescript(f"{_TABLES} pragma user_version = {VERSION};")
            connection.execute("select count(*) from days").fetchone()
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def refresh(self, *, labels: bool = True, on_progress: Callable[[int], None] = lambda count: None) -> None:
        """Take in what has changed on the disk. `labels`: also in events that are known, which looks at every one of
        them; else only events that have come or gone. `on_progress` is told how many events were read."""
        with self._refreshing:
            days = {entry.name: entry for entry in os.scandir(self.folder) if _is_day(entry)}
            known = dict(self._rows("select day, stamp from days"))
            self._forget_days(known.keys() - days.keys())
            read = 0
            for day in sorted(days, reverse=True):  # the newest first: they are looked for first
                stamp = _settled(days[day].stat().st_mtime_ns)
                if labels or known.get(day) != stamp or stamp == 0:
                    read = self._refresh_day(day, stamp, read, on_progress)
            on_progress(read)

    def _refresh_day(self, day: str, stamp: int, before: int, on_progress: Callable[[int], None]) -> int:
        """Take in one day; gives how many events were read, `before` among them."""
        known = dict(self._rows("select id, stamp from events where day = ?", day))
        there = {f"{day}/{name}": at for name, at in _events_in(self.folder / day)}
        gone = [(event,) for event in known.keys() - there.keys()]
        changed = sorted(event for event, at in there.items() if at == 0 or known.get(event) != at)
        self._write(
            ("delete from events where id = ?", gone),
            ("delete from labels where event = ?", gone),
        )
        for first in range(0, len(changed), _CHUNK):
            self._take(changed[first : first + _CHUNK], there)
            on_progress(before + first)
        self._write(("insert or replace into days values (?, ?)", [(day, stamp)]))
        return before + len(changed)

    def update(self, event: str) -> None:
        """Take in one event whose labels have changed."""
        self._take([event], {event: 0})

    def _take(self, events: Iterable[str], stamps: dict[str, int]) -> None:
        rows, labels, taken = [], [], []
        for event in events:
            with suppress(OSError):  # deleted meanwhile
                row, said = _read(self.folder, event)
                rows.append((event, event.partition("/")[0], stamps[event], *row))
                labels += said
                taken.append((event,))
        self._write(
            ("delete from labels where event = ?", taken),
            ("insert or replace into labels values (?, ?, ?, ?, ?)", labels),
            (
                "insert into events (id, day, stamp, time, camera, verdict, score, kept, decision, kinds) "
                "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (id) do update set stamp = excluded.stamp, "
                "time = excluded.time, camera = excluded.camera, verdict = excluded.verdict, score = excluded.score, "
                "kept = excluded.kept, decision = excluded.decision, kinds = excluded.kinds",
                rows,
            ),
        )

    def _forget_days(self, days: Iterable[str]) -> None:
        gone = [(day,) for day in days]
        self._write(
            ("delete from labels where event in (select id from events where day = ?)", gone),
            ("delete from events where day = ?", gone),
            ("delete from days where day = ?", gone),
        )

    def _write(self, *statements: tuple[str, list[Any]]) -> None:
        if not any(rows for _, rows in statements):
            return
        with self._lock:
            self._connection.execute("begin immediate")
            try:
                for sql, rows in statements:
                    self._connection.executemany(sql, rows)
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def query(self, sql: str, values: Iterable[Any] = ()) -> list[Any]:
        """The rows of a query."""
        return self._rows(sql, *values)

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _is_day(entry: os.DirEntry[str]) -> bool:
    return DAY.fullmatch(entry.name) is not None and entry.is_dir(follow_symlinks=False)


def _events_in(day: Path) -> Iterator[tuple[str, int]]:
    """The events of a day, each with the time of its folder, which changes with its labels."""
    with suppress(FileNotFoundError), os.scandir(day) as entries:
        for entry in entries:
            if EVENT.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    yield entry.name, _settled(entry.stat(follow_symlinks=False).st_mtime_ns)


def _settled(stamp: int) -> int:
    """The time of a folder; 0, which is never taken for known, where it has just been changed."""
    return stamp if abs(time.time_ns() - stamp) > _SETTLED_NS else 0


def _read(folder: Path, event: str) -> tuple[tuple[Any, ...], list[tuple[str, ...]]]:
    """The columns of an event from its time on, and of its labels; raises OSError where it is gone."""
    path = folder / event
    try:
        told = json.loads((path / RESULT).read_bytes())
        score = told.get("score")
        score = float(score) if isinstance(score, (int, float)) and math.isfinite(score) else None
        camera, verdict, kept = (str(told.get(key, "")) for key in ("camera", "verdict", "kept_for"))
        taken = float(told.get("time") or _date_of(event))
    except (ValueError, AttributeError, TypeError):  # a damaged file: listed, so that somebody sees it
        camera, verdict, kept, score, taken = "", "", "cannot be read", None, _date_of(event)
    labels = {}
    with suppress(EdgeadError):  # said where the event is opened
        labels = read_labels(path)
    kinds = ", ".join(sorted({one.kind for one in labels.values() if one.kind}))
    said: list[tuple[str, ...]] = [(event, person, one.label, one.kind, one.when) for person, one in labels.items()]
    return (taken, camera, verdict, score, kept, decide(labels.values()), kinds), said


def _date_of(event: str) -> float:
    """Seconds since the epoch, as an event's name has them."""
    text = event.partition("/")[2][:22]
    return datetime.strptime(text, "%Y%m%dT%H%M%S.%f").replace(tzinfo=timezone.utc).timestamp()
