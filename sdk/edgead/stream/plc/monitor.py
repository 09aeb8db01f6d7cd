"""Says whether the line judges: what is due and not judged, cameras that are lost, drift. Read from any thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from edgead.stream.plc.handshake import Fault
from edgead.types import Frame

TURN_S = 0.05  # seconds after which a line that judges nothing looks up
GONE_S = 0.4  # without a look, after which the thread that judges is gone or held up


class JudgingMonitor:
    """Told by the thread that judges, asked by the one that keeps the handshake."""

    def __init__(self, due: float, lost: Callable[[], bool | None], drifting: Callable[[], bool]) -> None:
        """A frame is due `due` seconds after its capture; `lost` says whether a camera is (None: one is yet to
        come), `drifting` whether drift
        is a reason to stop and there is one."""
        self._due, self._lost, self._drifting = due, lost, drifting
        self._lock = threading.Lock()
        self._running = False
        self._turned = 0.0
        self._due_at = 0.0  # of the oldest frame that is being judged; 0 while none is

    def begin(self, frames: Sequence[Frame]) -> None:
        """These frames are judged from now on; none: the line waits for some."""
        now = time.monotonic()
        with self._lock:
            self._running, self._turned = True, now
            self._due_at = min((frame.clock or now for frame in frames), default=0.0) + self._due if frames else 0.0

    def end(self) -> None:
        """The line judges no more."""
        with self._lock:
            self._running = False

    def causes(self) -> frozenset[Fault]:
        """The faults that hold now."""
        now, lost = time.monotonic(), self._lost()
        with self._lock:
            overdue = now > self._due_at if self._due_at else now - self._turned > GONE_S
            causes = {
                Fault.STOPPED: not self._running or lost is None,
                Fault.OVERDUE: self._running and overdue,
            }
        causes |= {Fault.CAMERA_LOST: bool(lost), Fault.DRIFT: self._drifting()}
        return frozenset(fault for fault, holds in causes.items() if holds)
