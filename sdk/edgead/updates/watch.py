"""Decides by a station's own metrics whether a new bundle is worse than the one before."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgead.errors import EdgeadError
from edgead.exposition import Sample, label, total

Z = 2.576  # of a 99 % interval
VERDICTS = ("NG", "REVIEW", "INVALID", "LATE")


@dataclass(frozen=True, slots=True)
class Counts:
    """Results by verdict."""

    model: str  # the first 12 digits of the bundle's digest
    results: float
    by_verdict: dict[str, float]
    drift: float  # cameras whose good parts differ from build time's

    def since(self, before: Counts) -> Counts:
        """What came after `before`."""
        grown = {name: n - before.by_verdict.get(name, 0.0) for name, n in self.by_verdict.items()}
        return Counts(self.model, self.results - before.results, grown, self.drift)


@dataclass(frozen=True, slots=True)
class Limits:
    """How a watch is done."""

    seconds: float = 600.0  # for which the new bundle is watched
    factor: float = 1.5  # by which a share of verdicts may grow beyond doubt
    least: int = 50  # results, of both, without which shares say nothing
    loading: float = 1200.0  # seconds in which the new bundle must judge: a TensorRT engine may have to be built
    every: float = 1.0  # seconds between two looks


def read_counts(samples: list[Sample]) -> Counts:
    """What a page of metrics says."""
    name = "edgead_results_total"
    return Counts(
        label(samples, "edgead_info", "bundle"),
        total(samples, name),
        {verdict: total(samples, name, verdict=verdict) for verdict in VERDICTS},
        total(samples, "edgead_drift"),
    )


def find_faults(old: Counts, new: Counts, limits: Limits) -> list[str]:
    """In what the new bundle is worse: shares of verdicts beyond `factor` times the old ones, by 99 % intervals."""
    if min(old.results, new.results) < limits.least:
        return []
    faults = []
    for verdict in VERDICTS:
        before, after = old.by_verdict[verdict] / old.results, new.by_verdict[verdict] / new.results
        if interval(after, new.results)[0] > limits.factor * interval(before, old.results)[1]:
            faults.append(f"{after:.1%} of the parts are {verdict}, before it were {before:.1%}")
    if new.drift > old.drift:
        faults.append("good parts' scores have drifted from those of the build")
    return faults


def watch(model: str, old: Counts, look: Callable[[], list[Sample]], limits: Limits) -> list[str]:
    """Watch the station judge with `model` and say in what it is worse than `old`; nothing where it is not.

    A station that does not answer, or does not judge with the bundle in time, is worse.
    """
    begin, fault = _wait_for(model, look, limits)
    if begin is None:
        return [fault]
    end = time.monotonic() + limits.seconds
    faults: list[str] = []
    missed = 0
    while time.monotonic() < end:
        time.sleep(limits.every)
        try:
            now = read_counts(look())
        except EdgeadError as error:
            missed += 1
            if missed >= 5:
                return [f"the station has stopped to answer: {error}"]
            continue
        missed = 0
        if now.results < begin.results:  # started anew
            begin = Counts(now.model, 0.0, dict.fromkeys(VERDICTS, 0.0), 0.0)
        faults = find_faults(old, now.since(begin), limits)
        if faults:
            break
    return faults


def _wait_for(model: str, look: Callable[[], list[Sample]], limits: Limits) -> tuple[Counts | None, str]:
    """The counts when `model` begins to judge, or why it does not."""
    end, fault = time.monotonic() + limits.loading, ""
    while time.monotonic() < end:
        try:
            counts = read_counts(look())
            if model.startswith(counts.model) and counts.model:
                return counts, ""
            fault = f"the station goes on with {counts.model}: it has not taken {model[:12]}"
        except EdgeadError as error:
            fault = str(error)
        time.sleep(limits.every)
    return None, fault


def interval(share: float, count: float) -> tuple[float, float]:
    """Wilson's 99 % interval of a share that was found among `count`."""
    center = share + Z * Z / (2 * count)
    spread = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    return (center - spread) / (1 + Z * Z / count), (center + spread) / (1 + Z * Z / count)
