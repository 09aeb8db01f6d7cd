"""Queues frames between the threads that read cameras and the one that judges: bounded, and fair to each camera."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edgead.types import Frame


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """What becomes of frames of one camera that come faster than they are judged."""

    depth: int  # frames that may wait
    drops_oldest: bool  # whether a new frame replaces the oldest of a full queue; else its reader waits


LATEST = QueuePolicy(1, drops_oldest=True)  # live frames: the newest wins
EVERY = QueuePolicy(8, drops_oldest=False)  # live frames, each of which is judged, however old it has become
IN_STEP = QueuePolicy(2, drops_oldest=False)  # files: read a little ahead, and none left out
LIVE_POLICIES = {"latest": LATEST, "every": EVERY}


@dataclass(slots=True)
class _Waiting:
    """One camera's frames that wait to be judged."""

    policy: QueuePolicy
    frames: deque[Frame] = field(default_factory=deque)
    since: float = 0.0  # time.monotonic() from which on one has been waiting; a newer one in its place changes nothing
    dropped: int = 0
    over: bool = False


class FrameQueue:
    """Frames of several cameras, each under its own policy.

    A condition, not a queue with an end marker: a marker can overtake the last frame.
    """

    def __init__(self, policies: Sequence[QueuePolicy]) -> None:
        """One policy for each camera."""
        self._cameras = [_Waiting(policy) for policy in policies]
        self._changed = threading.Condition()
        self._closed = False
        self._first = 0

    def put(self, camera: int, frame: Frame) -> bool:
        """Add a frame, waiting for a free place where none may be dropped; false once nobody wants frames."""
        waiting = self._cameras[camera]
        with self._changed:
            if not waiting.policy.drops_oldest:
                self._changed.wait_for(lambda: len(waiting.frames) < waiting.policy.depth or self._closed)
            if self._closed:
                return False
            if not waiting.frames:
                waiting.since = time.monotonic()
            if len(waiting.frames) == waiting.policy.depth:
                waiting.frames.popleft()
                waiting.dropped += 1
            waiting.frames.append(frame)
            self._changed.notify_all()
            return True

    def take(
        self, most: int, timeout: float, window: float = 0.0, showing: Callable[[], int] | None = None
    ) -> list[tuple[int, Frame]]:
        """The oldest frame of up to `most` cameras, with the camera's number; none when none came for `timeout` s.

        The first that came waits for frames of others, at most `window` seconds in all since it came, and no longer
        than until `most` cameras have one, or as many as are `showing` frames (None: as are not finished). The
        camera that is asked first changes each time, so that a fast one cannot keep the others waiting.
        """
        with self._changed:
            self._changed.wait_for(self._ready, timeout)
            if window:
                self._join(most, window, showing)
            order = [(self._first + step) % len(self._cameras) for step in range(len(self._cameras))]
            chosen = [number for number in order if self._cameras[number].frames][:most]
            if chosen:
                self._first = (chosen[-1] + 1) % len(self._cameras)
                self._changed.notify_all()
            return [(number, self._cameras[number].frames.popleft()) for number in chosen]

    def _join(self, most: int, window: float, showing: Callable[[], int] | None) -> None:
        """Wait for frames of more cameras; the lock is held, and given back meanwhile."""
        while not self._closed and (waiting := [one for one in self._cameras if one.frames]):
            expected = sum(not one.over for one in self._cameras) if showing is None else showing()
            left = min(one.since for one in waiting) + window - time.monotonic()
            if len(waiting) >= min(most, expected) or left <= 0:
                return
            self._changed.wait(left)

    def _ready(self) -> bool:
        return self._closed or self._over() or any(waiting.frames for waiting in self._cameras)

    def finish(self, camera: int) -> None:
        """No frame of that camera will come any more."""
        with self._changed:
            self._cameras[camera].over = True
            self._changed.notify_all()

    def close(self) -> None:
        """Throw away what waits, and wake who waits for a free place."""
        with self._changed:
            self._closed = True
            for waiting in self._cameras:
                waiting.frames.clear()
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """Whether nobody wants frames any more."""
        return self._closed

    @property
    def over(self) -> bool:
        """Whether no frame will come any more: every camera is finished and every frame was taken, or it is closed."""
        with self._changed:
            return self._closed or self._over()

    def _over(self) -> bool:
        return all(waiting.over and not waiting.frames for waiting in self._cameras)

    def dropped(self, camera: int) -> int:
        """Frames of a camera that a newer one replaced."""
        return self._cameras[camera].dropped
