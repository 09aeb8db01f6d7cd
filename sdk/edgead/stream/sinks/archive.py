"""A folder of events under a quota: each is a folder of files that appears whole, and the oldest go first.

    FOLDER/2026-11-22/20261122T134501.250000_000123_camera_0_NG/{frame.png,heatmap.jpg,result.json}

The index is rebuilt by listing, so a restart forgets nothing. Only files that bear these names, in folders that bear
such names, are ever deleted: what a person puts there stays.
"""

from __future__ import annotations

import errno
import re
import secrets
import shutil
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgead.files import sync_folder, write_synced
from edgead.stream.sinks.folders import own_folder

FILES = ("frame.png", "frame.jpg", "heatmap.jpg", "result.json")
LAST = "result.json"  # an event has it; an emptied folder has not
_BLOCK = 4096  # bytes; what files take on a disk comes in such blocks
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_EVENT = re.compile(r"(\d{8}T\d{6}\.\d{6})_\d{6}.*")
_WRITING = ".writing-"


@dataclass(frozen=True, slots=True)
class _Event:
    path: Path
    bytes: int
    time: float  # seconds since the epoch


class Archive:
    """Events in a folder. For one thread; a second program is kept out by a lock."""

    def __init__(self, folder: Path, quota: int, days: float, free: int) -> None:
        """Take over `folder`: at most `quota` bytes, `days` of events, `free` bytes of the disk left to others.

        Raises DataError where the folder cannot be made, UsageError where another program writes to it.
        """
        self._lock = own_folder(folder)
        self._folder, self._quota, self._seconds, self._free = folder, quota, days * 86400, free
        for left in folder.glob(f"{_WRITING}*"):  # a power cut
            _remove_files(left)
        self._events = deque(sorted(_list(folder), key=lambda event: event.path.name))
        self.bytes = sum(event.bytes for event in self._events)

    def __len__(self) -> int:
        return len(self._events)

    def add(self, name: str, time: float, files: Mapping[str, bytes]) -> Path:
        """Write an event that `time` dates; its folder appears whole or not at all. Raises OSError.

        `name` begins as `edgead.stream.sinks.images.name_of` has it and `files` are named as in FILES.
        """
        needed = sum(map(_on_disk, map(len, files.values())))
        self._make_room(needed)
        draft = self._folder / f"{_WRITING}{secrets.token_hex(6)}"
        day = self._folder / datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%d")
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
        self._events.append(_Event(path, needed, time))
        self.bytes += needed
        return path

    def expire(self, now: float) -> None:
        """Delete what is older than the days to be kept, counted from `now`; raises OSError."""
        while self._events and self._events[0].time < now - self._seconds:
            self._drop_oldest()

    def close(self) -> None:
        self._lock.close()

    def _make_room(self, needed: int) -> None:
        if needed > self._quota:
            raise OSError(errno.EDQUOT, f"one event takes {needed} bytes, the quota is {self._quota}")
        short = shutil.disk_usage(self._folder).free - needed < self._free
        if short and self.bytes < needed:
            raise OSError(errno.ENOSPC, f"less than {self._free} bytes would be left on the disk of {self._folder}")
        freed = 0
        # On a disk that others have filled, new takes the place of old one for one: deleting more would not help.
        while self.bytes + needed > self._quota or (short and freed < needed):
            freed += self._drop_oldest()

    def _drop_oldest(self) -> int:
        event = self._events[0]
        _remove_files(event.path)
        self._events.popleft()
        self.bytes -= event.bytes
        return event.bytes


def _list(folder: Path) -> list[_Event]:
    found = []
    for day in folder.iterdir():
        if not _DAY.fullmatch(day.name) or day.is_symlink() or not day.is_dir():
            continue
        for path in day.iterdir():
            match = _EVENT.fullmatch(path.name)
            if match is None or path.is_symlink() or not (path / LAST).is_file():
                continue
            taken = datetime.strptime(match[1], "%Y%m%dT%H%M%S.%f").replace(tzinfo=timezone.utc).timestamp()
            sizes = [_on_disk(file.stat().st_size) for name in FILES if (file := path / name).is_file()]
            found.append(_Event(path, sum(sizes), taken))
    return found


def _rename(draft: Path, wished: Path) -> Path:
    """Give the draft its name, or the first free one after it. Renaming onto a folder with files in it fails."""
    copy = 1
    while True:
        path = wished if copy == 1 else wished.with_name(f"{wished.name}-{copy}")
        try:
            return draft.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        copy += 1


def _remove_files(event: Path) -> None:
    """Delete an event's own files, then its folder and its day's where nothing else is in them."""
    for name in sorted(FILES, key=lambda name: name == LAST):
        (event / name).unlink(missing_ok=True)
    with suppress(OSError):
        event.rmdir()
        if _DAY.fullmatch(event.parent.name):
            event.parent.rmdir()


def _on_disk(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
