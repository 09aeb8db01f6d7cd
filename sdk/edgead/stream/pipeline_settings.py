"""What can be asked of a line, and what a station's configuration asks of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgead.config import StationConfig
from edgead.result import Result
from edgead.stream.aggregation import VerdictAggregation
from edgead.stream.backoff import CAMERA_BACKOFF, Backoff
from edgead.stream.health import FROZEN_S
from edgead.stream.plc.controller import HandshakeSettings
from edgead.stream.plc.line import PartSettings
from edgead.stream.sink_worker import DRAIN_S
from edgead.stream.trigger.line import TriggerSettings
from edgead.stream.trigger.matching import TriggerWindow
from edgead.types import Verdict

ONE_FRAME = VerdictAggregation()
SINK_BACKOFF = Backoff(first=0.1, longest=30.0)


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """What can be asked of a line."""

    limit: int | None = None  # frames after which it ends
    batch: int | None = None  # frames of different cameras that are judged at once, at most; None: as the engine gains
    batch_window: float = 0.0  # seconds that a frame waits for those of other cameras, at most
    deadline: float | None = None  # milliseconds from capture after which a judgment is late
    aggregation: VerdictAggregation = ONE_FRAME
    health: bool = True  # whether frames of a camera in trouble are INVALID
    frozen: float = FROZEN_S  # seconds without any change after which a live camera is frozen; 0: never
    camera_backoff: Backoff = CAMERA_BACKOFF
    sink_backoff: Backoff = SINK_BACKOFF
    drain: float = DRAIN_S  # seconds that a stopped line gives its cameras and sinks to finish
    parts: PartSettings | None = None  # what triggers and controllers ask of it; None: it judges without any

    def in_time(self, result: Result) -> Result:
        """The result, marked where it was judged past the deadline; what is late is NG or LATE, never OK."""
        found = result.judged or result.verdict
        if self.deadline is None or result.age <= self.deadline:
            return result
        words = f"{found}, but judged {result.age:.0f} ms after capture, past the deadline of {self.deadline:g} ms"
        verdict = result.verdict if result.verdict in (Verdict.NG, Verdict.INVALID) else Verdict.LATE
        return replace(result, verdict=verdict, judged=found, late=True, reasons=(*result.reasons, words))


DEFAULTS = PipelineSettings()


def settings_of(config: StationConfig) -> PipelineSettings:
    """What a configuration asks of a line."""
    frames = 0 if config.vote == "name" else config.vote
    aggregation = VerdictAggregation(frames, config.vote_rule)
    parts = part_settings_of(config) if config.trigger or config.plc else None
    return PipelineSettings(
        limit=config.limit,
        batch=config.batch,
        batch_window=config.batch_window / 1e3,
        deadline=config.deadline,
        aggregation=aggregation,
        health=config.health,
        frozen=config.frozen,
        parts=parts,
    )


def part_settings_of(config: StationConfig) -> PartSettings:
    """What a configuration asks of a line with triggers."""
    frames = 1 if config.vote == "name" else config.vote
    delay, length, before = config.trigger_delay, config.trigger_window, config.trigger_before
    window = TriggerWindow(frames, delay / 1e3, length / 1e3, before / 1e3)
    acknowledges = any(not spec.startswith("pins:") for spec in config.plc)  # pins have nothing to say it by
    return PartSettings(
        TriggerSettings(window, config.answer_within / 1e3, config.vote_rule),
        HandshakeSettings(
            config.plc_ack and acknowledges, config.ack_within / 1e3, config.heartbeat / 1e3, tuple(config.recipes)
        ),
        config.drift_stops,
    )
