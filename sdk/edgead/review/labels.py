"""Labels: what one person says of one event, in a JSON file beside its frame that only edgead's review replaces.

`label-ada.json` holds every revision, the last of which counts, so that each step can be undone:
`{"person": "ada", "revisions": [{"label": "defect", "kind": "scratch", "regions": [[[3, 4], [9, 4], [9, 8]]], "when":
"2026-11-22T13:45:01.250000+00:00"}]}`. Regions are polygons in pixels of the frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edgead.errors import DataError, UsageError
from edgead.files import sync_folder, write_file
from edgead.review.layout import LABELS

Name = Literal["good", "defect", "unsure"]
Corner = tuple[int, int]  # x, y
Polygon = Annotated[tuple[Corner, ...], msgspec.Meta(min_length=3, max_length=400)]
DISAGREE = "disagree"

_PERSON = re.compile(r"[\w.-]+( [\w.-]+)*")
_KIND = re.compile(r"[\w.-]+( [\w.-]+)*")
_LONGEST = 40  # characters of a person's and a kind's name
_NOT_KINDS = frozenset({"good", "ok", "normal"})  # folders of good parts, in a data set


class Label(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person says of an event."""

    label: Name
    kind: str = ""  # of the defect, as the person calls it
    regions: tuple[Polygon, ...] = ()  # where the defect is; none: not drawn
    when: str = ""  # ISO 8601, UTC

    def __post_init__(self) -> None:
        if (self.kind or self.regions) and self.label != "defect":
            raise ValueError(f"a part that is {self.label} has neither a kind of defect nor regions")
        if self.kind and (not _KIND.fullmatch(self.kind) or len(self.kind) > _LONGEST):
            raise ValueError(f"a kind of defect has up to {_LONGEST} letters, digits, '.', '_' and '-'")
        if self.kind.lower() in _NOT_KINDS:
            raise ValueError(f"'{self.kind}' means good parts in a data set: call the kind of defect something else")


class LabelFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a person has said of an event, the oldest first."""

    person: str
    revisions: Annotated[tuple[Label, ...], msgspec.Meta(min_length=1)]


def check_person(person: str) -> str:
    """The name of a person; raises UsageError where it is none that can name a file."""
    if not _PERSON.fullmatch(person) or len(person) > _LONGEST:
        raise UsageError(f"say who labels: a name of up to {_LONGEST} letters, digits, '.', '_' and '-'")
    return person


def read_labels(event: Path) -> dict[str, Label]:
    """The label of each person who has labeled the event in `event`; raises DataError for a file that is no label."""
    files = (_read(path) for path in sorted(event.glob(LABELS)))
    return {file.person: file.revisions[-1] for file in files}


def add_label(event: Path, person: str, label: Label) -> Label:
    """Write what `person` says now and give it with its time; raises UsageError, DataError, or EdgeadError for a disk
    that does not take it."""
    path = _path(event, check_person(person))
    before = _read(path).revisions if path.is_file() else ()
    dated = msgspec.structs.replace(label, when=datetime.now(timezone.utc).isoformat())
    _write(path, LabelFile(person=person, revisions=(*before, dated)))
    return dated


def undo_label(event: Path, person: str) -> Label | None:
    """Take back what `person` said last of the event, and give what the person said before it, if anything."""
    path = _path(event, check_person(person))
    if not path.is_file():
        return None
    left = _read(path).revisions[:-1]
    if left:
        _write(path, LabelFile(person=person, revisions=left))
        return left[-1]
    path.unlink(missing_ok=True)
    sync_folder(event)
    return None


def decide(labels: Iterable[Label]) -> str:
    """What several people's labels say together: good, defect or unsure where they agree, `disagree` where they do not,
    nothing without labels."""
    said = {label.label for label in labels}
    return DISAGREE if len(said) > 1 else next(iter(said), "")


def _path(event: Path, person: str) -> Path:
    return event / LABELS.replace("*", person.replace(" ", "+"))


def _read(path: Path) -> LabelFile:
    try:
        return msgspec.json.decode(path.read_bytes(), type=LabelFile)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"the label {path} cannot be read: {error}; move it away, or put it right") from error


def _write(path: Path, file: LabelFile) -> None:
    write_file(path, msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n")
