"""Implements a first-in, first-out queue on the disk, for results whose receiver may be away.

What is promised. Once `append` has returned, a record is handed out by `peek`, in order, until `acknowledge` has
named it: also after the program was killed, since every write has reached the system by then. It outlives a power
cut as soon as it is on the disk, which is waited for before `append` returns where `sync_s` is 0, and otherwise
within `sync_s` seconds, unless it was acknowledged before: a queue that is emptied at once never waits for the disk.
After a crash an acknowledged record may be handed out again: delivery is at least once. Numbers rise by one, and tell
a repeated record; only after a power cut may numbers of delivered records be given to new ones. A record that was
damaged on the disk is skipped and counted, never handed out; the others keep their numbers.

What is refused. A queue that has reached its limit, or a full disk, refuses the new record with an OSError and keeps
the old ones.

On the disk: the files that `segments` describes; the number of the last acknowledged record in a file beside them,
twice, so that a damaged one does not make the numbers begin anew. A segment is deleted when its last record is
acknowledged. Where the disk takes no acknowledgment, as one that is full may, it is remembered here and written later.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import time
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Condition

from edgead.errors import DataError
from edgead.files import sync_folder
from edgead.stream.sinks.folders import own_folder
from edgead.stream.sinks.segments import HEAD, Segment, crc, gap, open_segments, packed, recover, segment_path

_log = logging.getLogger(__name__)

_ACKNOWLEDGED = struct.Struct(">QI")  # number acknowledged, its CRC-32; stands in its file twice
_ACKNOWLEDGED_FILE = "acknowledged"


@dataclass(frozen=True, slots=True)
class Record:
    number: int
    data: bytes


class DiskQueue:
    """Records of bytes, numbered from 1. One thread may append while another delivers."""

    def __init__(self, folder: Path, limit: int = 256 * 10**6, sync_s: float = 1.0, segment: int = 10**6) -> None:
        """Open the queue in `folder`, of at most `limit` bytes in segments of about `segment`.

        Raises DataError where it cannot be read or made, UsageError where another program has it.
        """
        self._lock_file = own_folder(folder)
        self._folder, self._limit, self._sync_s = folder, limit, sync_s
        self._segment_bytes = max(1, min(segment, limit // 8))
        self._changed = Condition()
        self._unsynced_since: float | None = None
        self._active: int | None = None  # descriptor of the last segment, open for writing
        self._torn = False  # the last segment has more bytes than `bytes` says
        try:
            self._handle = os.open(folder / _ACKNOWLEDGED_FILE, os.O_RDWR | os.O_CREAT, 0o644)
            self._acknowledged = _read_acknowledged(self._handle)
            opened = open_segments(folder)
        except OSError as error:
            self._lock_file.close()
            raise DataError(f"the queue in {folder} cannot be opened: {error.strerror or error}") from error
        self._segments = deque(opened.segments)
        self._last = max(self._acknowledged, opened.last)
        self.damaged = self._unacknowledged(opened.damaged)  # records that the disk has not kept
        self._cursor = (0, 0)  # number and offset in its segment of a record that was read, to go on from
        self._mark_refused = False
        self._unmarked = True  # the mark is yet to be written: with the first record, while the disk has free space
        self._drop_acknowledged()

    @property
    def next(self) -> int:
        """The number that the next record will have."""
        return self._last + 1

    def __len__(self) -> int:
        """How many records wait, damaged ones among them."""
        with self._changed:
            return sum(self._waiting(segment) for segment in self._segments)

    def append(self, data: bytes) -> int:
        """Store `data` and return its number; raises OSError and stores nothing where the disk is full."""
        with self._changed:
            self._write_acknowledged()
            number = self._last + 1
            record = packed(number, data)
            if sum(segment.bytes for segment in self._segments) + len(record) > self._limit:
                raise OSError(errno.ENOSPC, f"the queue in {self._folder} has reached its limit of {self._limit} bytes")
            segment, handle = self._writable(number)
            try:
                _write_all(handle, record)
            except OSError:
                self._torn = True
                self._truncate(segment, handle)
                raise
            segment.bytes += len(record)
            segment.count += 1
            self._last = number
            self._unsynced_since = self._unsynced_since or time.monotonic()
            self._sync_if_due()
            self._changed.notify_all()
            return number

    def peek(self, count: int) -> list[Record]:
        """The oldest waiting records, at most `count`; raises OSError where they cannot be read."""
        with self._changed:
            found: list[Record] = []
            position = 0
            while position < len(self._segments) and len(found) < count:
                segment = self._segments[position]
                records = self._read(segment, count - len(found)) if self._waiting(segment) else []
                if records is None:
                    self._take_out_damaged(segment)
                    continue
                found += records
                position += 1
            return found

    def wait(self, seconds: float) -> None:
        """Return once a record waits, or after `seconds`."""
        with self._changed:
            if not any(map(self._waiting, self._segments)):
                self._changed.wait(seconds)

    def sync(self) -> None:
        """Keep the promise about the disk while nothing is appended: call it often. Raises OSError."""
        with self._changed:
            if self._last:
                self._write_acknowledged()
            self._sync_if_due()

    def wake(self) -> None:
        """End a `wait`."""
        with self._changed:
            self._changed.notify_all()

    def acknowledge(self, number: int) -> None:
        """Forget every record up to `number`, which has been handed out, whether or not the disk takes note."""
        with self._changed:
            if not self._acknowledged < number <= self._last:
                return
            self._acknowledged, self._unmarked = number, True
            self._write_acknowledged()
            self._drop_acknowledged()

    def close(self) -> None:
        """Wait until what is left is on the disk; calling it again does nothing."""
        with self._changed:
            if self._lock_file.closed:
                return
            with suppress(OSError):
                self._sync()
            if self._last:
                self._write_acknowledged()
            self._close_active()
            os.close(self._handle)
            self._lock_file.close()

    def _write_acknowledged(self) -> None:
        if not self._unmarked:
            return
        try:
            os.pwrite(self._handle, 2 * _ACKNOWLEDGED.pack(self._acknowledged, crc(self._acknowledged)), 0)
            self._unmarked = False
            self._mark_refused = False
        except OSError as error:
            if not self._mark_refused:
                _log.error(
                    "the queue in %s cannot note what has arrived: %s; a restart would repeat it",
                    self._folder,
                    error.strerror,
                )
            self._mark_refused = True

    def _waiting(self, segment: Segment) -> int:
        return max(0, min(segment.count, segment.first + segment.count - 1 - self._acknowledged))

    def _writable(self, number: int) -> tuple[Segment, int]:
        """The last segment, or a new one where that is long enough or its numbers do not go on to `number`."""
        last = self._segments[-1] if self._segments else None
        if last is not None and last.bytes < self._segment_bytes and last.end == number:
            if self._active is None:
                self._active = os.open(last.path, os.O_WRONLY | os.O_APPEND)
            if self._torn:
                self._truncate(last, self._active)
            if not self._torn:
                return last, self._active
        self._sync()
        self._close_active()
        path = segment_path(self._folder, number)
        self._active = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o644)
        self._torn = False
        self._segments.append(Segment(path, number))
        return self._segments[-1], self._active

    def _truncate(self, segment: Segment, handle: int) -> None:
        """Take off what a failed write left behind."""
        with suppress(OSError):
            os.ftruncate(handle, segment.bytes)
            self._torn = False

    def _read(self, segment: Segment, count: int) -> list[Record] | None:
        """Up to `count` waiting records of a segment, or None where one of them is damaged."""
        number, offset = segment.first, 0
        start = max(segment.first, self._acknowledged + 1)
        if segment.first <= self._cursor[0] <= start:
            number, offset = self._cursor
        found: list[Record] = []
        if not segment.path.exists():
            return None
        with segment.path.open("rb") as file:
            file.seek(offset)
            while number < segment.end and len(found) < count:
                if number == start:
                    self._cursor = (number, file.tell())
                head = file.read(HEAD.size)
                length, checksum = HEAD.unpack(head) if len(head) == HEAD.size else (segment.bytes + 1, 0)
                data = file.read(min(length, segment.bytes))
                if len(data) < length or checksum not in (crc(number, data), gap(number, data)):
                    return None
                if number >= start and checksum != gap(number, data):
                    found.append(Record(number, data))
                number += 1
        return found

    def _take_out_damaged(self, segment: Segment) -> None:
        """Put what is left of a segment in its place; raises OSError."""
        if segment is self._segments[-1]:
            self._close_active()
            self._unsynced_since = None
        left = recover(segment.path)
        end = left.segments[0].end if left.segments else segment.first
        self.damaged += self._unacknowledged({*left.damaged, *range(end, segment.end)})
        others = list(self._segments)
        place = others.index(segment)
        self._segments = deque([*others[:place], *left.segments, *others[place + 1 :]])
        self._cursor = (0, 0)

    def _unacknowledged(self, numbers: Collection[int]) -> int:
        return sum(number > self._acknowledged for number in numbers)

    def _drop_acknowledged(self) -> None:
        while self._segments and not self._waiting(self._segments[0]):
            segment = self._segments[0]
            if len(self._segments) == 1 and segment.bytes < self._segment_bytes:
                self._unsynced_since = None  # nothing waits
                return
            if len(self._segments) == 1:
                self._close_active()
                self._unsynced_since = None
            with suppress(OSError):  # else the next start drops it: all of it is acknowledged
                segment.path.unlink(missing_ok=True)
            self._segments.popleft()

    def _sync_if_due(self) -> None:
        since = self._unsynced_since
        if since is not None and time.monotonic() - since >= self._sync_s:
            self._sync()

    def _sync(self) -> None:
        if self._active is not None and self._unsynced_since is not None:
            os.fsync(self._active)
            sync_folder(self._folder)
            self._unsynced_since = None

    def _close_active(self) -> None:
        if self._active is not None:
            os.close(self._active)
            self._active = None


def _read_acknowledged(handle: int) -> int:
    """The number last acknowledged; 0 where the mark is new or damaged, which repeats records but loses none."""
    written = os.pread(handle, 2 * _ACKNOWLEDGED.size, 0)
    whole = written[: len(written) // _ACKNOWLEDGED.size * _ACKNOWLEDGED.size]
    return max((number for number, checksum in _ACKNOWLEDGED.iter_unpack(whole) if checksum == crc(number)), default=0)


def _write_all(handle: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(handle, data[written:])
