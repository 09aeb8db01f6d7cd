"""Records how a shadow judges beside the line: counts, times, scores, and the newest frames on which they disagree.

new.edgead.shadow/0123456789ab-ba9876543210/    the line's bundle and the shadow's, by digest
    summary.json
    disagreements/20261122T134501.250000_000123_camera_0/{frame.jpg,line.jpg,shadow.jpg,result.json}
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from edgead.errors import DataError
from edgead.files import write_file, write_synced
from edgead.result import Result
from edgead.stream.sinks.images import name_of
from edgead.types import Frame, ImageU8

PICTURES = ("frame.jpg", "line.jpg", "shadow.jpg")
KEPT = 200  # disagreements with pictures
SCORES = 2000  # pairs of scores, drawn at random from all
RECENT = 1000  # frames that times are taken of
_PICTURE_S = 1.0  # between two disagreements with pictures: a part is often in several frames
_WRITE_S = 2.0
_LONGEST = 960  # pixels
_QUALITY = 85  # of 100, JPEG


class Summary(msgspec.Struct, kw_only=True):
    """How often two bundles said what, of the frames that both judged."""

    line: str  # digests
    shadow: str
    since: float  # seconds since the epoch
    until: float
    counts: dict[str, dict[str, dict[str, int]]] = {}  # camera -> verdict of the line -> of the shadow -> frames
    skipped: int = 0  # frames that the shadow left out, to cost the line nothing
    latency_ms: dict[str, float] = {}  # of the shadow: p50, p95, p99 of the newest frames
    line_latency_ms: dict[str, float] = {}
    scores: list[tuple[float, float]] = []  # line, shadow

    @property
    def judged(self) -> int:
        """Frames that both judged."""
        return sum(self.matrix().values())

    @property
    def agreed(self) -> int:
        """Frames on which both said the same."""
        return sum(count for (one, other), count in self.matrix().items() if one == other)

    def matrix(self) -> dict[tuple[str, str], int]:
        """Frames by what the line and the shadow said, over all cameras."""
        found: dict[tuple[str, str], int] = {}
        for said in self.counts.values():
            for one, others in said.items():
                for other, count in others.items():
                    found[one, other] = found.get((one, other), 0) + count
        return found


def folder_of(shadow: Path) -> Path:
    """Where comparisons of a bundle are kept: beside it."""
    return shadow.with_name(f"{shadow.name}.shadow")


@dataclass(slots=True)
class Recorder:
    """The record of one pair of bundles, continued where there is one. For one thread."""

    folder: Path
    summary: Summary
    _times: list[tuple[float, float]] = field(default_factory=list)  # line, shadow, in ms
    _written: float = 0.0
    _pictured: float = 0.0
    _random: random.Random = field(default_factory=random.Random)

    @classmethod
    def open(cls, shadow: Path, line: str, digest: str) -> Recorder:
        """Continue the record of these bundles, or begin it; raises OSError."""
        folder = folder_of(shadow) / f"{line[:12]}-{digest[:12]}"
        (folder / "disagreements").mkdir(parents=True, exist_ok=True)
        now = time.time()
        try:
            summary = read_summary(folder)
        except DataError:
            summary = Summary(line=line, shadow=digest, since=now, until=now)
        return cls(folder, summary)

    def add(self, frame: Frame, line: Result, shadow: Result, skipped: int) -> bool:
        """Count a frame that both have judged, with what was skipped before it; whether they agree."""
        one, other = str(line.judged or line.verdict), str(shadow.verdict)
        row = self.summary.counts.setdefault(frame.camera, {}).setdefault(one, {})
        row[other] = row.get(other, 0) + 1
        self.summary.skipped += skipped
        self.summary.until = time.time()
        self._sample((round(line.score, 4), round(shadow.score, 4)))
        self._times = [*self._times[-RECENT + 1 :], (line.timings.total, shadow.timings.total)]
        if one != other and time.monotonic() >= self._pictured + _PICTURE_S:
            self._pictured = time.monotonic()
            self._picture(frame, line, shadow)
        self.write_when_due()
        return one == other

    def _sample(self, pair: tuple[float, float]) -> None:
        """Keep a pair of scores so that all that came have the same chance."""
        scores = self.summary.scores
        if not np.isfinite(pair).all():
            return
        if len(scores) < SCORES:
            scores.append(pair)
        elif (place := self._random.randrange(self.summary.judged)) < SCORES:
            scores[place] = pair

    def _picture(self, frame: Frame, line: Result, shadow: Result) -> None:
        """Keep a disagreement with pictures; the oldest go."""
        place = self.folder / "disagreements"
        target = place / name_of(frame)
        if target.exists():
            return
        said = {"line": line.to_dict(), "shadow": shadow.to_dict()}
        draft = place / f".writing-{target.name}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        images = (frame.image, line.overlay(frame.image), shadow.overlay(frame.image))
        for name, image in zip(PICTURES, images, strict=True):
            write_synced(draft / name, _jpeg(image))
        write_synced(draft / "result.json", json.dumps(said, default=str).encode() + b"\n")
        draft.rename(target)
        for old in sorted(path for path in place.iterdir() if not path.name.startswith("."))[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def write_when_due(self) -> None:
        """Write the summary, every few seconds at the most."""
        if time.monotonic() >= self._written + _WRITE_S:
            self.write()

    def write(self) -> None:
        """Write the summary; raises EdgeadError."""
        if self._times:
            line, shadow = zip(*self._times, strict=True)
            self.summary.line_latency_ms, self.summary.latency_ms = _spread(line), _spread(shadow)
        self._written = time.monotonic()
        write_file(self.folder / "summary.json", msgspec.json.encode(self.summary))


def read_summary(folder: Path) -> Summary:
    """The summary of one pair of bundles; raises DataError where there is none, or one that cannot be read."""
    try:
        return msgspec.json.decode((folder / "summary.json").read_bytes(), type=Summary)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DataError(f"there is no comparison in {folder}: {error}") from error


def newest_record(shadow: Path) -> Path:
    """The folder of the comparison that was written last; raises DataError where the bundle was never a shadow."""
    found = list(folder_of(shadow).glob("*/summary.json"))
    if not found:
        raise DataError(f"{shadow} was no shadow yet: run the line with `shadow: {shadow}` first")
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent


def disagreements(record: Path) -> list[Path]:
    """The disagreements with pictures, the newest first."""
    place = record / "disagreements"
    return sorted((path for path in place.glob("*") if (path / "result.json").is_file()), reverse=True)


def _jpeg(image: ImageU8) -> bytes:
    scale = min(1.0, _LONGEST / max(image.shape[:2]))
    if scale < 1:
        image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()


def _spread(values: Any) -> dict[str, float]:
    found = np.percentile(np.asarray(values, np.float64), (50, 95, 99))
    return {name: round(float(value), 2) for name, value in zip(("p50", "p95", "p99"), found, strict=True)}


def figures_of(summary: Summary, **more: Any) -> Mapping[str, Any]:
    """What a page is told of a comparison."""
    return {
        "line": summary.line[:12],
        "shadow": summary.shadow[:12],
        "judged": summary.judged,
        "agreed": summary.agreed,
        "skipped": summary.skipped,
        "latency_ms": summary.latency_ms,
        **more,
    }
