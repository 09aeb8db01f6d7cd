"""Keeps what could not be delivered and never will be: counted by reason, as JSON lines up to a quota.

A line is `{"when": ..., "reason": ..., "number": ..., "message": ...}`: the time in UTC, why the receiver will not have
it, its number in the queue, and the message as it was to be sent. The file only grows; where it is moved away, a new
one is begun, so whoever has put the trouble right can send its messages again.
"""

from __future__ import annotations

import errno
import json
import logging
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

from edgead.closing import Closing
from edgead.errors import DataError
from edgead.files import LineFile

NAME = "dead-letters.jsonl"

_log = logging.getLogger(__name__)


class DeadLetters(Closing):
    """A file of dead letters. One thread adds, any may read the counts."""

    def __init__(self, folder: Path, quota: int) -> None:
        """Keep up to `quota` bytes in `folder`; the file is made with the first letter."""
        self.path = folder / NAME
        self.counts: Counter[str] = Counter()
        self._quota = quota
        self._file: LineFile | None = None
        self._full = False
        if self.path.exists() and not self.path.is_file():
            raise DataError(f"{self.path} is no file: move it away, dead letters are kept there")

    def add(self, number: int, message: str, reason: str) -> None:
        """Count a result that is given up and keep it where the quota allows; the first of a reason is said.

        Raises OSError, and counts nothing, where the disk is full: the result is to wait until it can be kept.
        """
        about = {"when": datetime.now(timezone.utc).isoformat(), "reason": reason, "number": number}
        kept = self._append(json.dumps({**about, "message": _parsed(message)}).encode())
        self.counts[reason] += 1
        if kept and self.counts[reason] == 1:
            _log.error("result %d is given up (%s); it and others like it are kept in %s", number, reason, self.path)

    def _append(self, line: bytes) -> bool:
        """Whether the line was kept; where it was not, the first time is said."""
        trouble = f"has reached its quota of {self._quota} bytes"
        try:
            self._file = self._file or LineFile(self.path)
            if self._file.size() + len(line) + 1 <= self._quota:
                self._file.append(line)
                self._file.sync()
                self._full = False
                return True
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            trouble = f"cannot be written ({error.strerror})"
        if not self._full:
            _log.error("%s %s: dead letters are only counted", self.path, trouble)
        self._full = True
        return False

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _parsed(message: str) -> object:
    """The message as JSON values where it is JSON, else its text."""
    try:
        return json.loads(message)
    except ValueError:
        return message
