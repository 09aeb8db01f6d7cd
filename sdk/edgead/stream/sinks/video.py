"""Writes annotated frames as video files.

Matroska (.mkv), WebM and AVI can be played while they are written and after a kill, but for the last 256 KiB; WebM
(VP8) also in a browser, at about six times the work. MP4 and QuickTime are readable once they are closed, so they are
written in segments of a minute, and a kill costs the last one. Each segment is counted when it is closed: what a full
or broken disk has not taken is said and counted as not written. A file that is there is never written over.
"""

from __future__ import annotations

import errno
import logging
import shutil
from pathlib import Path

import cv2
import numpy as np

from edgead.errors import DataError, UsageError
from edgead.result import Result
from edgead.stream.sinks.base import Sink
from edgead.stream.sinks.options import checked
from edgead.types import Frame, ImageU8

CODECS = {".mkv": "mp4v", ".webm": "VP80", ".avi": "mp4v", ".mp4": "mp4v", ".mov": "mp4v"}
_CLOSED = (".mp4", ".mov")  # readable once they are closed
_SEGMENT_S, _SHORT_S = 3600.0, 60.0
_LEAST_FREE = 4 << 20  # bytes; OpenCV does not say when a disk has none left, so it is asked before
_NOT_THERE = "not in the video"

_log = logging.getLogger(__name__)


class VideoFile(Sink):
    """The frames in the size of the first; frames of another size are resized to it."""

    def __init__(self, path: Path, fps: float = 0.0, *, segment: float = 0.0) -> None:
        """Prepare to write `path` at `fps` frames per second (0: 25); raises UsageError or DataError.

        After `segment` seconds of video (0: an hour, for .mp4 and .mov a minute) the next file is begun, which has a
        number after its name, as has the first where `path` exists.
        """
        if path.suffix.lower() not in CODECS:
            raise UsageError(f"a video cannot be written to {path}: end its name in {', '.join(CODECS)}")
        checked("a video's segment", segment, 0, 1e6)
        self._fps = fps if 1.0 <= fps <= 1000.0 else 25.0
        default = _SHORT_S if path.suffix.lower() in _CLOSED else _SEGMENT_S
        self._most = max(1, round((segment or default) * self._fps))  # frames in a file
        self._wanted = self._path = path
        self._next_file()
        self._writer: cv2.VideoWriter | None = None
        self._written = 0  # frames in this file
        self._size = (0, 0)
        self._lost = 0

    def lost(self) -> dict[str, int]:
        return {_NOT_THERE: self._lost} if self._lost else {}

    def emit(self, frame: Frame, result: Result) -> None:
        picture = result.overlay(frame.image)
        if shutil.disk_usage(self._wanted.parent).free < _LEAST_FREE + picture.nbytes:
            raise OSError(errno.ENOSPC, f"the disk of {self._path} is full: the frame is not in the video")
        if self._writer is None:
            self._begin(picture)
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        assert self._writer is not None
        self._writer.write(picture)
        self._written += 1
        if self._written >= self._most:
            self._end()

    def _begin(self, picture: ImageU8) -> None:
        height, width = picture.shape[:2]
        self._size = (max(2, width - width % 2), max(2, height - height % 2))  # the codec halves the color planes
        if self._path.exists() and self._path.stat().st_size:
            self._next_file()
        codec = CODECS[self._path.suffix.lower()]
        writer = cv2.VideoWriter(str(self._path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), self._fps, self._size)
        if not writer.isOpened():
            raise OSError(f"this OpenCV cannot write {self._path} ({codec}, {self._size[0]}x{self._size[1]})")
        self._writer, self._written = writer, 0

    def _next_file(self) -> None:
        """Take the first name that is free, and find out now whether it can be written: OpenCV does not say why not."""
        number = 1
        while self._path.exists() and self._path.stat().st_size:
            number += 1
            self._path = self._wanted.with_name(f"{self._wanted.stem}-{number}{self._wanted.suffix}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.open("ab").close()
        except OSError as error:
            raise DataError(f"{self._path} cannot be written: {error.strerror}") from error

    def _end(self) -> None:
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        if missing := self._written - _frames(self._path):
            self._lost += max(0, missing)
            _log.error("%s: %d of %d frames were not written", self._path, max(0, missing), self._written)

    def close(self) -> None:
        self._end()
        if self._path.exists() and not self._path.stat().st_size:  # there was no frame: leave no empty file
            self._path.unlink()


def _frames(path: Path) -> int:
    """The frames a closed video has by its own account; 0 where it cannot be read."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        return max(0, round(capture.get(cv2.CAP_PROP_FRAME_COUNT))) if capture.isOpened() else 0
    finally:
        capture.release()
