"""Defines how a folder of saved events lies on the disk, for those who write it, read it and label it.

    FOLDER/2026-11-22/20261122T134501.250000_000123_camera_0_NG/{frame.png,heatmap.jpg,result.json,label-ada.json}

An event has `result.json`; what else a person puts beside it stays, and a label keeps the event from being deleted.
"""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from pathlib import Path

from edgead.errors import UsageError

FRAMES = ("frame.png", "frame.jpg")
HEATMAP = "heatmap.jpg"
RESULT = "result.json"  # an event has it; an emptied folder has not
FILES = (*FRAMES, HEATMAP, RESULT)
LABELS = "label-*.json"
DAY = re.compile(r"\d{4}-\d\d-\d\d")
EVENT = re.compile(r"(\d{8}T\d{6}\.\d{6})_\d{6}[\w.-]*")


def day_of(time: float) -> str:
    """The folder of the events of a day; `time` in seconds since 1970."""
    return datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%d")


def event_folder(folder: Path, event: str) -> Path:
    """The folder of an event that is named DAY/NAME; raises UsageError for a name that is none, or is not there."""
    day, _, name = event.partition("/")
    path = folder / day / name
    if not DAY.fullmatch(day) or not EVENT.fullmatch(name) or path.is_symlink() or (folder / day).is_symlink():
        raise UsageError(f"'{event}' names no saved event: it is a day and a name, as the folder has them")
    if not (path / RESULT).is_file():
        raise UsageError(f"the event {event} is no longer there")
    return path


def frame_file(event: Path) -> Path:
    """The frame of an event as it was judged; raises UsageError where it is gone."""
    for name in FRAMES:
        if (event / name).is_file():
            return event / name
    raise UsageError(f"the event {event.name} has no frame any more")


def is_labeled(event: Path) -> bool:
    """Whether a person has labeled the event."""
    first, last = LABELS.split("*")
    try:
        with os.scandir(event) as files:
            return any(file.name.startswith(first) and file.name.endswith(last) for file in files)
    except FileNotFoundError:
        return False
