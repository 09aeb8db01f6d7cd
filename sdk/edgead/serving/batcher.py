"""Judges the frames of many clients on one engine: what waits is judged together, as far as the engine gains by it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from edgead.closing import Closing
from edgead.detector import Detector
from edgead.errors import EngineError
from edgead.types import ImageU8, Reading

WAITING = 64  # frames; one more is refused, so that its client judges by itself in time

_Job = tuple[ImageU8, "Future[Reading]"]


class Batcher(Closing):
    """One thread that takes what has come, up to the engine's batch, and hands each reading to who waits for it."""

    def __init__(self, detector: Detector) -> None:
        """The detector stays the caller's; its engine is used from this thread alone."""
        self._detector = detector
        self._jobs: queue.Queue[_Job | None] = queue.Queue(WAITING)
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="edgead batcher", daemon=True)
        self._thread.start()

    def submit(self, image: ImageU8) -> Future[Reading]:
        """The reading of a frame, as soon as it is there; raises EngineError where too many wait, or after `close`."""
        future: Future[Reading] = Future()
        if self._closed:
            raise EngineError("the server is ending")
        try:
            self._jobs.put_nowait((image, future))
        except queue.Full:
            raise EngineError(f"{WAITING} frames wait already: add a server, or send fewer") from None
        return future

    def _work(self) -> None:
        over = False
        while not over:
            taken = [self._jobs.get()]
            while len(taken) < self._detector.batch and taken[-1] is not None and not self._jobs.empty():
                taken.append(self._jobs.get())
            over = taken[-1] is None
            jobs = [job for job in taken if job is not None and job[1].set_running_or_notify_cancel()]
            if jobs:
                self._run(jobs)

    def _run(self, jobs: Sequence[_Job]) -> None:
        try:
            readings = self._detector.read_many([image for image, _ in jobs])
        except Exception as error:  # one frame must not cost those that happen to wait beside it
            if len(jobs) > 1:
                for job in jobs:
                    self._run([job])
            else:
                jobs[0][1].set_exception(error)
            return
        for (_, future), reading in zip(jobs, readings, strict=True):
            future.set_result(reading)

    def close(self) -> None:
        """Judge what waits, and end."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            self._thread.join()
