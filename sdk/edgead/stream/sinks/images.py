"""Writes annotated frames as JPEG files in a folder. Nothing is ever overwritten, and no file is there by half."""

from __future__ import annotations

import os
import re
import secrets
import unicodedata
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

import cv2

from edgead.errors import DataError
from edgead.files import write_synced
from edgead.result import Result
from edgead.stream.sinks.base import Sink
from edgead.types import Frame

QUALITY = 90  # of 100, JPEG
_WRITING = ".writing-"
_LONGEST = 120  # bytes of a frame's name that are kept, in UTF-8


class ImageFolder(Sink):
    """One JPEG a frame, named by its time, number, name and verdict."""

    def __init__(self, folder: Path) -> None:
        """Make `folder` where it is missing; raises DataError."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"the folder {folder} cannot be made: {error.strerror}") from error
        self._folder = folder
        self._draft = folder / f"{_WRITING}{os.getpid()}-{secrets.token_hex(4)}"
        for left in folder.glob(f"{_WRITING}*"):  # of a program that was killed
            if not _runs(left.name.removeprefix(_WRITING).partition("-")[0]):
                left.unlink(missing_ok=True)

    def emit(self, frame: Frame, result: Result) -> None:
        done, data = cv2.imencode(".jpg", result.overlay(frame.image), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not done:  # JPEG ends at 65535 pixels a side
            raise OSError(f"frame {frame.index} cannot be encoded as JPEG")
        self._write(f"{name_of(frame)}_{result.verdict}", data.tobytes())

    def _write(self, stem: str, data: bytes) -> None:
        try:
            write_synced(self._draft, data)
            copy = 1
            while not _named(self._draft, self._folder / (f"{stem}.jpg" if copy == 1 else f"{stem}-{copy}.jpg")):
                copy += 1
        finally:
            self._draft.unlink(missing_ok=True)

    def close(self) -> None:
        pass


def _named(draft: Path, path: Path) -> bool:
    """Give the draft a name where it is free."""
    if path.exists():
        return False
    draft.rename(path)
    return True


def _runs(process: str) -> bool:
    """Whether another program runs under that number."""
    if not process.isdecimal() or int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def name_of(frame: Frame) -> str:
    """A file's stem for a frame: letters and digits of any script, '_', '-' and '.', so that it stays in its folder."""
    name = urlsplit(frame.name).hostname or "" if "://" in frame.name else Path(frame.name).stem
    kept = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip("._-")
    kept = kept.encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore")
    taken = datetime.fromtimestamp(frame.time, timezone.utc).strftime("%Y%m%dT%H%M%S.%f_") if frame.time else ""
    return f"{taken}{frame.index:06d}" + (f"_{kept}" if kept else "")


def event_name(frame: Frame, result: Result) -> str:
    """What a saved event of a dated frame is called in its folder for the day."""
    return f"{name_of(frame)}_{result.verdict}"
