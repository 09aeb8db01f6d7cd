"""What sinks read of the line's status, in one place, each with what is shown where it is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgead.stream.sinks import Line

QUANTILES = ("p50", "p95", "p99")


@dataclass(frozen=True, slots=True)
class CameraState:
    """Whether a camera delivers."""

    state: str = "connected"  # or connecting, lost, ended
    since: float = 0.0  # seconds since the epoch; 0 where unknown

    @property
    def connected(self) -> bool:
        return self.state == "connected"


@dataclass(frozen=True, slots=True)
class LineView:
    """The line at one moment. Counts are since its start; times in milliseconds where their name says so."""

    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # camera -> verdict -> results
    cameras: Mapping[str, CameraState] = field(default_factory=dict)
    dropped: int = 0  # frames overtaken by newer ones
    unreadable: int = 0
    reconnects: int = 0
    unwritten: Mapping[str, int] = field(default_factory=dict)  # sink -> results it could not take
    fps: float = 0.0
    age_ms: Mapping[str, float] = field(default_factory=dict)  # p50, p95, p99, capture to judgement
    latency_ms: Mapping[str, float] = field(default_factory=dict)  # the same of the judgement alone
    engine: str = ""
    precision: str = ""
    model: str = ""
    threshold: float = 1.0  # times the bundle's
    uptime: float = 0.0  # seconds


def view(line: Line) -> LineView:
    """The status of `line`; a key it does not give has its default, one that only newer lines give is passed over."""
    given = line.status().to_dict()
    cameras = {name: _camera(state) for name, state in dict(given.get("cameras") or {}).items()}
    return LineView(
        counts={name: dict(counts) for name, counts in dict(given.get("counts") or {}).items()},
        cameras=cameras,
        dropped=_total(given.get("dropped")),
        unreadable=_total(given.get("unreadable")),
        reconnects=_total(given.get("reconnects")),
        unwritten=dict(given.get("unwritten") or {}),
        fps=float(given.get("fps") or 0.0),
        age_ms=_quantiles(given.get("age_ms")),
        latency_ms=_quantiles(given.get("latency_ms")),
        engine=str(given.get("engine") or ""),
        precision=str(given.get("precision") or ""),
        model=str(given.get("model") or ""),
        threshold=float(given.get("threshold") or 1.0),
        uptime=float(given.get("uptime") or 0.0),
    )


class ThresholdWatch:
    """The threshold in force, asked for at most once a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._next, self._factor = clock, 0.0, 1.0
        self._line: Line | None = None

    def attach(self, line: Line) -> None:
        self._line = line

    @property
    def factor(self) -> float:
        """Times the bundle's threshold; 1.0 without a line."""
        now = self._clock()
        if self._line is not None and now >= self._next:
            self._next, self._factor = now + 1.0, view(self._line).threshold
        return self._factor


def _camera(given: Any) -> CameraState:
    if isinstance(given, str):
        return CameraState(given)
    return CameraState(str(given.get("state") or "connected"), float(given.get("since") or 0.0))


def _total(given: Any) -> int:
    """A count, or the sum of counts by camera."""
    return sum(given.values()) if isinstance(given, Mapping) else int(given or 0)


def _quantiles(given: Any) -> dict[str, float]:
    if isinstance(given, Mapping):
        return {name: float(given[name]) for name in QUANTILES if given.get(name)}  # 0: nothing was measured
    return dict(zip(QUANTILES, map(float, given or ()), strict=False))
