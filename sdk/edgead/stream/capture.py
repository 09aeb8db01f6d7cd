"""Keeps cameras open for months: one thread each opens a source, hands on its frames, and opens it again when lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edgead.closing import Closing
from edgead.errors import SourceError
from edgead.frame_pool import FramePool
from edgead.stream.backoff import CAMERA_BACKOFF, Backoff
from edgead.stream.queue import IN_STEP, LIVE_POLICIES, FrameQueue, QueuePolicy
from edgead.stream.roi import RoiMask
from edgead.stream.sources import Configurable, Pooled, Source
from edgead.stream.status import CONNECTED, CONNECTING, ENDED, LOST, CameraStatus
from edgead.types import Frame

GRACE_S = 0.5  # what a read may take beyond its own deadline before its thread is given up
JOIN_S = 7.0  # threads that do not end in this time are left to end by themselves

WAIT_S = 0.2  # seconds after which a waiting reader looks up
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera of the line."""

    name: str  # in results; "" where there is but one
    source: Source | None  # open already; None where it could not be reached yet
    reopen: Callable[[], Source] | None = None  # opens it anew; where None, a loss is the camera's end
    label: str = ""  # its source in words, without passwords
    policy: str = "latest"  # of live frames: `latest` or `every`
    give_up: float | None = None  # seconds without it after which it is lost for good; None: never
    roi_mask: RoiMask | None = None  # what of its frames is judged; None: everything

    @property
    def live(self) -> bool:
        return self.source is None or self.source.live

    @property
    def queue_policy(self) -> QueuePolicy:
        return LIVE_POLICIES[self.policy] if self.live else IN_STEP


class CaptureThread:
    """The thread of one camera. It never ends by a lost camera that can be opened again; `error` is why it ended.

    A read that hangs past its deadline is given up by `check`: its thread is left to end by itself, and another
    takes the camera over.
    """

    def __init__(self, number: int, camera: Camera, queue: FrameQueue, backoff: Backoff) -> None:
        self.camera = camera
        self.error: BaseException | None = None
        self._number = number
        self._queue = queue
        self._backoff = backoff
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._source = camera.source
        self._status = CameraStatus(camera.label or camera.name, since=time.time())
        self._lost_at = 0.0  # time.monotonic(); 0 while it is not
        self._reading_since = 0.0  # time.monotonic(); 0 while no read is under way
        self._openings = 0  # of the source after the first
        self._settings: Mapping[str, str] = {}  # of the recipe that is in force
        self._unset = False  # whether they are yet to be set
        self._set_at = 0.0  # time.monotonic() when they were
        self._turn = 0  # which thread has the camera
        self._pool = FramePool()  # which outlives the source when that is opened anew
        self._next_index = 0  # of a frame: the numbers of a source that is opened again go on where they were
        self._thread = self._make_thread()

    def _make_thread(self, hung: Source | None = None) -> threading.Thread:
        name = f"edgead capture {self.camera.name}"
        return threading.Thread(target=self._run, args=(self._turn, hung), name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def status(self) -> CameraStatus:
        """State and counts of the capture side; what was judged is counted elsewhere."""
        with self._lock:
            status, source = self._status, self._source
            unreadable = source.unreadable if source is not None else 0
        dropped = self._queue.dropped(self._number)
        return replace(status, dropped=dropped, unreadable=status.unreadable + unreadable)

    def check(self) -> None:
        """Take the camera from a read that hangs; call it several times a second, from one thread."""
        with self._lock:
            source, since = self._source, self._reading_since
            timeout = source.timeout if source is not None else 0.0
            if not timeout or not since or time.monotonic() - since <= timeout + GRACE_S:
                return
            self._turn += 1
            self._reading_since = 0.0
            self._source = None
        self._thread = self._make_thread(source)
        self._thread.start()

    def _run(self, turn: int, hung: Source | None) -> None:
        """Be the camera's thread: the first, or the one that takes over from a thread that reads a `hung` source."""
        error: BaseException | None = None
        try:
            self._deliver(turn, hung)
        except BaseException as raised:  # carried to the thread that judges
            error = raised
        if turn == self._turn:
            self.error = error
            self._change(ENDED, str(error or ""))
            self._queue.finish(self._number)

    def _deliver(self, turn: int, hung: Source | None) -> None:
        """Hand on frames and open the source again until it ends, it is lost for good, or the thread is to stop."""
        pauses = self._backoff.pauses()
        while not self._over(turn):
            opened_at = time.monotonic()
            try:
                if hung is not None:
                    hung.close()  # its thread ends by it, sooner or later
                    raise SourceError(f"{self._status.source} was lost: it showed no frame for {hung.timeout:g} s")
                self._hand_on(turn)
                return
            except Exception as error:  # SourceError as a rule; also a process table or a memory that is full
                if self._over(turn):
                    return
                hung = None
                self._lose(error)
            if self._lost_at - opened_at >= self._backoff.longest:  # it had been well for a while
                pauses = self._backoff.pauses()
            self._stopping.wait(next(pauses))

    def _over(self, turn: int) -> bool:
        """Whether a thread is to end: all are, or another has taken the camera over."""
        return self._stopping.is_set() or turn != self._turn

    def _hand_on(self, turn: int) -> None:
        """Hand on frames until the source ends or nobody wants them; raises SourceError when it is lost."""
        source = self._opened()
        try:
            if isinstance(source, Pooled):
                source.use_pool(self._pool)
            frames, first = iter(source), self._next_index
            while not self._over(turn):  # it may have been told to stop while the source was being opened
                self._set(source)
                frame = self._read(frames, turn)
                if frame is None or self._over(turn):
                    return
                if self._status.state != CONNECTED:
                    self._connect()
                if self._shows_old_settings(frame):
                    continue
                index = first + frame.index
                self._next_index = index + 1
                named = replace(frame, index=index, camera=self.camera.name, opening=self._openings)
                if not self._queue.put(self._number, named):
                    return
        finally:
            self._release(source)

    def _opened(self) -> Source:
        source = self._source
        if source is None:
            assert self.camera.reopen is not None  # else the loss would have ended the thread
            source = self.camera.reopen()
            self._openings += 1
            self._unset = bool(self._settings)
            with self._lock:
                self._source = source
        return source

    def configure(self, settings: Mapping[str, str]) -> None:
        """Set the camera before its next frame is read, and again whenever it is opened; from any thread."""
        with self._lock:
            self._settings, self._unset = settings, True

    def _set(self, source: Source) -> None:
        """Apply what is yet to be set, by the thread that reads."""
        with self._lock:
            unset, self._unset = self._unset, False
        if not unset:
            return
        if isinstance(source, Configurable):
            source.configure(self._settings)
        else:
            _log.warning("%s is no camera that can be set: its settings stay", self._status.source)
        self._set_at = time.monotonic()

    def _shows_old_settings(self, frame: Frame) -> bool:
        """Whether it was captured before the camera was set as it now is to be: it is of no part of this recipe."""
        return self._unset or 0 < frame.clock < self._set_at

    def _read(self, frames: Iterator[Frame], turn: int) -> Frame | None:
        """The next frame, or None at the end; for how long it has been waited for is there for `check`."""
        with self._lock:
            self._reading_since = time.monotonic()
        try:
            return next(frames, None)
        finally:
            with self._lock:
                if turn == self._turn:
                    self._reading_since = 0.0

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

    def _release(self, source: Source) -> None:
        """Close a source by the thread that read it, and keep its counts."""
        source.close()
        with self._lock:
            if self._source is source:
                self._source = None
            self._status = replace(self._status, unreadable=self._status.unreadable + source.unreadable)

    @property
    def is_showing(self) -> bool:
        """Whether it is there and has shown a frame."""
        return self._status.state == CONNECTED

    @property
    def waiting(self) -> bool:
        """Whether nothing is to be expected of it now: it is declared lost, not there yet, at its end, or quiet."""
        source = self._source
        quiet = source is not None and source.live and source.timeout == 0
        return quiet or self._status.state in (CONNECTING, LOST, ENDED)

    def stop(self) -> None:
        """Tell the thread to end; does not wait. The queue is to be closed first."""
        self._stopping.set()
        with self._lock:
            source = self._source
        if source is not None and source.live:  # it may wait for a frame; files are closed by their own thread
            source.close()

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, if it was started."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        if self._thread.is_alive():
            _log.warning("%s does not answer; its thread is left to end by itself", self._status.source)


class FrameGrabber(Closing):
    """Frames of several cameras as they come: a thread for each, and one queue for the thread that judges."""

    def __init__(
        self,
        cameras: Sequence[Camera],
        backoff: Backoff = CAMERA_BACKOFF,
        queue: FrameQueue | None = None,
        tick: float = WAIT_S,
        window: float = 0.0,
    ) -> None:
        """Queue frames under each camera's policy, or in a `queue` of the caller's; `take` waits for `tick` seconds,
        and from a frame on for at most `window` seconds for those of other cameras."""
        self._tick, self._window = tick, window
        self._queue = queue or FrameQueue([camera.queue_policy for camera in cameras])
        self.captures = [CaptureThread(number, camera, self._queue, backoff) for number, camera in enumerate(cameras)]

    @property
    def live(self) -> bool:
        """Whether a camera has no end of its own."""
        return any(capture.camera.live for capture in self.captures)

    def start(self) -> None:
        """Read from now on."""
        for capture in self.captures:
            capture.start()

    def take(self, most: int) -> list[tuple[int, Frame]]:
        """The oldest frame of up to `most` cameras, with the camera's number; none when none came for a while."""
        for capture in self.captures:
            capture.check()
        return self._queue.take(most, self._tick, self._window, lambda: sum(one.is_showing for one in self.captures))

    @property
    def lost(self) -> bool | None:
        """Whether a camera is lost; None while one is yet to show its first frame."""
        states = {capture.status().state for capture in self.captures}
        return True if states & {LOST, ENDED} else None if CONNECTING in states else False

    def configure(self, settings: Mapping[str, Mapping[str, str]]) -> None:
        """Set cameras, by name, before their next frames."""
        for capture in self.captures:
            if wanted := settings.get(capture.camera.name):
                capture.configure(wanted)

    @property
    def over(self) -> bool:
        """Whether every camera is at its end and every frame was taken."""
        return self._queue.over

    @property
    def waiting(self) -> bool:
        """Whether no camera can be expected to show a frame now."""
        return all(capture.waiting for capture in self.captures)

    def __iter__(self) -> Iterator[Frame]:
        """Start, and give frame after frame; raises what ended a camera for good."""
        self.start()
        while not self.over:
            for _, frame in self.take(1):
                yield frame
        for capture in self.captures:
            if capture.error is not None:
                raise capture.error

    def close(self, timeout: float = JOIN_S) -> None:
        """End the threads and close their sources, all at the same time; calling it again does nothing.

        What does not end in `timeout` seconds is left to end by itself.
        """
        ends = time.monotonic() + timeout
        self._queue.close()
        name = "edgead closes a camera"
        stopping = [threading.Thread(target=one.stop, name=name, daemon=True) for one in self.captures]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join(max(0.0, ends - time.monotonic()))
        for capture in self.captures:
            capture.join(max(0.0, ends - time.monotonic()))
