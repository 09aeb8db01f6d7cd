"""Folders that a sink has to itself: made, locked against a second program, and written so that they last."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from edgead.errors import DataError, UsageError

LOCK = ".lock"


def own_folder(folder: Path) -> IO[bytes]:
    """Make `folder` and lock it until the returned file is closed; the system frees it when the program dies.

    Raises DataError where it cannot be made, UsageError where another program has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("ab")
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be made: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise UsageError(f"another edgead writes to {folder}: stop it, or give each a folder of its own") from error
    return lock


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
