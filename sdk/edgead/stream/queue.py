"""Where the cameras' threads lay down frames and the judging thread picks them up: bounded, and fair to each camera."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgead.types import Frame


@dataclass(slots=True)
class _CameraQueue:
    """One camera's frames that wait to be judged."""

    depth: int
    drop_oldest: bool
    frames: deque[Frame] = field(default_factory=deque)
    dropped: int = 0
    over: bool = False


class FrameQueue:
    """A tray for each camera. A condition, not a queue with an end marker: a marker can overtake the last frame."""

    def __init__(self, depths: Sequence[int], drop_oldest: Sequence[bool]) -> None:
        """`depths` are frames that may wait; where `drop_oldest`, a newer one replaces the oldest of a full tray."""
        self._trays = [_CameraQueue(depth, newest) for depth, newest in zip(depths, drop_oldest, strict=True)]
        self._changed = threading.Condition()
        self._closed = False
        self._first = 0

    def put(self, camera: int, frame: Frame) -> bool:
        """Lay a frame down, waiting for room where none may be overtaken; false once nobody wants frames."""
        tray = self._trays[camera]
        with self._changed:
            if not tray.drop_oldest:
                self._changed.wait_for(lambda: len(tray.frames) < tray.depth or self._closed)
            if self._closed:
                return False
            if len(tray.frames) == tray.depth:
                tray.frames.popleft()
                tray.dropped += 1
            tray.frames.append(frame)
            self._changed.notify_all()
            return True

    def take(self, most: int, timeout: float) -> list[tuple[int, Frame]]:
        """The oldest frame of up to `most` cameras, with the camera's number; none when none came for that long.

        The camera that is asked first changes each time, so that a fast one cannot keep the others waiting.
        """
        with self._changed:
            self._changed.wait_for(self._ready, timeout)
            order = [(self._first + step) % len(self._trays) for step in range(len(self._trays))]
            chosen = [number for number in order if self._trays[number].frames][:most]
            if chosen:
                self._first = (chosen[-1] + 1) % len(self._trays)
                self._changed.notify_all()
            return [(number, self._trays[number].frames.popleft()) for number in chosen]

    def _ready(self) -> bool:
        return self._closed or self._over() or any(tray.frames for tray in self._trays)

    def finish(self, camera: int) -> None:
        """No frame of that camera will come any more."""
        with self._changed:
            self._trays[camera].over = True
            self._changed.notify_all()

    def close(self) -> None:
        """Throw away what waits, and wake who waits for room."""
        with self._changed:
            self._closed = True
            for tray in self._trays:
                tray.frames.clear()
            self._changed.notify_all()

    @property
    def over(self) -> bool:
        """Whether every camera is finished and every frame was taken."""
        with self._changed:
            return self._over()

    def _over(self) -> bool:
        return all(tray.over and not tray.frames for tray in self._trays)

    def dropped(self, camera: int) -> int:
        """Frames of a camera that were overtaken here."""
        return self._trays[camera].dropped
