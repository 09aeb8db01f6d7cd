"""The line itself: frames from a source, through the detector, into the sinks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from edgead.detector import Detector
from edgead.stream.sinks import Sink
from edgead.stream.sources import Source
from edgead.types import Frame, Result

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunStats:
    """What happened on the line."""

    frames: int = 0  # judged
    anomalies: int = 0
    dropped: int = 0  # overtaken by a newer frame before they were judged
    unreadable: int = 0  # files passed over
    seconds: float = 0.0
    unwritten: int = 0  # results that a sink could not take


def run(
    source: Source,
    detector: Detector,
    sinks: Sequence[Sink],
    limit: int | None = None,
    on_result: Callable[[RunStats, Result], None] | None = None,
) -> RunStats:
    """Judge the frames of `source` until it ends or `limit` frames are judged; each result goes to every sink.

    Source and sinks are closed on every way out, interrupts among them; the detector stays the caller's. A
    sink that cannot write (a full disk) is reported once, tried again with every frame, and never stops the line.
    Raises SourceError when the source is lost, and whatever the detector raises.
    """
    with ExitStack() as stack:
        outlets = [_Outlet(sink) for sink in sinks]
        for outlet in outlets:
            stack.callback(outlet.close)
        stack.callback(source.close)  # last in, first out: no frame may come while the sinks are closing
        return _judge_all(source, detector, outlets, limit, on_result)


def _judge_all(
    source: Source,
    detector: Detector,
    outlets: Sequence[_Outlet],
    limit: int | None,
    on_result: Callable[[RunStats, Result], None] | None,
) -> RunStats:
    start = time.perf_counter()
    frames = anomalies = 0

    def stats() -> RunStats:
        seconds, unwritten = time.perf_counter() - start, sum(outlet.unwritten for outlet in outlets)
        return RunStats(frames, anomalies, source.dropped, source.unreadable, seconds, unwritten)

    if limit is not None and limit <= 0:
        return stats()
    for frame in source:
        result = detector.detect(frame)
        frames += 1
        anomalies += result.is_anomalous
        for outlet in outlets:
            outlet.emit(frame, result)
        if on_result is not None:
            on_result(stats(), result)
        if frames == limit:  # before the source is asked for a frame that nobody wants
            break
    return stats()


class _Outlet:
    """A sink whose failures to write do not stop the line."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._failing = False
        self.unwritten = 0

    def emit(self, frame: Frame, result: Result) -> None:
        try:
            self._sink.emit(frame, result)
        except BrokenPipeError:  # nobody reads any more: the program's end, not a sink's trouble
            raise
        except OSError as error:
            if not self._failing:
                _log.error("%s cannot write: %s; the line goes on", type(self._sink).__name__, error)
            self._failing = True
            self.unwritten += 1
            return
        if self._failing:
            _log.warning("%s writes again", type(self._sink).__name__)
        self._failing = False

    def close(self) -> None:
        try:
            self._sink.close()
        except OSError as error:
            _log.error("%s could not finish: %s", type(self._sink).__name__, error)
