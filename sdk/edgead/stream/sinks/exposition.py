"""Writes the line's numbers as Prometheus reads them: text exposition format, version 0.0.4."""

from __future__ import annotations

import bisect
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock

from edgead.files import state_folder
from edgead.result import Result
from edgead.stream.status import CONNECTED, PipelineStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # upper, of a bucket

Labels = Mapping[str, str]


@dataclass(slots=True)
class Histogram:
    """How many values fell into each bucket, the last of which has no upper bound."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum: float = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect.bisect_left(BOUNDS_S, value)] += 1
        self.sum += value


class Tally:
    """What is counted from the results themselves. Safe between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._scores: dict[str, float] = {}
        self._latency, self._age = Histogram(), Histogram()

    def observe(self, result: Result) -> None:
        with self._lock:
            self._counts[result.camera, result.verdict.value] += 1
            self._scores[result.camera] = result.score
            self._latency.observe(result.timings.total / 1000)
            if result.age > 0:
                self._age.observe(result.age / 1000)

    def text(self, status: PipelineStatus | None) -> str:
        """Everything there is to know, with what the line itself knows where there is one."""
        with self._lock:
            counts = [({"camera": camera, "verdict": verdict}, n) for (camera, verdict), n in self._counts.items()]
            lines = [
                *_family("edgead_score", "gauge", "Calibrated score of the last result.", _by("camera", self._scores)),
                *_histogram("edgead_latency_seconds", "Time to judge a frame.", self._latency),
                *_histogram("edgead_frame_age_seconds", "Time from capture to judgment.", self._age),
            ]
        if status is not None:
            known = [
                ({"camera": camera, "verdict": verdict}, n)
                for camera, verdicts in status.counts.items()
                for verdict, n in verdicts.items()
            ]
            counts = known or counts  # the line counts what a busy sink may have missed
            lines += _of_pipeline(status)
        return "\n".join([*_family("edgead_results_total", "counter", "Results by verdict.", counts), *lines, ""])


def _of_pipeline(status: PipelineStatus) -> Iterator[str]:
    about = {"engine": status.engine, "precision": status.precision, "model": status.model, "bundle": status.digest}
    shares = {name: camera.judged_share for name, camera in status.cameras.items() if camera.judged_share is not None}
    drifts = {name: float(bool(camera.drift)) for name, camera in status.cameras.items()}
    connected = {name: float(camera.state == CONNECTED) for name, camera in status.cameras.items()}
    lost = [({"sink": sink, "reason": why}, n) for sink, by in status.lost.items() for why, n in by.items()]
    families: list[tuple[str, str, str, Iterable[tuple[Labels, float]]]] = [
        ("edgead_info", "gauge", "What judges; always 1.", [(about, 1)]),
        ("edgead_uptime_seconds", "gauge", "Time since the line was started.", [({}, status.uptime)]),
        ("edgead_frames_per_second", "gauge", "Frames judged a second.", [({}, status.fps)]),
        ("edgead_threshold_factor", "gauge", "The threshold, times the bundle's.", [({}, status.threshold)]),
        ("edgead_judged_share", "gauge", "Of the last minute's frames, what could be judged.", _by("camera", shares)),
        ("edgead_dropped_frames_total", "counter", "Frames overtaken by newer ones.", [({}, status.dropped)]),
        ("edgead_unreadable_frames_total", "counter", "Frames that could not be read.", [({}, status.unreadable)]),
        ("edgead_reconnects_total", "counter", "Times a camera was connected again.", [({}, status.reconnects)]),
        ("edgead_unwritten_results_total", "counter", "Results a sink could not take.", _by("sink", status.unwritten)),
        ("edgead_drift", "gauge", "1 while good parts differ from build time's, else 0.", _by("camera", drifts)),
        ("edgead_lost_results_total", "counter", "Results a sink has taken and given up.", lost),
        ("edgead_disk_free_ratio", "gauge", "Of the disk with the state folder, the share that is free.", _disk()),
        ("edgead_camera_connected", "gauge", "1 while the camera delivers, else 0.", _by("camera", connected)),
    ]
    for family in families:
        yield from _family(*family)


def _disk() -> list[tuple[Labels, float]]:
    """The free share of the disk on which a station keeps what must not be lost."""
    place = next(folder for folder in state_folder("").parents if folder.exists())
    try:
        usage = shutil.disk_usage(place)
    except OSError:
        return []
    return [({}, round(usage.free / usage.total, 4))]


def _by(label: str, values: Mapping[str, float]) -> list[tuple[Labels, float]]:
    return [({label: name}, value) for name, value in values.items()]


def _family(name: str, kind: str, about: str, samples: Iterable[tuple[Labels, float]]) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield _sample(name, labels, value)


def _histogram(name: str, about: str, histogram: Histogram) -> Iterator[str]:
    yield from _family(name, "histogram", about, [])
    total = 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), histogram.counts, strict=True):
        total += count
        yield _sample(f"{name}_bucket", {"le": bound}, total)
    yield _sample(f"{name}_sum", {}, histogram.sum)
    yield _sample(f"{name}_count", {}, total)


def _sample(name: str, labels: Labels, value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    number = str(value).replace("inf", "Inf").replace("nan", "NaN")
    return f"{name}{{{inside}}} {number}" if inside else f"{name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
