"""Annotated frames as one video file (MPEG-4 part 2, which every OpenCV wheel can write)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgead.errors import DataError, UsageError
from edgead.stream.sinks.base import Sink
from edgead.types import Frame, Result

CODEC = "mp4v"
EXTENSIONS = (".mp4", ".mkv", ".mov", ".avi")


class VideoFile(Sink):
    """The frames in the size of the first; frames of another size are resized to it. An old file is replaced."""

    def __init__(self, path: Path, fps: float = 0.0) -> None:
        """Prepare to write `path` at `fps` frames per second (0: 25); raises UsageError or DataError."""
        if path.suffix.lower() not in EXTENSIONS:
            raise UsageError(f"a video cannot be written to {path}: end its name in {', '.join(EXTENSIONS)}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._is_new = not path.exists()
            path.open("ab").close()  # OpenCV does not say why it cannot write: find out now
        except OSError as error:
            raise DataError(f"{path} cannot be written: {error.strerror}") from error
        self._path = path
        self._fps = fps if 1.0 <= fps <= 1000.0 else 25.0
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def emit(self, frame: Frame, result: Result) -> None:
        picture = result.overlay(frame.image)
        if self._writer is None:
            height, width = picture.shape[:2]
            self._size = (max(2, width - width % 2), max(2, height - height % 2))  # the codec halves the color planes
            self._writer = self._open()
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = np.asarray(cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        self._writer.write(picture)

    def _open(self) -> cv2.VideoWriter:
        fourcc = cv2.VideoWriter.fourcc(*CODEC)
        writer = cv2.VideoWriter(str(self._path), cv2.CAP_FFMPEG, fourcc, self._fps, self._size)
        if not writer.isOpened():
            raise OSError(f"this OpenCV cannot write {self._path} ({CODEC}, {self._size[0]}x{self._size[1]})")
        return writer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()
            self._writer = None
            self._is_new = False
        if self._is_new:  # there was no frame: leave no empty file
            self._path.unlink(missing_ok=True)
            self._is_new = False
