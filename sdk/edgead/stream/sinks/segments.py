"""Reads and writes the files of a disk queue: records in segments, and what is done about damaged ones.

A segment is named by the number of its first record. Each record is a length, a CRC-32 over its number and its data,
and the data; numbers rise by one within a segment. What is damaged becomes a gap, a record whose checksum is inverted,
so that every other record keeps its place and its number, and nothing is allocated on a disk that may be full.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HEAD = struct.Struct(">II")  # length of the data, CRC-32 of number and data
SUFFIX = ".segment"
_NUMBER = struct.Struct(">Q")
_REACH = 4096  # records that one damaged place may span and the next is still found behind it

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Segment:
    """A file of records whose numbers follow one another."""

    path: Path
    first: int  # number of its first record
    count: int = 0
    bytes: int = 0

    @property
    def end(self) -> int:
        """The number after its last record."""
        return self.first + self.count


@dataclass(frozen=True, slots=True)
class Opened:
    """What was found in the folder of a queue."""

    segments: list[Segment]
    last: int  # the highest number that was given, also to a record that is damaged
    damaged: list[int]  # numbers of records that could not be saved


@dataclass(frozen=True, slots=True)
class _Run:
    """Whole records that follow one another: their first number, their count, and the bytes they take."""

    number: int
    count: int
    start: int
    stop: int

    @property
    def end(self) -> int:
        """The number after its last record."""
        return self.number + self.count


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a record should stand."""

    number: int
    at: int


def crc(number: int, data: bytes = b"") -> int:
    """The checksum of a record; it covers the number, so that an old record is not taken for a new one."""
    return zlib.crc32(data, zlib.crc32(_NUMBER.pack(number)))


def packed(number: int, data: bytes) -> bytes:
    """A record as it stands in a segment."""
    return HEAD.pack(len(data), crc(number, data)) + data


def gap(number: int, data: bytes) -> int:
    """The checksum of a gap in the place of record `number`."""
    return crc(number, data) ^ 0xFFFFFFFF


def segment_path(folder: Path, number: int) -> Path:
    """The segment whose first record is `number`."""
    return folder / f"{number:020d}{SUFFIX}"


def open_segments(folder: Path) -> Opened:
    """The segments of a folder in order, damaged records taken out; raises OSError."""
    paths = sorted(path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdecimal())
    opened = [recover(path) for path in paths]
    return Opened(
        [segment for one in opened for segment in one.segments],
        max((one.last for one in opened), default=0),
        [number for one in opened for number in one.damaged],
    )


def recover(path: Path) -> Opened:
    """Make gaps of damaged records and cut off what follows the last whole one; raises OSError.

    What is damaged is said in the log. A segment that is whole is only read, one without a whole record is deleted.
    """
    raw, first = (path.read_bytes() if path.exists() else b""), int(path.stem)
    runs = _whole_runs(raw, first)
    last = runs[-1] if runs else _Run(first, 0, 0, 0)
    torn = last.stop < len(raw)
    lost = [number for start, run in _spans(first, runs) for number in range(start.number, run.number)]
    if torn and _data(raw, last.stop) is not None:  # all of its bytes are there, but they are not what was written
        lost.append(last.end)
    if lost:
        kept = sum(run.count for run in runs)
        _log.error("%s: %d damaged records are taken out, %d are kept", path, len(lost), kept)
    elif torn:
        _log.warning("%s: %d bytes after its last whole record are cut off", path, len(raw) - last.stop)
    if not runs:
        path.unlink(missing_ok=True)
        return Opened([], first - 1 + torn, lost)
    with path.open("r+b") as file:
        for start, run in _spans(first, runs):
            _write_gaps(file.fileno(), raw, start, run)
        os.ftruncate(file.fileno(), last.stop)
        if lost:
            os.fsync(file.fileno())
    return Opened([Segment(path, first, last.end - first, last.stop)], last.end - 1 + torn, lost)


def _spans(first: int, runs: list[_Run]) -> Iterator[tuple[_Place, _Run]]:
    """Each damaged span: its first number and where it begins, and the run of whole records that follows it."""
    place = _Place(first, 0)
    for run in runs:
        if run.start > place.at:
            yield place, run
        place = _Place(run.end, run.stop)


def _write_gaps(handle: int, raw: bytes, start: _Place, run: _Run) -> None:
    """Put a gap in the place of each damaged record of a span: all but the last of them empty."""
    at = start.at
    for number in range(start.number, run.number):
        length = 0 if number < run.number - 1 else run.start - at - HEAD.size
        data = raw[at + HEAD.size : at + HEAD.size + length]
        os.pwrite(handle, HEAD.pack(length, gap(number, data)), at)
        at += HEAD.size + length


def _whole_runs(raw: bytes, number: int) -> list[_Run]:
    runs: list[_Run] = []
    offset = 0
    while offset < len(raw):
        run = _run(raw, offset, number)
        if run.count:
            runs.append(run)
        following = _next_record(raw, run.stop, number + run.count)
        if following is None:
            break
        offset, number = following
    return runs


def _run(raw: bytes, offset: int, number: int) -> _Run:
    """The whole records from `offset` on, the first of which should be `number`."""
    count, stop = 0, offset
    while (data := _data(raw, stop)) is not None and _checksum(raw, stop) in _sums(number + count, data):
        count, stop = count + 1, stop + HEAD.size + len(data)
    return _Run(number, count, offset, stop)


def _sums(number: int, data: bytes) -> tuple[int, int]:
    """The checksums of a whole record and of a gap."""
    return crc(number, data), gap(number, data)


def _next_record(raw: bytes, damaged: int, number: int) -> tuple[int, int] | None:
    """Offset and number of the first whole record after the damaged one at `damaged`, which should be `number`.

    The checksum covers the number, so a whole record is told from other bytes wherever it begins.
    """
    empty = {crc(candidate): candidate for candidate in range(number + 1, number + _REACH)}
    for offset in range(damaged + HEAD.size, len(raw) - HEAD.size + 1):
        data = _data(raw, offset)
        if data is None:
            continue
        checksum = _checksum(raw, offset)
        most = number + min(_REACH, 1 + (offset - damaged) // HEAD.size)  # each record has a head at least
        if not data:
            found = empty.get(checksum)
        else:
            found = next((n for n in range(number + 1, most) if crc(n, data) == checksum), None)
        if found is not None and found < most:
            return offset, found
    return None


def _data(raw: bytes, offset: int) -> bytes | None:
    """The data of the record at `offset`, where its length allows one there."""
    if len(raw) < offset + HEAD.size:
        return None
    stop = offset + HEAD.size + int.from_bytes(raw[offset : offset + 4], "big")
    return raw[offset + HEAD.size : stop] if stop <= len(raw) else None


def _checksum(raw: bytes, offset: int) -> int:
    return int.from_bytes(raw[offset + 4 : offset + 8], "big")
