"""Counts how the line is doing: since the start, with percentiles of ages and times over the newest results."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgead.percentiles import Percentiles
from edgead.result import Result

WINDOW = 1000  # results that the percentiles are taken over
HEALTH_S = 60.0  # seconds over which it is said what could be judged
RATE_S = 5.0  # seconds that the rate is taken over

CONNECTING, CONNECTED, LOST, ENDED = "connecting", "connected", "lost", "ended"


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """One camera. Counts are since the start of the line."""

    source: str  # as it was given, without user names and passwords
    state: str = CONNECTING  # connecting, connected, lost or ended
    since: float = 0.0  # seconds since the epoch when it came into this state
    error: str = ""  # why it is lost
    frames: int = 0  # judged
    dropped: int = 0  # frames overtaken by a newer one
    unreadable: int = 0  # frames and files that could not be decoded
    reconnects: int = 0
    fps: float = 0.0  # frames judged a second, lately
    judged_share: float | None = None  # of the last minute's frames, those that were not INVALID; None: there were none
    drift: str = ""  # how its good parts differ from those of build time, and why; empty: they do not


@dataclass(slots=True)
class TriggerCounts:
    """Counts since the start of the line."""

    triggers: int = 0
    answered: int = 0
    no_picture: int = 0  # triggers without any frame in time
    late: int = 0  # triggers whose frames were not judged in time
    close: int = 0  # triggers that came inside the window of the one before
    unclaimed: int = 0  # frames that belong to no trigger, or are more than it asks for
    overdue: int = 0  # judgments that came after their trigger was answered


@dataclass(frozen=True, slots=True)
class PipelineStatus:
    """The whole line. Counts are since its start and are sums over the cameras."""

    cameras: dict[str, CameraStatus] = field(default_factory=dict)  # by name; "" where there is but one without
    counts: dict[str, dict[str, int]] = field(default_factory=dict)  # camera -> verdict -> results
    verdicts: dict[str, int] = field(default_factory=dict)  # every one, over all cameras
    late: int = 0  # results past the deadline, whatever their verdict
    frames: int = 0
    dropped: int = 0
    unreadable: int = 0
    reconnects: int = 0
    unwritten: dict[str, int] = field(default_factory=dict)  # results that a sink could not take, by its name
    lost: dict[str, dict[str, int]] = field(default_factory=dict)  # of these, what a sink had taken: by sink and reason
    fps: float = 0.0
    age_ms: Percentiles = field(default_factory=Percentiles)  # from capture to judgment, of live frames
    latency_ms: Percentiles = field(default_factory=Percentiles)  # spent on a frame by the detector
    engine: str = ""
    precision: str = ""
    model: str = ""  # the bundle's name
    digest: str = ""  # the first 12 hex digits of the bundle's digest
    threshold: float = 1.0  # the calibrated score above which a part is NG; 1.0 is the bundle's
    fault: str = ""  # why the last change of the bundle failed
    triggers: TriggerCounts | None = None  # None: the line has none
    trigger_troubles: list[str] = field(default_factory=list)  # why triggers cannot come, in words
    handshake: dict[str, Any] | None = None  # lamps and the last parts of a line with triggers
    uptime: float = 0.0  # seconds
    shadow: Mapping[str, Any] | None = None  # how a shadow compares, where there is one

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class FrameTiming:
    """What is kept of a result for a while."""

    at: float  # time.monotonic()
    age: float
    latency: float


@dataclass(frozen=True, slots=True)
class MeterSnapshot:
    """What a meter has counted."""

    frames: int
    verdicts: dict[str, int]  # by name
    late: int
    judged_share: float | None  # of the last minute
    samples: list[FrameTiming]  # the newest


class Meter:
    """Counts what one camera was judged to be. One thread writes, any may read."""

    def __init__(self, window: int = WINDOW) -> None:
        self._lock = threading.Lock()
        self._frames = 0
        self._verdicts: Counter[str] = Counter()
        self._late = 0
        self._samples: deque[FrameTiming] = deque(maxlen=window)
        self._seconds: deque[list[int]] = deque()  # the second, its frames, and how many of them could be judged

    def frame(self, age: float, latency: float, *, judged: bool = True) -> None:
        """Count a frame, and whether it could be judged; milliseconds."""
        now = time.monotonic()
        with self._lock:
            self._frames += 1
            self._samples.append(FrameTiming(now, age, latency))
            if not self._seconds or self._seconds[-1][0] != int(now):
                self._forget(now)
                self._seconds.append([int(now), 0, 0])
            self._seconds[-1][1] += 1
            self._seconds[-1][2] += judged

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] < now - HEALTH_S:
            self._seconds.popleft()

    def _judged_share(self) -> float | None:
        self._forget(time.monotonic())
        frames = sum(second[1] for second in self._seconds)
        return round(sum(second[2] for second in self._seconds) / frames, 4) if frames else None

    def result(self, result: Result) -> None:
        """Count a verdict that goes to the sinks."""
        with self._lock:
            self._verdicts[result.verdict.value] += 1
            self._late += result.late

    def read(self) -> MeterSnapshot:
        """What stands on it now."""
        with self._lock:
            share = self._judged_share()
            return MeterSnapshot(self._frames, dict(self._verdicts), self._late, share, list(self._samples))


def rate(samples: Iterable[FrameTiming], uptime: float) -> float:
    """Samples a second over the last `RATE_S` seconds, or since the start of the line where that is less."""
    start = time.monotonic() - RATE_S
    return round(sum(sample.at >= start for sample in samples) / max(min(uptime, RATE_S), 1e-3), 2)
