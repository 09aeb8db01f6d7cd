"""Runs each sink on a thread of its own: one that is slow, fails or hangs costs its own results and nobody else's time.

What is promised: results reach a sink in order. Where frames come from files the line waits for the sink, and
nothing is left out. Where they come live the line waits for nobody: a sink that is behind by its whole queue loses
results, which are counted, said once, and make the run end with exit code 1. A queue holds `RESULTS` results, half
a minute at 30 a second, and at most `PIXELS` bytes of frames, 41 of 1080p; sinks that need no pixels
(`needs_pixels = False`: JSON lines, messages) get frames without. A live result that meets a full disk stays in its
queue and is tried again, so a disk that is full for a while costs nothing; whatever else a sink raises costs the
result.
"""

from __future__ import annotations

import errno
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from edgead.result import Result
from edgead.stream.backoff import Backoff
from edgead.stream.sinks.base import Sink
from edgead.stream.sinks.jsonl import SinkGone
from edgead.types import Frame

RESULTS = 1000
PIXELS = 256 << 20
DRAIN_S = 7.0  # what a stopped line waits for its cameras and sinks to finish: systemd and people wait for 10
REPEAT_S = 60.0  # seconds in which a sink's trouble is said once, however often it comes and goes
TICK = 0.2  # seconds after which a waiting line looks up
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)
_log = logging.getLogger(__name__)


class SinkWorker:
    """One sink, its queue and its thread."""

    def __init__(self, sink: Sink, name: str, backoff: Backoff | None = None) -> None:
        """`backoff` says how long a sink that fails again and again rests; where None each result is tried at once."""
        self.name = name
        self._unwritten = 0
        self.fatal: BaseException | None = None  # what ends the line: an interrupt, or SinkGone
        self._sink = sink
        self._queue: deque[tuple[Frame, Result]] = deque()
        self._held = 0  # bytes of frames in it
        self._changed = threading.Condition()
        self._closing = False
        self._hurried = False
        self._behind = False
        self._backoff = backoff
        self._pauses: Iterator[float] | None = None  # while it fails
        self._rest_until = 0.0
        self._said_until = -math.inf  # the trouble that was said last is not said again before
        self._is_said = False  # whether the trouble of now was said
        self._thread = threading.Thread(target=self._work, name=f"edgead sink {name}", daemon=True)
        self._thread.start()

    @property
    def unwritten(self) -> int:
        """Results that the sink could not take, or has taken and given up."""
        return self._unwritten + sum(self.lost().values())

    def lost(self) -> dict[str, int]:
        """Results that the sink has taken and given up, by reason."""
        return dict(self._sink.lost())

    def emit(self, frame: Frame, result: Result, keep_waiting: Callable[[], bool] | None = None) -> None:
        """Queue a result. A full queue is waited for as long as `keep_waiting` says so; then it is unwritten."""
        if not self._sink.needs_pixels:
            frame = replace(frame, image=_NO_PIXELS)
        with self._changed:
            while keep_waiting is not None and not self._has_room(frame) and keep_waiting():
                self._changed.wait(TICK)
            if self._has_room(frame):
                self._queue.append((frame, result))
                self._held += frame.image.nbytes
                self._changed.notify_all()
                return
            self._unwritten += 1
            said, self._behind = self._behind, True
        if not said:
            _log.error("%s is too slow for this line: results are left out", self.name)

    def _has_room(self, frame: Frame) -> bool:
        fits = len(self._queue) < RESULTS and self._held + frame.image.nbytes <= PIXELS
        return fits or not self._queue or self.fatal is not None

    def _work(self) -> None:
        try:
            while (entry := self._next()) is not None:
                self._write(*entry)
        except BaseException as error:  # an interrupt: carried to the thread that judges
            self.fatal = error
        finally:
            self._finish()

    def _next(self) -> tuple[Frame, Result] | None:
        """The next entry to write, or None when all is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            while not self._closing and (rest := self._rest_until - time.monotonic()) > 0:
                self._changed.wait(rest)
            if self._hurried or not self._queue:
                self._unwritten += len(self._queue)
                return None
            entry = self._queue.popleft()
            self._held -= entry[0].image.nbytes
            if self._behind and not self._queue:
                self._behind = False
                _log.warning("%s keeps up again", self.name)
            self._changed.notify_all()
            return entry

    def _write(self, frame: Frame, result: Result) -> None:
        try:
            self._sink.emit(frame, result)
        except SinkGone:
            raise
        except Exception as error:  # a full disk, a dead broker, a fault in a sink: the others go on
            self._fail(error)
            self._put_back_or_count(frame, result, error)
            return
        if self._pauses is not None:
            self._pauses = None
            if self._is_said:
                _log.warning("%s writes again", self.name)

    def _fail(self, error: Exception) -> None:
        """Say that the sink fails, once in a while, and rest before the next trial."""
        if self._pauses is None:
            self._is_said = time.monotonic() >= self._said_until
            if self._is_said:
                words = error if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
                _log.error("%s cannot write: %s; the line goes on", self.name, words)
                self._said_until = time.monotonic() + REPEAT_S
            self._pauses = iter(()) if self._backoff is None else self._backoff.pauses()
        self._rest_until = time.monotonic() + next(self._pauses, 0.0)

    def _put_back_or_count(self, frame: Frame, result: Result, error: Exception) -> None:
        """Have a live result that a full disk refuses wait for free space; count any other as unwritten."""
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        with self._changed:
            if full and self._backoff is not None and not self._closing:
                self._queue.appendleft((frame, result))
                self._held += frame.image.nbytes
            else:
                self._unwritten += 1

    def _finish(self) -> None:
        try:
            self._sink.close()
        except Exception as error:
            _log.error("%s could not finish: %s", self.name, error)

    def finish(self) -> None:
        """Write what is queued and close the sink; does not wait for it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def is_done(self, timeout: float = 0.0) -> bool:
        """Whether the sink is closed, after `timeout` seconds at most."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def close(self, timeout: float | None = None) -> None:
        """Write what is queued and close the sink; what is not written after `timeout` seconds is given up."""
        self.finish()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            return
        with self._changed:
            self._hurried = True
            waiting = len(self._queue)
        self._thread.join(TICK)  # it may have been busy with the entry before
        if self._thread.is_alive():
            _log.error("%s does not answer: %d results are not written", self.name, waiting + 1)
            self._unwritten += waiting + 1
