"""Lines with a handshake, for tests: a camera, an engine that takes its time, and a controller's end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from lines import QUICK, Scripted, background, paced
from programs import until

from edgead import Detector
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline
from edgead.stream.plc.controller import HandshakeSettings, PlcOutput
from edgead.stream.plc.line import PartSettings
from edgead.stream.sinks.base import Sink
from edgead.stream.trigger.line import TriggerSettings
from edgead.stream.trigger.matching import TriggerWindow

ACKNOWLEDGED = HandshakeSettings()


@contextmanager
def plc_line(
    detector: Detector,
    outputs: Sequence[PlcOutput],
    camera: Camera | None = None,
    *,
    within: float = 1.0,
    handshake: HandshakeSettings = ACKNOWLEDGED,
    fps: float = 100,
    sinks: Sequence[Sink] = (),
    **options: object,
) -> Iterator[Pipeline]:
    """A running line whose handshake `outputs` carry; it is stopped at the end."""
    trigger = TriggerSettings(TriggerWindow(length=0.2), within)
    settings = replace(QUICK, parts=PartSettings(trigger, handshake))
    seen = camera or Camera("", Scripted(paced(fps)))
    line = Pipeline([seen], detector, list(sinks), settings, plcs=outputs, **options)
    thread = background(line)
    until(lambda: line.status().cameras[""].state == "connected", 150)
    try:
        yield line
    finally:
        line.stop()
        thread.join(10)
