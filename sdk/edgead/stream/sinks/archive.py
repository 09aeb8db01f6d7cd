"""Keeps a folder of events under a quota: each is a folder of files that appears whole, and the oldest go first.

    FOLDER/2026-11-22/20261122T134501.250000_000123_camera_0_NG/{frame.png,heatmap.jpg,result.json}

The index is rebuilt by listing, so a restart forgets nothing. What is oldest, and how old, is told by the order in
which events arrived (`arrivals`), not by their dates: a clock that is set deletes nothing. Only files that bear these
names, in folders that bear such names, are ever deleted: what a person puts there stays. An event that a person has
labeled stays as a whole and no longer counts to the quota. One that cannot be deleted is set aside until the next
start, and the next one is taken in its place.
"""

from __future__ import annotations

import errno
import logging
import secrets
import shutil
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgead.files import sync_folder, write_synced
from edgead.review.layout import DAY, EVENT, FILES, RESULT, day_of, is_labeled
from edgead.stream.sinks.arrivals import Arrivals
from edgead.stream.sinks.folders import own_folder

_BLOCK = 4096  # bytes; what files take on a disk comes in such blocks
_WRITING = ".writing-"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Event:
    path: Path
    bytes: int
    arrived: float  # seconds, by the clock of `arrivals`


class Archive:
    """Events in a folder. For one thread; a second program is kept out by a lock."""

    def __init__(self, folder: Path, quota: int, days: float, free: int) -> None:
        """Take over `folder`: at most `quota` bytes, `days` of events, `free` bytes of the disk left to others.

        Raises DataError where the folder cannot be made, UsageError where another program writes to it.
        """
        self._lock = own_folder(folder)
        self._folder, self._quota, self._seconds, self._free = folder, quota, days * 86400, free
        for left in folder.glob(f"{_WRITING}*"):  # a power cut
            with suppress(OSError):
                _remove_files(left)
        found = _list(folder)
        self._arrivals = Arrivals(folder, ((_key(path), date) for path, date, _ in found), self._seconds / 2)
        events = [_Event(path, size, self._arrivals[_key(path)]) for path, _, size in found]
        self._events = deque(sorted(events, key=lambda event: (event.arrived, event.path.name)))
        self.bytes = sum(event.bytes for event in self._events)
        self._stuck = 0  # events that cannot be deleted

    def __len__(self) -> int:
        return len(self._events)

    def add(self, name: str, time: float, files: Mapping[str, bytes]) -> Path:
        """Write an event that `time` dates; its folder appears whole or not at all. Raises OSError.

        `name` begins as `edgead.stream.sinks.images.name_of` has it and `files` are named as in FILES.
        """
        needed = sum(map(_on_disk, map(len, files.values())))
        self._make_room(needed)
        draft = self._folder / f"{_WRITING}{secrets.token_hex(6)}"
        day = self._folder / day_of(time)
        try:
            draft.mkdir()
            for file, data in files.items():
                write_synced(draft / file, data)
            day.mkdir(exist_ok=True)
            path = _rename(draft, day / name)
        except OSError:
            _remove_files(draft)
            raise
        sync_folder(day)
        self._events.append(_Event(path, needed, self._arrivals.add(_key(path))))
        self.bytes += needed
        return path

    def expire(self) -> None:
        """Delete what arrived longer ago than the days to be kept."""
        oldest = self._arrivals.now() - self._seconds
        while self._events and self._events[0].arrived < oldest:
            self._drop_oldest()

    def close(self) -> None:
        self._arrivals.close()
        self._lock.close()

    def _make_room(self, needed: int) -> None:
        if needed > self._quota:
            raise OSError(errno.EFBIG, f"one event takes {needed} bytes, the quota is {self._quota}")
        short = shutil.disk_usage(self._folder).free - needed < self._free
        if short and self.bytes < needed:
            raise OSError(errno.ENOSPC, f"less than {self._free} bytes would be left on the disk of {self._folder}")
        freed = 0
        # On a disk that others have filled, new takes the place of old one for one: deleting more would not help.
        while self.bytes + needed > self._quota or (short and freed < needed):
            if not self._events:
                raise OSError(
                    errno.EDQUOT, f"{self._stuck} events in {self._folder} cannot be deleted: free space there"
                )
            freed += self._drop_oldest()

    def _drop_oldest(self) -> int:
        """Delete the oldest event and return its bytes; 0 for one that is labeled, or cannot be deleted (said once)."""
        event = self._events.popleft()
        if is_labeled(event.path):  # it is the person's now
            self.bytes -= event.bytes
            return 0
        try:
            _remove_files(event.path)
        except OSError as error:
            if not self._stuck:
                _log.error("%s cannot be deleted: %s; the next one goes instead", event.path, error.strerror)
            self._stuck += 1
            return 0
        self._arrivals.forget(_key(event.path))
        self.bytes -= event.bytes
        return event.bytes


def _key(event: Path) -> str:
    """An event's path within its archive."""
    return f"{event.parent.name}/{event.name}"


def _list(folder: Path) -> list[tuple[Path, float, int]]:
    """The events in a folder that nobody has labeled: path, date in seconds since the epoch, and bytes on the disk."""
    found = []
    for day in folder.iterdir():
        if not DAY.fullmatch(day.name) or day.is_symlink() or not day.is_dir():
            continue
        for path in day.iterdir():
            match = EVENT.fullmatch(path.name)
            if match is None or path.is_symlink() or not (path / RESULT).is_file() or is_labeled(path):
                continue
            taken = datetime.strptime(match[1], "%Y%m%dT%H%M%S.%f").replace(tzinfo=timezone.utc).timestamp()
            sizes = [_on_disk(file.stat().st_size) for name in FILES if (file := path / name).is_file()]
            found.append((path, taken, sum(sizes)))
    return found


def _rename(draft: Path, wanted: Path) -> Path:
    """Give the draft its name, or the first free one after it. Renaming onto a folder with files in it fails."""
    copy = 1
    while True:
        path = wanted if copy == 1 else wanted.with_name(f"{wanted.name}-{copy}")
        try:
            return draft.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        copy += 1


def _remove_files(event: Path) -> None:
    """Delete an event's own files, then its folder and its day's where nothing else is in them."""
    for name in sorted(FILES, key=lambda name: name == RESULT):
        (event / name).unlink(missing_ok=True)
    with suppress(OSError):
        event.rmdir()
        if DAY.fullmatch(event.parent.name):
            event.parent.rmdir()


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
