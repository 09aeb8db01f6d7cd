"""Writing files that are whole: a reader sees the old one or the new one, also after a power cut."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

from edgead.errors import EdgeadError


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


def cache_folder(name: str) -> Path:
    """Where what can be made again is kept: `name` in the folder EDGEAD_CACHE names, else in the one that systemd gives
    (CACHE_DIRECTORY), else in XDG_CACHE_HOME/edgead, else in ~/.cache/edgead."""
    given = os.environ.get("EDGEAD_CACHE") or os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given) / name
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgead" / name
