"""Puts a station's bundle into force and takes it back, whole at every moment, also when the power is cut.

Beside `bottle.edgead` the folder `bottle.edgead.versions` keeps what was in force by digest, and `history.jsonl`: each
change is written there before it is made and marked as done afterwards. The change itself is one rename. What a power
cut left open is settled by the next command, by what `bottle.edgead` then is: made, or never begun.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edgead.bundle import Bundle
from edgead.bundle.store import Trust
from edgead.closing import Closing
from edgead.errors import BundleError, EdgeadError, UsageError
from edgead.files import LineFile, sync_folder, write_file
from edgead.stream.audit import AuditLog

PROMOTE, ROLL_BACK = "promote", "rollback"
KEPT = 10  # bundles that were in force, to go back to
_HISTORY, _LOCK = "history.jsonl", ".lock"
_DONE, _GIVEN_UP = "done", "given up"


@dataclass(frozen=True, slots=True)
class Change:
    """A bundle that takes the place of another; digests are whole, and `old` is empty where there was none."""

    what: str  # promote or rollback
    old: str
    new: str
    who: str
    when: str  # ISO 8601, UTC


class Versions(Closing):
    """The bundle of a station and those that were in force before it."""

    def __init__(self, bundle: Path, audit: AuditLog, trust: Trust | None = None) -> None:
        """`bundle` is the station's; every change is told to `audit`, which is closed with this. With `trust` only a
        bundle that is signed with a trusted key is put into force."""
        self.bundle, self._audit, self._trust = bundle, audit, trust
        self.folder = bundle.with_name(f"{bundle.name}.versions")

    def promote(self, candidate: Path, who: str) -> Change:
        """Put `candidate` into force; the file itself stays where it is.

        Raises BundleError, UsageError where it is in force already, or EdgeadError for a disk that does not take it.
        """
        with self._locked():
            new = Bundle.open(candidate, trust=self._trust)
            old = self._digest()
            if new.digest == old:
                raise UsageError(f"{candidate} is in force already: {self.bundle} has the same contents")
            return self._change(PROMOTE, old, new, who)

    def rollback(self, who: str) -> Change:
        """Put the bundle into force that was there before the last promotion; again: the one before that.

        Raises UsageError where there is none, BundleError where it can no longer be used.
        """
        with self._locked():
            current = self._digest()
            before = self._before(current)
            if not before:
                raise UsageError(f"{self.bundle} was not promoted by `edgead promote`: there is nothing to go back to")
            return self._change(ROLL_BACK, current, Bundle.open(self._version(before), trust=self._trust), who)

    def can_roll_back(self) -> bool:
        """Whether there is a bundle to go back to."""
        return bool(self._before(self._digest()))

    def has(self, candidate: Path) -> bool:
        """Whether the contents of `candidate` are in force; raises BundleError where it is no bundle."""
        return Bundle.open(candidate).digest == self._digest()

    def _before(self, current: str) -> str:
        """The digest of what was in force before the last promotion; empty where that is not known."""
        stack = self._promotions()
        return stack[-1].old if stack and stack[-1].new == current else ""

    def history(self) -> list[Change]:
        """Every change that was made, the oldest first; one that a power cut left open counts where it was made."""
        return [change for change, made in self._changes(self._digest()) if made]

    def close(self) -> None:
        self._audit.close()

    def _change(self, what: str, old: str, new: Bundle, who: str) -> Change:
        """Make a change step by step; each leaves what `_settle` understands."""
        assert new.path is not None  # it was opened
        change = Change(what, old, new.digest, who, datetime.now(timezone.utc).isoformat())
        raw = new.path.read_bytes()
        if old:
            self._store(old, self.bundle)
        self._store(new.digest, new.path)
        self._append(asdict(change))
        self._take_signatures(new.path)
        write_file(self.bundle, raw)
        self._end(change)
        self._forget()
        return change

    def _end(self, change: Change) -> None:
        self._audit.note(change.what, change.old[:12], change.new[:12], change.who, persisted=True)
        self._append({"what": _DONE})

    def _settle(self) -> None:
        """Bring to its end what a power cut left open, and remove what was being written."""
        for folder, pattern in ((self.folder, ".*.tmp"), (self.bundle.parent, f".{self.bundle.name}.*.tmp")):
            for left in folder.glob(pattern):
                left.unlink(missing_ok=True)
        changes = list(self._entries())
        if not changes or changes[-1].get("what") not in (PROMOTE, ROLL_BACK):
            return
        change = Change(**changes[-1])
        if self._digest() != change.new:
            self._append({"what": _GIVEN_UP})
        elif self._audit.latest((PROMOTE, ROLL_BACK)) == (change.what, change.old[:12], change.new[:12]):
            self._append({"what": _DONE})
        else:
            self._end(change)

    def _digest(self) -> str:
        """The digest of what is in force; empty where there is no file, or one that is no bundle."""
        try:
            return Bundle.open(self.bundle).digest
        except BundleError:
            return ""

    def _version(self, digest: str) -> Path:
        path = self.folder / f"{digest}.edgead"
        if not path.is_file():
            raise BundleError(
                f"the bundle {digest[:12]} is no longer in {self.folder}: promote it from where you have it"
            )
        return path

    def _store(self, digest: str, path: Path) -> None:
        """Have a copy of a bundle, and of its signatures, among the versions."""
        kept = self.folder / f"{digest}.edgead"
        with suppress(BundleError):
            if Bundle.open(kept).digest == digest:
                return
        if _signatures(path).is_file():
            write_file(_signatures(kept), _signatures(path).read_bytes())
        write_file(kept, path.read_bytes())

    def _take_signatures(self, path: Path) -> None:
        """Add the signatures of a bundle to those of the one in force: at every moment what is there is signed."""
        lines = [line for file in (self.bundle, path) for line in _lines(_signatures(file))]
        if lines:
            write_file(_signatures(self.bundle), b"\n".join(dict.fromkeys(lines)) + b"\n")

    def _forget(self) -> None:
        """Remove versions that are older than the last ones."""
        wanted = [digest for change in self.history()[-KEPT:] for digest in (change.old, change.new)]
        for path in self.folder.glob("*.edgead"):
            if path.stem not in wanted:
                _signatures(path).unlink(missing_ok=True)
                path.unlink(missing_ok=True)

    def _promotions(self) -> list[Change]:
        """The promotions that nobody has rolled back."""
        stack: list[Change] = []
        for change in self.history():
            if change.what == PROMOTE:
                stack.append(change)
            elif stack:
                stack.pop()
        return stack

    def _changes(self, current: str) -> Iterator[tuple[Change, bool]]:
        """Every change and whether it was made; `current` tells it of one that is open."""
        entries = list(self._entries())
        for place, entry in enumerate(entries):
            after = entries[place + 1] if place + 1 < len(entries) else {}
            if entry.get("what") in (PROMOTE, ROLL_BACK):
                open_still = after.get("what") not in (_DONE, _GIVEN_UP)
                change = Change(**entry)
                yield change, change.new == current if open_still else after["what"] == _DONE

    def _entries(self) -> Iterator[dict[str, Any]]:
        """The lines of the history; one that a power cut has cut short was never acted on."""
        for line in _lines(self.folder / _HISTORY):
            with suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict):
                    yield entry

    def _append(self, entry: dict[str, Any]) -> None:
        try:
            with LineFile(self.folder / _HISTORY) as file:
                file.append(json.dumps(entry).encode())
            sync_folder(self.folder)
        except OSError as error:
            raise EdgeadError(
                f"{self.folder / _HISTORY} cannot be written: {error.strerror}; nothing is changed"
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other commands out, with everything before brought to its end."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / _LOCK).open("ab")
        except OSError as error:
            raise EdgeadError(f"{self.folder} cannot be written to: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UsageError(f"another command changes {self.bundle} just now: try again") from error
            sync_folder(self.folder.parent)
            self._settle()
            yield


def _signatures(bundle: Path) -> Path:
    return bundle.with_name(f"{bundle.name}.sig")


def _lines(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
