"""Records what a person will want to see again: anomalies, borderline frames and some good ones, under a quota.

Each is a folder with the frame as it was judged, the heatmap over it and the result as JSON; see `archive`.
"""

from __future__ import annotations

import dataclasses
import math
import random
import time
from pathlib import Path

import cv2

from edgead.errors import UsageError, nearest
from edgead.result import Result
from edgead.stream.sinks.archive import Archive
from edgead.stream.sinks.base import PipelineControl, Sink
from edgead.stream.sinks.images import QUALITY, event_name
from edgead.stream.sinks.options import Size, Verdicts, checked
from edgead.types import Frame, ImageU8, Verdict

FORMATS = ("png", "jpg")
_JUDGED = (Verdict.OK, Verdict.REVIEW, Verdict.NG)  # their score says something about the part


class EventRecorder(Sink):
    """Keeps frames of the chosen verdicts, those whose score lies near the threshold, and a share of the good ones."""

    def __init__(
        self,
        folder: Path,
        *,
        verdicts: Verdicts = frozenset({Verdict.NG, Verdict.REVIEW}),
        band: float = 0.1,
        good: float = 0.0,
        quota: Size = 10 * 10**9,
        days: float = 30.0,
        free: Size = 10**9,
        format: str = "png",
    ) -> None:
        """Take over `folder`; raises UsageError or DataError.

        `band` is in calibrated score: 0.1 keeps every part within 0.1 of the threshold (0: none for that reason),
        `good` is the share of the parts that are OK to be kept at random beside them: 0.001 keeps one of a thousand.
        At most `quota` bytes and `days` are kept, what arrived first deleted first, and `free` bytes of the disk are
        left to others. `format` of the frame: png as it was seen, jpg at a tenth of the size.
        """
        if format not in FORMATS:
            raise UsageError(f"a kept frame cannot be '{format}': {nearest(format, FORMATS)}")
        checked("the sink 'keep': band", band, 0, 1e6)
        checked("the sink 'keep': good", good, 0, 1)
        checked("the sink 'keep': days", days, 1e-6, 1e6)
        checked("the sink 'keep': quota", quota, 1, 1e15)
        self._archive = Archive(folder, quota, days, free)
        self._verdicts, self._band, self._good, self._format = verdicts, band, good, format
        self._random = random.Random()  # noqa: S311 - nothing secret
        self._pipeline: PipelineControl | None = None
        self._threshold, self._asked = 1.0, -math.inf  # times the bundle's; when it was asked for

    def attach(self, pipeline: PipelineControl) -> None:
        self._pipeline = pipeline

    def emit(self, frame: Frame, result: Result) -> None:
        self._archive.expire()
        reason = self._reason(result)
        if not reason:
            return
        dated = dataclasses.replace(frame, time=frame.time or time.time())
        explained = dataclasses.replace(result, extra={**result.extra, "kept_for": reason})
        files = {
            f"frame.{self._format}": _encode(self._format, frame.image),
            "heatmap.jpg": _encode("jpg", result.overlay(frame.image)),
            "result.json": explained.to_json().encode() + b"\n",
        }
        self._archive.add(event_name(dated, result), dated.time, files)

    def _reason(self, result: Result) -> str:
        if result.is_any(self._verdicts):
            return f"verdict {result.judged or result.verdict}"
        verdict = result.judged or result.verdict
        if self._band > 0 and verdict in _JUDGED and abs(result.score - self._factor()) <= self._band:
            return "borderline score"
        return "random sample" if verdict is Verdict.OK and self._random.random() < self._good else ""

    def _factor(self) -> float:
        """The threshold in force, asked for at most once a second; 1.0 without a line."""
        now = time.monotonic()
        if self._pipeline is not None and now >= self._asked + 1.0:
            self._threshold, self._asked = self._pipeline.status().threshold, now
        return self._threshold

    def close(self) -> None:
        self._archive.close()


def _encode(format: str, image: ImageU8) -> bytes:
    settings = [cv2.IMWRITE_JPEG_QUALITY, QUALITY] if format == "jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 1]
    done, data = cv2.imencode(f".{format}", image, settings)
    if not done:  # JPEG ends at 65535 pixels a side
        raise OSError(f"a frame of {image.shape[1]}x{image.shape[0]} pixels cannot be encoded as {format}")
    return data.tobytes()
