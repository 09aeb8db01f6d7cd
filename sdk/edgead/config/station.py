"""What a station is told: one typed value, filled from the command line, the environment and a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from edgead.config.fields import (
    Batch,
    Beat,
    Bits,
    Config,
    Count,
    Device,
    Factor,
    Joining,
    Milliseconds,
    Pixels,
    Seconds,
    Share,
    Threads,
    Window,
    exclusive,
    option,
)
from edgead.config.loader import Resolved, from_environment, from_yaml, given, resolve
from edgead.config.recipe import NamedArea, Recipe
from edgead.errors import UsageError


class StationConfig(Config, frozen=True, kw_only=True, rename="kebab"):
    """Every option of `edgead run`, with its default: cameras, what is judged, by which bundle, and where results go.

    In YAML a key is the option without its dashes. Raises UsageError for values that do not fit together.
    """

    bundle: Annotated[
        str | None,
        option("An .edgead file; else the newest in this folder.", metavar="FILE", variables=("EDGEAD_MODEL",)),
    ] = None
    shadow: Annotated[
        str | None,
        option("A bundle that judges the same frames beside it, for comparison alone.", metavar="FILE"),
    ] = None
    trust: Annotated[
        list[str],
        option(
            "Public key: only bundles signed with one of these are used. Again for several.",
            metavar="FILE.pem",
            hint="keys are a list like '- release.pub.pem'",
        ),
    ] = msgspec.field(default_factory=list)
    source: Annotated[
        list[str] | str,
        option(
            "{sources}. Again for several. [EDGEAD_SOURCE]",
            metavar="[NAME=]SOURCE",
            variables=("EDGEAD_SOURCE",),
            group="cameras",
            secret=True,
        ),
    ] = msgspec.field(default_factory=list)
    cameras: Annotated[
        dict[str, str],
        option(
            "The sources of several cameras by name.",
            flag="-",
            group="cameras",
            secret=True,
            hint="cameras are lines like 'left: rtsp://camera.local/1'",
        ),
    ] = msgspec.field(default_factory=dict)
    camera: Annotated[Device | None, option("Short for --source camera:N.", group="cameras")] = None
    policy: Annotated[
        Literal["latest", "every"],
        option("Of live frames, judge the latest or every one.", variables=("EDGEAD_POLICY",)),
    ] = "latest"
    timeout: Annotated[Seconds, option("Seconds without a frame after which a camera is lost; 0: never.")] = 5.0
    give_up: Annotated[Seconds | None, option("End when a lost camera is not back after so many seconds.")] = None
    bits: Annotated[
        Bits | None, option("Full scale of 16-bit frames: 10, 12, 14 or 16.", shown_default="the bundle's")
    ] = None
    deadline: Annotated[
        Milliseconds | None, option("Judged later after capture is LATE, or NG and late.", metavar="MS")
    ] = None
    threshold: Annotated[Factor, option("NG from this factor of the bundle's threshold on.", metavar="FACTOR")] = 1.0
    review: Annotated[Share | None, option("REVIEW from this share of the threshold on.", metavar="SHARE")] = None
    min_area: Annotated[Pixels, option("Smaller defects take no part in the score.", metavar="PIXELS")] = 0.0
    min_area_mm2: Annotated[
        Pixels, option("The same in square millimeters, by the scale of the frames.", metavar="MM2")
    ] = 0.0
    mm_per_pixel: Annotated[Pixels, option("Scale of the frames.", metavar="MM", shown_default="the bundle's")] = 0.0
    judge: Annotated[
        list[str],
        option(
            "Judge only this: X,Y,WIDTH,HEIGHT or corners 'X,Y X,Y X,Y' in pixels, or a picture, white there.",
            metavar="[NAME=]AREA",
            hint="areas are a list like '- 0,0,640,480'",
        ),
    ] = msgspec.field(default_factory=list)
    ignore: Annotated[
        list[str],
        option(
            "Do not judge this; as --judge.",
            metavar="[NAME=]AREA",
            hint="areas are a list like '- 0,0,640,480'",
        ),
    ] = msgspec.field(default_factory=list)
    areas: Annotated[
        dict[str, NamedArea],
        option(
            "Areas with a threshold or a smallest area of their own, by name.",
            flag="-",
            hint="areas are names with their rules, such as 'rim: {where: \"0,0,640,80\", threshold: 2}'",
        ),
    ] = msgspec.field(default_factory=dict)
    vote: Annotated[
        Literal["name"] | Count,
        option(
            "Frames of one part; name: files that differ in a last number.",
            metavar="N|name",
            hint="a number of frames or 'name'",
        ),
    ] = 1
    vote_rule: Annotated[Literal["any", "majority"], option("Which frames decide.")] = "any"
    trigger: Annotated[
        list[str],
        option(
            "Judge parts when told to: {triggers}. Again for several.",
            metavar="KIND:PLACE",
            secret=True,
            hint="triggers are a list like '- http:8090'",
        ),
    ] = msgspec.field(default_factory=list)
    trigger_window: Annotated[
        Window, option("Frames captured so long after a trigger are its part's.", metavar="MS")
    ] = 200.0
    trigger_delay: Annotated[Window, option("Time from a trigger to its window.", metavar="MS")] = 0.0
    trigger_before: Annotated[Window, option("Frames captured so long before it count, too.", metavar="MS")] = 0.0
    answer_within: Annotated[Window, option("A trigger is answered after so long, come what may.", metavar="MS")] = (
        1000.0
    )
    plc: Annotated[
        list[str],
        option(
            "Keep the handshake with a controller: {plcs}. Again for several.",
            metavar="KIND:PLACE",
            secret=True,
            hint="controllers are a list like '- modbus:502'",
        ),
    ] = msgspec.field(default_factory=list)
    recipes: Annotated[
        dict[int, Recipe],
        option(
            "What is judged otherwise, by the controller's number.",
            flag="-",
            hint="recipes are numbers with what is other than the station's, such as '2: {bundle: cap.edgead}'",
        ),
    ] = msgspec.field(default_factory=dict)
    plc_ack: Annotated[bool, option("The controller acknowledges each result.", flag="--plc-ack/--no-plc-ack")] = True
    ack_within: Annotated[
        Window, option("A result not acknowledged after so long is a fault; 0: never.", metavar="MS")
    ] = 5000.0
    heartbeat: Annotated[Beat, option("Time between two changes of the heartbeat.", metavar="MS")] = 100.0
    drift_stops: Annotated[
        bool, option("Drift of good parts' scores is a fault.", flag="--drift-stops/--no-drift-stops")
    ] = False
    health: Annotated[bool, option("Frames of a camera in trouble are INVALID.", flag="--health/--no-health")] = True
    frozen: Annotated[Seconds, option("Seconds without any change that make a camera frozen; 0: never.")] = 5.0
    limit: Annotated[Count | None, option("Stop after so many frames.")] = None
    json: Annotated[bool, option("One JSON object a line on standard output.")] = False
    jsonl: Annotated[str | None, option("Append JSON lines to it.", metavar="FILE")] = None
    save: Annotated[str | None, option("Put annotated pictures there.", metavar="DIR")] = None
    video: Annotated[str | None, option("Write an annotated video.", metavar="FILE")] = None
    sinks: Annotated[
        list[str],
        option(
            "Where results go: {sinks}. Again for several.",
            flag="--sink",
            metavar="KIND:PLACE",
            alias="sink",
            secret=True,
            hint="sinks are a list like '- jsonl:results.jsonl'",
        ),
    ] = msgspec.field(default_factory=list)
    audit: Annotated[
        str | None,
        option(
            "Note every change of what the line does there, and who made it.",
            metavar="FILE",
            variables=("EDGEAD_AUDIT",),
            shown_default="audit.jsonl in the state folder, for live sources",
        ),
    ] = None
    engine: Annotated[str, option("What runs the network: auto, {engines}.", variables=("EDGEAD_ENGINE",))] = "auto"
    precision: Annotated[
        Literal["auto", "fp32", "fp16", "int8"],
        option("What the network runs in.", variables=("EDGEAD_PRECISION",)),
    ] = "auto"
    threads: Annotated[Threads, option("CPU threads; 0: the engine's choice.", variables=("EDGEAD_THREADS",))] = 0
    batch: Annotated[
        Batch | None,
        option("Judge at most so many cameras' frames at once.", metavar="N", shown_default="what the engine gains by"),
    ] = None
    batch_window: Annotated[
        Joining, option("A frame waits at most so long for those of other cameras.", metavar="MS")
    ] = 0.0
    device: Annotated[
        Device, option("Number of the NVIDIA GPU, as `edgead doctor` has it.", variables=("EDGEAD_DEVICE",))
    ] = 0

    def __post_init__(self) -> None:
        exclusive(source=self.source, cameras=self.cameras, camera=self.camera)
        if self.batch_window and self.deadline is not None and self.batch_window >= self.deadline:
            raise UsageError("batch-window must be below the deadline: what waits so long is late before it is judged")
        if not (self.trigger or self.plc):
            return
        if not self.trigger_window:
            raise UsageError("trigger-window must be above 0 ms")
        if self.answer_within < self.trigger_delay + self.trigger_window + self.batch_window:
            joined = ", trigger-window and batch-window" if self.batch_window else " and trigger-window"
            raise UsageError(f"answer-within must be at least trigger-delay{joined} together")

    @property
    def specs(self) -> list[str]:
        """What is looked at, each as [NAME=]SOURCE."""
        if self.camera is not None:
            return [f"camera:{self.camera}"]
        named = [f"{name}={source}" for name, source in self.cameras.items()]
        return named or ([self.source] if isinstance(self.source, str) else list(self.source))


def load_station(
    path: Path | None = None,
    command_line: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Resolved[StationConfig]:
    """What a station is told: the command line's values over EDGEAD_* over the YAML file `path`.

    What its bundle says below that is added where it is opened. Raises UsageError.
    """
    layers = [] if path is None else [from_yaml(StationConfig, path)]
    layers += [from_environment(StationConfig, environment), given(StationConfig, command_line or {})]
    return resolve(StationConfig, layers)
