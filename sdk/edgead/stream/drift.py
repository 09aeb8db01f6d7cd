"""Whether good parts still score as they did when the bundle was built, and what has probably changed if not.

A sequential test of quantiles. Of the parts that are not NG, at most a known share scores above a quantile of
build time's good scores, or below their median: what the quantile says, plus what so few scores leave open, plus a
tolerance, since a shift that small changes no verdict. Each part multiplies a likelihood ratio of a clearly larger
share against the largest share allowed, and the Shiryaev-Roberts statistic R = (1 + R) x ratio adds up over all places
where a change may have begun. As long as the shares hold, R - t is a supermartingale, so that an alarm at R >= c comes
no sooner than after c parts on average (Pollak 1985; Vovk, Testing randomness online, 2021). The share of NG parts is
watched in the same way. Parts are taken for independent: frames of one part that stands still are not.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from edgead.bundle.manifest import HealthProfile
from edgead.detector import Detector
from edgead.result import Result
from edgead.stream.health import ImageStats, offset, reference_of

_log = logging.getLogger(__name__)

RUN_LENGTH = 100_000  # parts without drift between two alarms, on average and at least
TOLERANCE = 0.05  # of a share
SURE = 3.1  # standard errors of a quantile that build time's scores leave open: 0.1 % on one side
REFUSED = 0.25  # share of NG parts up to which the parts and not the bundle are to blame
MINIMUM = 8  # good scores without which nothing is tested
QUANTILES = (0.5, 0.75, 0.9)  # above which scores are counted
MEMORY = 0.05  # weight of the newest picture in the running means of what the camera shows
CAST = 0.04  # share by which one channel's mean must leave the others' to be a cast
CALM = 500  # parts without an alarm after which drift is over


@dataclass(frozen=True, slots=True)
class Drift:
    """An alarm: what has changed, what has probably caused it, and what to do."""

    change: str
    cause: str
    parts: int  # judged since the start

    def __str__(self) -> str:
        return f"DRIFT: {self.change}; {self.cause}; if these are good parts, refit with `edgead calibrate`"


@dataclass(slots=True)
class _Watch:
    """One share of parts that must not rise above `allowed`."""

    change: str
    counts: Callable[[float], bool]  # whether a part with this score counts
    allowed: float
    statistic: float = 0.0

    def add(self, score: float) -> None:
        """Take in a part."""
        more = self.allowed + (1 - self.allowed) / 2
        hit = self.counts(score)
        ratio = more / self.allowed if hit else (1 - more) / (1 - self.allowed)
        self.statistic = (1 + self.statistic) * ratio


@dataclass(slots=True)
class _Means:
    """Running means of what the camera shows."""

    values: dict[str, float] = field(default_factory=dict)
    thumbnail: np.ndarray | None = None

    def add(self, stats: ImageStats) -> None:
        """Take in a picture."""
        for name in ("brightness", "contrast", "sharpness", "color"):
            value = float(getattr(stats, name))
            self.values[name] = value + (1 - MEMORY) * (self.values.get(name, value) - value)
        picture = stats.thumbnail.astype(np.float32)
        self.thumbnail = picture if self.thumbnail is None else picture + (1 - MEMORY) * (self.thumbnail - picture)


class DriftMonitor:
    """Watches the parts of one camera. It belongs to one thread."""

    def __init__(
        self,
        good_scores: Sequence[float],
        threshold: float,
        profile: HealthProfile | None = None,
        run_length: float = RUN_LENGTH,
    ) -> None:
        """`good_scores` are build time's raw scores, of which those above the raw `threshold` are left out, as on the
        line; `profile` is what the camera showed then."""
        under = np.sort([score for score in good_scores if score <= threshold])
        self._threshold, self._profile = threshold, profile
        self._watches = _watches(under) if len(under) >= MINIMUM else []
        self._refused = _Watch("most parts are NG", lambda score: score > threshold, REFUSED)
        self._limit = run_length * (len(self._watches) + 1)  # their sum is compared with it
        self._means = _Means()
        self._parts = self._alarm_at = 0
        self.drift: Drift | None = None  # the last alarm, until parts have been calm for `CALM`

    def update(self, score: float, stats: ImageStats | None = None) -> Drift | None:
        """Take in the raw score of a part and what its picture showed; the alarm where one begins, else None.

        A score that is not a finite number, of a part that could not be judged, tells nothing.
        """
        if not math.isfinite(score):
            return None
        self._parts += 1
        self._refused.add(score)
        if score <= self._threshold:
            for watch in self._watches:
                watch.add(score)
        if stats is not None:
            self._means.add(stats)
        return self._alarm()

    def _alarm(self) -> Drift | None:
        watches = [*self._watches, self._refused]
        if sum(watch.statistic for watch in watches) < self._limit:
            if self._parts - self._alarm_at >= CALM:
                self.drift = None
            return None
        strongest, is_new = max(watches, key=lambda watch: watch.statistic), self.drift is None
        self._alarm_at = self._parts
        for watch in watches:
            watch.statistic = 0.0
        if not is_new:  # the same drift goes on
            return None
        cause = probable_cause(self._means.values, self._means.thumbnail, self._profile)
        self.drift = Drift(strongest.change, cause, self._parts)
        return self.drift


class CameraDrift:
    """A monitor for each camera of a line, for the bundle that judges; new ones where another bundle does.

    One thread updates, any may read `drifts`.
    """

    def __init__(self, titles: Sequence[str]) -> None:
        """`titles` are what the cameras are called in the log; "": as their frames are."""
        self._titles = titles
        self._monitors: list[DriftMonitor | None] = [None] * len(titles)
        self._detector: Detector | None = None

    def update(self, camera: int, detector: Detector, result: Result, stats: ImageStats | None) -> Result:
        """The result of a part, with the drift among its reasons as long as there is one."""
        if detector is not self._detector:
            self._detector, self._monitors = detector, [None] * len(self._monitors)
        monitor = self._monitors[camera]
        if monitor is None:
            artifact = detector.artifact
            profile = detector.bundle.manifest.health
            monitor = DriftMonitor(artifact.good_scores, artifact.thresholds.image, profile)
            self._monitors[camera] = monitor
        if alarm := monitor.update(result.raw_score, stats):
            _log.warning("%s: %s", self._titles[camera] or result.name, alarm)
        return result if monitor.drift is None else replace(result, reasons=(*result.reasons, str(monitor.drift)))

    def drifts(self) -> list[str]:
        """The drift of each camera in words; nothing where there is none."""
        found = [None if monitor is None else monitor.drift for monitor in self._monitors]
        return ["" if drift is None else str(drift) for drift in found]


def probable_cause(values: dict[str, float], thumbnail: np.ndarray | None, profile: HealthProfile | None) -> str:
    """What of the camera's pictures has left the range of build time, in words; where nothing has, a new variant."""
    if profile is None or not values or thumbnail is None:
        return "the camera's pictures were not looked at"
    causes = {
        "brightness": ("brightness", "mean gray level", profile.brightness),
        "sharpness": ("focus", "sharpness", profile.sharpness),
        "contrast": ("contrast", "spread of the gray levels", profile.contrast),
        "color": ("color", "distance between the channels", profile.color),
    }
    outside = {name: _outside(values[name], known) for name, (_, _, known) in causes.items()}
    worst = max(outside, key=lambda name: outside[name])
    right, down, *_ = offset(np.clip(thumbnail.round(), 0, 255).astype(np.uint8), reference_of(profile))
    moved = max(abs(right) - profile.reach[0], abs(down) - profile.reach[1])
    if moved >= 1 and outside[worst] < 1:
        return f"probably the position: the scene lies {abs(right)} to the side and {abs(down)} up or down of 48 cells"
    if outside[worst] > 0:
        word, measure, (low, high) = causes[worst]
        return f"probably {word}: {measure} {values[worst]:.3g}, good parts had {low:.3g} to {high:.3g}"
    if (cast := color_cast(thumbnail, reference_of(profile))) is not None:
        return f"probably color: {cast} than of good parts, against the other colors"
    return "probably a new variant of the part: the camera's pictures are as bright, sharp and placed as before"


def color_cast(picture: np.ndarray, reference: np.ndarray) -> str | None:
    """Which color of a mean picture (H, W, 3) BGR is stronger or weaker than in another, beside the brightness of both,
    in words; None where the difference is below `CAST`. Single pictures tell no cast so small, their mean does."""
    means, known = (np.maximum(one.reshape(-1, 3).mean(axis=0, dtype=np.float64), 1.0) for one in (picture, reference))
    ratio = (means / known) / np.median(means / known)
    most = int(np.abs(np.log(ratio)).argmax())
    if abs(ratio[most] - 1) < CAST:
        return None
    word = "stronger" if ratio[most] > 1 else "weaker"
    return f"{('blue', 'green', 'red')[most]} is {100 * abs(ratio[most] - 1):.0f} % {word}"


def _outside(value: float, known: tuple[float, float]) -> float:
    """By how many widths of its range a running mean lies outside of it; below 0 inside."""
    low, high = known
    width = max(high - low, 0.05 * max(abs(high), abs(low)), 1e-6)
    return max(low - value, value - high) / width


def _watches(under: np.ndarray) -> list[_Watch]:
    """The shares above the upper quantiles, and below the median alone: build time's scores come from statistics and
    memories that lacked a fold, so that those of few images are a little too high."""
    watches = []
    for quantile in QUANTILES:
        share = 1 - quantile
        allowed = share + SURE * math.sqrt(share * (1 - share) / (len(under) + 1)) + TOLERANCE
        if allowed < 0.9:
            limit = float(np.quantile(under, quantile))
            watches.append(_Watch("good parts score higher than at build time", _above(limit), allowed))
            if quantile == 0.5:
                watches.append(_Watch("good parts score lower than at build time", _below(limit), allowed))
    return watches


def _above(limit: float) -> Callable[[float], bool]:
    return lambda score: score > limit


def _below(limit: float) -> Callable[[float], bool]:
    return lambda score: score < limit
