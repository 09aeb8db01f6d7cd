"""Reads and writes the files of a disk queue: records in segments, and what is done about damaged ones.

A segment is named by the number of its first record. Each record is a length, a CRC-32 over its number and its data,
and the data; numbers rise by one within a segment. A damaged record is taken out by splitting its segment around it,
so that every other record keeps its number.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from edgead.errors import EdgeadError
from edgead.files import write_file

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
    damaged: int  # records that could not be saved


@dataclass(frozen=True, slots=True)
class _Run:
    """Whole records that follow one another: their first number, their count, and the bytes they take."""

    number: int
    count: int
    start: int
    stop: int


def crc(number: int, data: bytes = b"") -> int:
    """The checksum of a record; it covers the number, so that an old record is not taken for a new one."""
    return zlib.crc32(data, zlib.crc32(_NUMBER.pack(number)))


def packed(number: int, data: bytes) -> bytes:
    """A record as it stands in a segment."""
    return HEAD.pack(len(data), crc(number, data)) + data


def segment_path(folder: Path, number: int) -> Path:
    """The segment whose first record is `number`."""
    return folder / f"{number:020d}{SUFFIX}"


def open_segments(folder: Path) -> Opened:
    """The segments of a folder in order, damaged records taken out; raises OSError."""
    paths = sorted(path for path in folder.glob(f"*{SUFFIX}") if path.stem.isdecimal())
    opened = [repair(path) for path in paths]
    segments = {segment.first: segment for one in opened for segment in one.segments}
    return Opened(
        [segments[first] for first in sorted(segments)],
        max((one.last for one in opened), default=0),
        sum(one.damaged for one in opened),
    )


def repair(path: Path) -> Opened:
    """Split a segment around its damaged records and cut off what follows the last whole one; raises OSError.

    What is damaged is said in the log. A segment that is whole is only read.
    """
    raw, first = (path.read_bytes() if path.exists() else b""), int(path.stem)
    runs = _whole_runs(raw, first)
    found = [
        Segment(segment_path(path.parent, run.number), run.number, run.count, run.stop - run.start) for run in runs
    ]
    stop, end = (runs[-1].stop, found[-1].end) if found else (0, first)
    torn = stop < len(raw)
    whole = torn and _data(raw, stop) is not None  # all of its bytes are there, but they are not what was written
    lost = end - first - sum(segment.count for segment in found) + whole
    if lost:
        _log.error("%s: %d damaged records are taken out, %d are kept", path, lost, sum(one.count for one in found))
    elif torn:
        _log.warning("%s: %d bytes after its last whole record are cut off", path, len(raw) - stop)
    for run, segment in zip(runs, found, strict=True):
        if run.start:
            _write(segment.path, raw[run.start : run.stop])
    kept = runs[0].stop if runs and runs[0].start == 0 else 0
    if not kept:
        path.unlink(missing_ok=True)
    elif kept < len(raw):
        os.truncate(path, kept)
    return Opened(found, end - 1 + torn, lost)


def _write(path: Path, data: bytes) -> None:
    try:
        write_file(path, data)
    except EdgeadError as error:
        raise OSError(str(error)) from error


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
    while (data := _data(raw, stop)) is not None and _checksum(raw, stop) == crc(number + count, data):
        count, stop = count + 1, stop + HEAD.size + len(data)
    return _Run(number, count, offset, stop)


def _next_record(raw: bytes, damaged: int, number: int) -> tuple[int, int] | None:
    """Offset and number of the first whole record after the damaged one at `damaged`, which should be `number`.

    The checksum covers the number, so a whole record is told from other bytes wherever it begins.
    """
    empty = {crc(candidate): candidate for candidate in range(number + 1, number + _REACH)}
    for offset in range(damaged + 1, len(raw) - HEAD.size + 1):
        data = _data(raw, offset)
        if data is None:
            continue
        checksum = _checksum(raw, offset)
        most = number + min(_REACH, 2 + (offset - damaged) // HEAD.size)
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
