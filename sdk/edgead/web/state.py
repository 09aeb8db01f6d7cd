"""What the page shows, kept in memory: the newest frame of each camera, the last scores and the last anomalies.

A picture is encoded when a viewer asks for it, once for all viewers: while nobody watches, only the pictures of
anomalies are, which must still be there when somebody comes.
"""

from __future__ import annotations

import math
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any

import cv2
import numpy as np

from edgead.overlay import tint
from edgead.percentiles import percentiles
from edgead.result import Result
from edgead.types import Frame, ImageU8, Verdict

HISTORY = 600  # results of each camera
RECENT = 1000  # results that percentiles are taken of
ANOMALIES = 24
_SHOWN = (Verdict.NG, Verdict.REVIEW)  # among the anomalies
_GAP_S = 0.2  # between two anomalies of a camera that are shown: a part is often in several frames
_LONGEST, _THUMB = 1280, 320  # pixels
_QUALITY = 82  # of 100, JPEG


@dataclass(frozen=True, slots=True, eq=False)
class Latest:
    """The newest of one camera, replaced as a whole."""

    frame: Frame
    result: Result
    number: int  # of the result on this dashboard
    seen: float  # time.monotonic


@dataclass(slots=True)
class _Camera:
    latest: Latest
    history: deque[tuple[int, float, float, str]] = field(default_factory=lambda: deque(maxlen=HISTORY))
    pictured: float = -math.inf  # time.monotonic of the last anomaly shown


@dataclass(frozen=True, slots=True, eq=False)
class Anomaly:
    """One that is shown, with its pictures as JPEG."""

    number: int
    about: dict[str, Any]
    picture: bytes
    thumb: bytes


class DashboardState:
    """Written by the sink's thread, read by the server's."""

    def __init__(self, on_change: Callable[[], None] = lambda: None, anomalies: int = ANOMALIES) -> None:
        self.run = secrets.token_hex(4)  # tells a page that the numbers have begun anew
        self.number = 0
        self._lock = Lock()
        self._on_change = on_change
        self._cameras: dict[str, _Camera] = {}
        self._counts: Counter[str] = Counter()
        self._speed: deque[tuple[float, float]] = deque(maxlen=RECENT)  # latency, age in ms
        self._times: deque[float] = deque(maxlen=RECENT)
        self._anomalies: deque[Anomaly] = deque(maxlen=anomalies)

    def add(self, frame: Frame, result: Result, event: str = "") -> None:
        """Take a result; neither it nor the frame is changed or copied. `event` is what it is called if it is kept."""
        now = time.monotonic()
        camera = self._cameras.get(result.camera)
        anomaly = None
        if result.is_any(_SHOWN) and (camera is None or now - camera.pictured >= _GAP_S):
            anomaly = _anomaly(self.number + 1, frame, result, event)
        with self._lock:
            self.number += 1
            latest = Latest(frame, result, self.number, now)
            if camera is None:
                camera = self._cameras[result.camera] = _Camera(latest)
            camera.latest = latest
            camera.history.append((self.number, frame.time or time.time(), result.score, result.verdict.value))
            self._counts[result.verdict.value] += 1
            self._speed.append((result.timings.total, result.age))
            self._times.append(now)
            if anomaly is not None:
                camera.pictured = now
                self._anomalies.append(anomaly)
        self._on_change()

    def latest(self, camera: str) -> Latest | None:
        known = self._cameras.get(camera)
        return known.latest if known is not None else None

    def anomaly(self, number: int) -> Anomaly | None:
        with self._lock:
            return next((anomaly for anomaly in self._anomalies if anomaly.number == number), None)

    def quiet(self) -> float:
        """Seconds since the last result; infinite before the first."""
        with self._lock:
            return time.monotonic() - max((camera.latest.seen for camera in self._cameras.values()), default=-math.inf)

    def state(self, after: int) -> dict[str, Any]:
        """Plain values for JSON; of the history what came after result number `after`."""
        now = time.monotonic()
        with self._lock:
            latency, age = zip(*self._speed, strict=True) if self._speed else ((), ())
            return {
                "run": self.run,
                "number": self.number,
                "counts": dict(self._counts),
                "fps": _rate(self._times, now),
                "latency_ms": asdict(percentiles(latency)) if latency else {},
                "age_ms": asdict(percentiles(known)) if (known := [value for value in age if value > 0]) else {},
                "cameras": [_camera(name, camera, now, after) for name, camera in self._cameras.items()],
                "anomalies": [anomaly.about for anomaly in reversed(self._anomalies)],
            }


def picture(latest: Latest, heatmap: bool) -> bytes:
    """The frame as JPEG, at most 1280 pixels long, with the heatmap or as it was seen."""
    image = _fitted(latest.frame.image, _LONGEST)
    return _jpeg(tint(image, latest.result) if heatmap else image)


def _anomaly(number: int, frame: Frame, result: Result, event: str) -> Anomaly:
    drawn = tint(_fitted(frame.image, _LONGEST), result)
    about = {
        "number": number,
        "camera": result.camera,
        "name": result.name,
        "index": result.index,
        "time": frame.time or time.time(),
        "verdict": result.verdict.value,
        "score": _number(result.score),
        "reasons": list(result.reasons),
        "event": event,
    }
    return Anomaly(number, about, _jpeg(drawn), _jpeg(_fitted(drawn, _THUMB)))


def _camera(name: str, camera: _Camera, now: float, after: int) -> dict[str, Any]:
    latest, result = camera.latest, camera.latest.result
    return {
        "name": name,
        "number": latest.number,
        "verdict": result.verdict.value,
        "score": _number(result.score),
        "reasons": list(result.reasons),
        "quiet": round(now - latest.seen, 2),
        "areas": result.extra.get("areas"),
        "size": [latest.frame.image.shape[1], latest.frame.image.shape[0]],
        "history": [[n, at, _number(score), verdict] for n, at, score, verdict in camera.history if n > after],
    }


def _fitted(image: ImageU8, longest: int) -> ImageU8:
    height, width = image.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return image
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(image: ImageU8) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def _rate(times: deque[float], now: float) -> float:
    """Results a second, over the last five seconds."""
    recent = sum(now - at <= 5.0 for at in times)
    span = min(5.0, now - times[0]) if times else 0.0
    return round(recent / span, 2) if span > 0.5 else 0.0


def _number(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
