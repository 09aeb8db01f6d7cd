"""Reads files that end, and writes files that are whole, also after a power cut: replaced, or extended by lines."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from edgead.closing import Closing
from edgead.errors import EdgeadError

TEXT_LIMIT = 64 << 20  # bytes of a file of settings, lists, keys or results that a person names


def read_whole(path: Path, most: int = TEXT_LIMIT) -> bytes:
    """The bytes of a file that somebody named; raises OSError for what has more than `most`, or never ends.

    A pipe, as `<(...)` of a shell is, gives what comes out of it; devices are refused.
    """
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        if stat.S_ISCHR(about.st_mode) or stat.S_ISBLK(about.st_mode):
            raise OSError(errno.EINVAL, "it is a device, no file")
        raw = file.read() if about.st_size <= most and stat.S_ISREG(about.st_mode) else file.read(most + 1)
    if len(raw) > most:
        raise OSError(errno.EFBIG, f"it has more than {most >> 20} MiB")
    return raw


def write_file(path: Path, data: bytes) -> None:
    """Replace `path` by `data` atomically, making its folder; raises EdgeadError and leaves the old file as it was."""
    replace_file(path, lambda file: file.write(data))


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Replace `path` by what `write` puts into the file it is handed (temporary file, fsync, rename).

    Whatever `write` raises passes through; an OSError becomes an EdgeadError. Either way the old file stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeadError(f"the folder {path.parent} cannot be made: {error.strerror}") from error
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise EdgeadError(f"{path} cannot be written: {error.strerror}; the old file, if any, is unchanged") from error
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make what was made, renamed or removed in the folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and wait until the disk has it; raises OSError."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class LineFile(Closing):
    """A file that only grows, by whole lines. It is opened anew once it was moved away, as logrotate does.

    A line that a full disk or a kill has cut short stays alone: the next one begins a new line. For one thread.
    """

    def __init__(self, path: Path) -> None:
        """Open `path` for appending, making its folder; raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file: IO[bytes] | None = None
        self._torn = False  # the last line is not whole
        self._open()

    def append(self, line: bytes) -> None:
        """Write `line`, which ends without a line feed, as a line of its own; raises OSError."""
        self._reopen_if_moved()
        line = (b"\n" if self._torn else b"") + line + b"\n"
        written = 0
        try:
            while written < len(line):
                written += os.write(self._handle(), line[written:])
            self._torn = False
        except OSError:
            self._torn = self._torn or written > 0
            raise

    def sync(self) -> None:
        """Wait until the disk has what was appended; raises OSError."""
        os.fsync(self._handle())

    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._handle()).st_size

    def close(self) -> None:
        """Wait until the disk has everything, and close."""
        if self._file is None:
            return
        try:
            self.sync()
        finally:
            self._file.close()
            self._file = None

    def _handle(self) -> int:
        if self._file is None:
            raise OSError(f"{self.path} is closed")
        return self._file.fileno()

    def _open(self) -> None:
        self._file = self.path.open("a+b", buffering=0)
        size = self.size()
        self._torn = size > 0 and os.pread(self._handle(), 1, size - 1) != b"\n"

    def _reopen_if_moved(self) -> None:
        """Go on in a new file where `path` is no longer the one that is open."""
        with suppress(FileNotFoundError):
            if os.path.samestat(self.path.stat(), os.fstat(self._handle())):
                return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        old = self._file
        self._open()
        if old is not None:
            old.close()


def state_folder(name: str) -> Path:
    """Where what must not be lost is kept: `name` in systemd's STATE_DIRECTORY, else in XDG_STATE_HOME/edgead, else in
    ~/.local/state/edgead."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given) / name
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "edgead" / name


def cache_folder(name: str) -> Path:
    """Where what can be made again is kept: `name` in the folder EDGEAD_CACHE names, else in the one that systemd gives
    (CACHE_DIRECTORY), else in XDG_CACHE_HOME/edgead, else in ~/.cache/edgead."""
    given = os.environ.get("EDGEAD_CACHE") or os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given) / name
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgead" / name
