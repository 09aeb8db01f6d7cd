"""Annotated frames as JPEG files in a folder. Nothing there is ever overwritten."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

import cv2

from edgead.errors import DataError
from edgead.stream.sinks.base import Sink
from edgead.types import Frame, Result

QUALITY = 90  # of 100, JPEG
_LONGEST = 80  # characters of a frame's name that are kept


class ImageFolder(Sink):
    """One JPEG a frame, named by its time, number, name and verdict."""

    def __init__(self, folder: Path) -> None:
        """Make `folder` where it is missing; raises DataError."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"the folder {folder} cannot be made: {error.strerror}") from error
        self._folder = folder

    def emit(self, frame: Frame, result: Result) -> None:
        done, data = cv2.imencode(".jpg", result.overlay(frame.image), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not done:  # JPEG ends at 65535 pixels a side
            raise OSError(f"frame {frame.index} cannot be encoded as JPEG")
        self._write(f"{name_of(frame)}_{result.verdict}", data.tobytes())

    def _write(self, stem: str, data: bytes) -> None:
        copy = 1
        while True:
            path = self._folder / (f"{stem}.jpg" if copy == 1 else f"{stem}-{copy}.jpg")
            try:
                with path.open("xb") as file:
                    try:
                        file.write(data)
                        file.flush()
                    except OSError:
                        path.unlink()  # half a picture is worse than none
                        raise
                return
            except FileExistsError:
                copy += 1

    def close(self) -> None:
        pass


def name_of(frame: Frame) -> str:
    """A file's stem for a frame: letters, digits, '_', '-' and '.' alone, so that it cannot leave its folder."""
    name = urlsplit(frame.name).hostname or "" if "://" in frame.name else Path(frame.name).stem
    kept = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:_LONGEST]
    taken = datetime.fromtimestamp(frame.time, timezone.utc).strftime("%Y%m%dT%H%M%S.%f_") if frame.time else ""
    return f"{taken}{frame.index:06d}" + (f"_{kept}" if kept else "")
