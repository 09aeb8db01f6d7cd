"""`edgead run`: judge what cameras, streams, videos or folders show, until they end."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from enum import Enum
from pathlib import Path
from threading import Thread
from typing import Annotated

import typer

from edgead import ops
from edgead.cli.console_status import ConsoleStatus, counts
from edgead.cli.options import EngineName, Json, Precision, PrecisionName, Threads
from edgead.cli.station import read_station
from edgead.detector import Detector
from edgead.errors import DataError, EdgeadError, UsageError
from edgead.stream.aggregation import VerdictAggregation
from edgead.stream.cameras import close_cameras, named, open_cameras
from edgead.stream.capture import Camera
from edgead.stream.health import FROZEN_S
from edgead.stream.pipeline import Pipeline, PipelineSettings
from edgead.stream.roi import read_roi_masks
from edgead.stream.sinks import SINKS, open_sink
from edgead.stream.sinks.base import Sink
from edgead.stream.sinks.jsonl import JsonLines
from edgead.stream.sinks.video import VideoFile
from edgead.stream.sources import SOURCES, described, parse
from edgead.stream.systemd import Systemd


class Policy(str, Enum):
    """What becomes of live frames that come faster than they are judged."""

    latest = "latest"
    every = "every"


class AggregationRule(str, Enum):
    """How the frames of a part become one verdict."""

    any = "any"
    majority = "majority"


_log = logging.getLogger(__name__)
_RANKS = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP")  # where an option's value came from, strongest first
_EXAMPLES = "; ".join(entry.example for kind, entry in SOURCES.own.items() if kind != "https")
_SOURCE = "EDGEAD_SOURCE"  # read here: the parser would split a path at its spaces


def run(
    ctx: typer.Context,
    station: Annotated[
        Path | None,
        typer.Option(
            "--station",
            "--config",
            envvar=["EDGEAD_STATION", "EDGEAD_CONFIG"],
            callback=read_station,
            is_eager=True,
            help="YAML file of these options, with 'cameras' and 'sinks' as lists.",
        ),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", envvar="EDGEAD_MODEL", help="An .edgead file; else the newest in this folder."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="[NAME=]SOURCE",
            help=f"{_EXAMPLES}. Again for several. [{_SOURCE}]",
        ),
    ] = None,
    camera: Annotated[int | None, typer.Option("--camera", min=0, help="Short for --source camera:N.")] = None,
    policy: Annotated[
        Policy, typer.Option("--policy", envvar="EDGEAD_POLICY", help="Of live frames, judge the latest or every one.")
    ] = Policy.latest,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, help="Seconds without a frame after which a camera is lost; 0: never.")
    ] = 5.0,
    give_up: Annotated[
        float | None,
        typer.Option("--give-up", min=0, help="End when a lost camera is not back after so many seconds."),
    ] = None,
    deadline: Annotated[
        float | None, typer.Option("--deadline", min=0, metavar="MS", help="Judged later after capture is LATE.")
    ] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", metavar="FACTOR", help="NG from this factor of the bundle's threshold on.")
    ] = 1.0,
    review: Annotated[
        float | None, typer.Option("--review", metavar="SHARE", help="REVIEW from this share of the threshold on.")
    ] = None,
    min_area: Annotated[
        float, typer.Option("--min-area", metavar="PIXELS", help="Smaller defects take no part in the score.")
    ] = 0.0,
    judge: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            metavar="[NAME=]AREA",
            help="Judge only this: X,Y,WIDTH,HEIGHT or corners 'X,Y X,Y X,Y' in pixels, or a picture, white there.",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="[NAME=]AREA", help="Do not judge this; as --judge.")
    ] = None,
    vote: Annotated[
        str,
        typer.Option("--vote", metavar="N|name", help="Frames of one part; name: files that differ in a last number."),
    ] = "1",
    vote_rule: Annotated[
        AggregationRule, typer.Option("--vote-rule", help="Which frames decide.")
    ] = AggregationRule.any,
    health: Annotated[
        bool, typer.Option("--health/--no-health", help="Frames of a camera in trouble are INVALID.")
    ] = True,
    frozen: Annotated[
        float, typer.Option("--frozen", min=0, help="Seconds without any change that make a camera frozen; 0: never.")
    ] = FROZEN_S,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Stop after so many frames.")] = None,
    as_json: Json = False,
    jsonl: Annotated[Path | None, typer.Option("--jsonl", metavar="FILE", help="Append JSON lines to it.")] = None,
    save: Annotated[Path | None, typer.Option("--save", metavar="DIR", help="Put annotated pictures there.")] = None,
    video: Annotated[Path | None, typer.Option("--video", metavar="FILE", help="Write an annotated video.")] = None,
    sink: Annotated[
        list[str] | None,
        typer.Option(
            "--sink", metavar="KIND:PLACE", help=f"Where results go: {', '.join(SINKS.own)}. Again for several."
        ),
    ] = None,
    engine: EngineName = "auto",
    precision: PrecisionName = Precision.auto,
    threads: Threads = 0,
) -> None:
    """Judge frame after frame until the sources end, the limit is reached, or Ctrl-C.

    A lost camera is opened again for ever; results go on in order, each with the age of its frame. Verdicts are OK,
    REVIEW, NG, INVALID (the camera's trouble, said in words) and LATE. SIGINT and SIGTERM end the line in order (130,
    143); with SIGHUP it goes on with the bundle as that now is, without missing a frame.

    \b
    edgead run --camera 0 --jsonl results.jsonl
    edgead run --source left=rtsp://10.0.0.5/1 --source right=csi://0 --deadline 200
    edgead run --station station.yaml
    """
    specs = _specs(ctx, source, camera)
    _check_files(specs, vote, video)
    views = read_roi_masks(judge or [], ignore or [], [name for name, _ in named(specs)])
    settings = PipelineSettings(limit, deadline, VerdictAggregation(_frames(vote), vote_rule.value), health, frozen)
    with ExitStack() as stack:
        rules = ops.Rules(threshold, review, min_area)
        detector = Detector(_bundle(bundle), engine=engine, precision=precision.value, threads=threads, rules=rules)
        stack.callback(detector.close)
        bits = detector.bundle.manifest.input.bits
        cameras = open_cameras(specs, policy=policy.value, bits=bits, timeout=timeout, give_up=give_up)
        stack.callback(close_cameras, cameras)
        cameras = [replace(camera, view=view) for camera, view in zip(cameras, views, strict=True)]
        sinks = _sinks(stack, as_json, jsonl, save, video, sink or [], _fps(cameras))
        show, systemd = ConsoleStatus(), Systemd()
        line = Pipeline(
            cameras,
            detector,
            sinks,
            settings,
            on_result=lambda result: show(line, result),
            on_alive=lambda: systemd.alive(lambda: counts(line.status())),
        )
        stack.callback(lambda: show.close(line))  # the summary, on every way out
        systemd.ready(f"{len(cameras)} cameras")
        stopped = run_with_signals(line, systemd, lambda: line.replace_bundle(_bundle(bundle)))
    _raise_on_failures(line, specs)
    if stopped:
        raise typer.Exit(128 + stopped)


def run_with_signals(line: Pipeline, systemd: Systemd, reload: Callable[[], None]) -> int:
    """Run the line; SIGINT and SIGTERM let it end in order, a second one at once. Gives the signal's number, or 0.

    SIGHUP has `reload` called, in a thread of its own, since the line's locks may be held where a signal is handled.
    """
    told: list[int] = []

    def reload_or_say() -> None:
        try:
            reload()
        except EdgeadError as error:
            _log.error("the bundle is not changed: %s", error)

    def read_again(number: int, frame: object) -> None:
        Thread(target=reload_or_say, name="edgead reload", daemon=True).start()

    def tell(number: int, frame: object) -> None:
        told.append(number)
        line.stop()
        systemd.stopping()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    handlers = {signal.SIGINT: tell, signal.SIGTERM: tell, signal.SIGHUP: read_again}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        line.run()
    finally:
        restore()
    return told[0] if told else 0


def _raise_on_failures(line: Pipeline, specs: Sequence[str]) -> None:
    """Raise DataError where nothing could be read, or where a sink did not take every result."""
    status = line.status()
    if status.unreadable and not status.frames:
        raise DataError(f"none of the {status.unreadable} images of {described(named(specs)[0][1])} could be read")
    if lost := {name: count for name, count in status.unwritten.items() if count}:
        raise DataError(
            f"{sum(lost.values())} results could not be written ({', '.join(lost)}): free the disk, or give a place "
            "that keeps up"
        )


def _fps(cameras: Sequence[Camera]) -> float:
    """The frames a second of a video of what the cameras show; 0 where none says."""
    return max((camera.source.fps for camera in cameras if camera.source is not None), default=0.0)


def _specs(ctx: typer.Context, source: list[str] | None, camera: int | None) -> list[str]:
    """The sources asked for most strongly: --camera outranks a source of the environment, and the reverse."""
    environment = os.environ.get(_SOURCE)
    wishes = [(_rank(ctx, "camera"), [f"camera:{camera}"])] if camera is not None else []
    wishes += [(_rank(ctx, "source"), source)] if source else []
    wishes += [(_RANKS.index("ENVIRONMENT"), [environment])] if environment else []
    wishes.sort(key=lambda wish: wish[0])
    if not wishes:
        raise UsageError("nothing to look at: give --camera 0, or --source with a folder, an image, a video or a URL")
    if len(wishes) > 1 and wishes[0][0] == wishes[1][0]:
        raise UsageError("give --camera or --source, not both")
    return wishes[0][1]


def _rank(ctx: typer.Context, name: str) -> int:
    origin = ctx.get_parameter_source(name)
    return _RANKS.index(origin.name) if origin is not None and origin.name in _RANKS else len(_RANKS)


def _frames(vote: str) -> int:
    """The frames of a part: a number, or 0 for those that belong together by their names."""
    if vote != "name" and not (vote.isdecimal() and int(vote) >= 1):
        raise UsageError(f"--vote takes a number of frames or 'name', not '{vote}'")
    return 0 if vote == "name" else int(vote)


def _check_files(specs: Sequence[str], vote: str, video: Path | None) -> None:
    """Refuse to write a video over one that is read, and to tell live frames apart by names they do not have."""
    for _, spec in named(specs):
        kind, name = parse(spec)
        if vote == "name" and SOURCES[kind].live:
            raise UsageError(f"--vote name is for files; frames of {described(spec)} have one name: give a number")
        if video is not None and video.is_file() and Path(name).is_file() and video.samefile(name):
            raise UsageError(f"--video {video} would overwrite the source: give another file")


def _bundle(given: Path | None) -> Path:
    if given is not None:
        return given
    found = [path for path in Path.cwd().glob("*.edgead") if path.is_file()]
    if not found:
        raise UsageError(f"which bundle? give --bundle FILE or set EDGEAD_MODEL: {Path.cwd()} has no .edgead file")
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _sinks(
    stack: ExitStack,
    as_json: bool,
    jsonl: Path | None,
    save: Path | None,
    video: Path | None,
    specs: Sequence[str],
    fps: float,
) -> list[Sink]:
    """The sinks asked for; each is on the stack as soon as it is open."""
    sinks: list[Sink] = [JsonLines()] if as_json else []
    asked = [(kind, path) for kind, path in (("jsonl", jsonl), ("images", save)) if path is not None]
    for spec, path in (*asked, *((spec, None) for spec in specs)):
        sinks.append(open_sink(spec, path))
        stack.callback(sinks[-1].close)
    if video is not None:
        sinks.append(VideoFile(video, fps))
        stack.callback(sinks[-1].close)
    return sinks
