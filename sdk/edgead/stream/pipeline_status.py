"""Adds up what cameras and meters have counted to the status of a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgead.percentiles import percentiles
from edgead.stream.status import CameraStatus, MeterSnapshot, PipelineStatus, rate
from edgead.types import Verdict


def counted(
    captures: Mapping[str, CameraStatus], meters: Mapping[str, MeterSnapshot], drifts: Sequence[str], uptime: float
) -> PipelineStatus:
    """The counts of a line, over its cameras by name; `drifts` in their order, `uptime` in seconds."""
    cameras = {
        name: replace(
            capture,
            frames=meters[name].frames,
            fps=rate(meters[name].samples, uptime),
            judged_share=meters[name].judged_share,
            drift=drift,
        )
        for (name, capture), drift in zip(captures.items(), drifts, strict=True)
    }
    samples = [sample for one in meters.values() for sample in one.samples]
    return PipelineStatus(
        cameras=cameras,
        counts={name: one.verdicts for name, one in meters.items()},
        verdicts={kind.value: sum(one.verdicts.get(kind.value, 0) for one in meters.values()) for kind in Verdict},
        late=sum(one.late for one in meters.values()),
        frames=sum(camera.frames for camera in cameras.values()),
        dropped=sum(camera.dropped for camera in cameras.values()),
        unreadable=sum(camera.unreadable for camera in cameras.values()),
        reconnects=sum(camera.reconnects for camera in cameras.values()),
        fps=rate(samples, uptime),
        age_ms=percentiles(sample.age for sample in samples if sample.age),
        latency_ms=percentiles(sample.latency for sample in samples),
        uptime=uptime,
    )
