"""Manages folders that a sink has to itself: made, locked against a second program, and written so that they last."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from pathlib import Path
from typing import IO

from edgead.errors import DataError, UsageError

LOCK = ".lock"


def own_folder(folder: Path) -> IO[bytes]:
    """Make `folder` and lock it until the returned file is closed; the system frees it when the program dies.

    Files that a program killed while it replaced them has left there are removed.
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
    for left in folder.glob(".*.tmp"):  # of `edgead.files.replace_file`
        with suppress(OSError):
            left.unlink()
    return lock
