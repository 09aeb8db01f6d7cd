"""Cameras kept open for months: one thread each opens a source, hands on its frames, and opens it again when lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from edgead.errors import SourceError
from edgead.stream.queue import FrameQueue
from edgead.stream.roi import RoiMask
from edgead.stream.sources import Source
from edgead.stream.status import CONNECTED, CONNECTING, ENDED, LOST, CameraStatus

QUEUE = 8  # frames that may wait where every one is judged
AHEAD = 2  # files that are read ahead of the detector
JOIN_S = 15.0  # a source that does not end in this time is left to its daemon thread

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between trials, in seconds: each about twice the one before, up to the longest."""

    first: float
    longest: float

    def pauses(self) -> Iterator[float]:
        """The pauses, each shortened by up to a half at random: stations that lost one switch do not come at once."""
        random = np.random.default_rng()
        pause = self.first
        while True:
            yield pause * float(random.uniform(0.5, 1.0))
            pause = min(2 * pause, self.longest)


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera of the line."""

    name: str  # in results; "" where there is but one
    source: Source | None  # open already; None where it could not be reached yet
    reopen: Callable[[], Source] | None = None  # opens it anew; where None, a loss is the camera's end
    label: str = ""  # its source in words, without passwords
    policy: str = "latest"  # of live frames: `latest` or `every`
    quiet: bool = False  # whether it may show nothing for any time without being lost
    give_up: float | None = None  # seconds without it after which it is lost for good; None: never
    view: RoiMask | None = None  # what of its frames is judged; None: everything

    @property
    def live(self) -> bool:
        return self.source is None or self.source.live

    @property
    def drops_oldest(self) -> bool:
        return self.live and self.policy == "latest"

    @property
    def depth(self) -> int:
        """Frames of it that may wait to be judged."""
        return 1 if self.drops_oldest else QUEUE if self.live else AHEAD


class CaptureThread:
    """The thread of one camera. It never ends by a lost camera that can be opened again; `error` is why it ended."""

    def __init__(self, number: int, camera: Camera, inbox: FrameQueue, backoff: Backoff) -> None:
        self.camera = camera
        self.error: BaseException | None = None
        self._number = number
        self._inbox = inbox
        self._backoff = backoff
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._source = camera.source
        self._status = CameraStatus(camera.label or camera.name, since=time.time())
        self._lost_at = 0.0  # time.monotonic(); 0 while it is not
        self._thread = threading.Thread(target=self._run, name=f"edgead feed {camera.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def status(self) -> CameraStatus:
        """State and counts of the capture side; what was judged is counted elsewhere."""
        with self._lock:
            status, source = self._status, self._source
            dropped, unreadable = (source.dropped, source.unreadable) if source is not None else (0, 0)
        dropped += status.dropped + self._inbox.dropped(self._number)
        return replace(status, dropped=dropped, unreadable=status.unreadable + unreadable)

    def _run(self) -> None:
        try:
            self._deliver()
        except BaseException as error:  # carried to the thread that judges
            self.error = error
        finally:
            self._change(ENDED, str(self.error or ""))
            self._inbox.finish(self._number)

    def _deliver(self) -> None:
        pauses = self._backoff.pauses()
        while not self._stopping.is_set():
            opened_at = time.monotonic()
            try:
                self._hand_on(self._opened())
                return
            except Exception as error:  # SourceError as a rule; also a process table or a memory that is full
                if self._stopping.is_set():
                    return
                self._lose(error)
            finally:
                self._release()
            if self._lost_at - opened_at >= self._backoff.longest:  # it had been well for a while
                pauses = self._backoff.pauses()
            self._stopping.wait(next(pauses))

    def _opened(self) -> Source:
        source = self._source
        if source is None:
            assert self.camera.reopen is not None  # else the loss would have ended the thread
            source = self.camera.reopen()
            with self._lock:
                self._source = source
        return source

    def _hand_on(self, source: Source) -> None:
        """Hand on frames until the source ends or nobody wants them; raises SourceError when it is lost."""
        if self._stopping.is_set():  # while it was being opened
            return
        for frame in source:
            if self._status.state != CONNECTED:
                self._connect()
            if not self._inbox.put(self._number, replace(frame, camera=self.camera.name)):
                return

    def _connect(self) -> None:
        if self._lost_at:
            _log.warning("%s is back after %.1f s", self._status.source, time.monotonic() - self._lost_at)
            with self._lock:
                self._status = replace(self._status, reconnects=self._status.reconnects + 1)
        self._lost_at = 0.0
        self._change(CONNECTED)

    def _lose(self, error: Exception) -> None:
        """Note the loss, say it once, and raise it where it is final."""
        now = time.monotonic()
        first = self._lost_at == 0.0
        self._lost_at = self._lost_at or now
        give_up = self.camera.give_up
        if self.camera.reopen is None or (give_up is not None and now - self._lost_at >= give_up):
            raise error
        if first:
            known = isinstance(error, SourceError)
            words = str(error) if known else f"{self._status.source} failed: {type(error).__name__}: {error}"
            _log.warning("%s; trying again until it is back", words)
            self._change(LOST, words)

    def _change(self, state: str, error: str = "") -> None:
        with self._lock:
            self._status = replace(self._status, state=state, since=time.time(), error=error)

    def _release(self) -> None:
        with self._lock:
            source, self._source = self._source, None
        if source is None:
            return
        source.close()
        with self._lock:
            status = self._status
            self._status = replace(
                status,
                dropped=status.dropped + source.dropped,
                unreadable=status.unreadable + source.unreadable,
            )

    @property
    def waiting(self) -> bool:
        """Whether nothing is to be expected of it now: it is declared lost, not there yet, at its end, or quiet."""
        return self.camera.quiet or self._status.state in (CONNECTING, LOST, ENDED)

    def stop(self) -> None:
        """Tell the thread to end; does not wait. The inbox is to be closed first."""
        self._stopping.set()
        with self._lock:
            source = self._source
        if source is not None and source.live:  # it may wait for a frame; files are closed by their own thread
            source.close()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            _log.warning("%s does not answer; its thread is left to end by itself", self._status.source)
