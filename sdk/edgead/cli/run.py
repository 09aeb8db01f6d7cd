"""`edgead run`: judge what a camera, a stream, a video or a folder shows, until it ends."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edgead.cli.options import EngineName, Json, Precision, PrecisionName, Threads, read_config
from edgead.detector import Detector
from edgead.errors import DataError, UsageError
from edgead.stream.cameras import open_cameras
from edgead.stream.feeds import Camera
from edgead.stream.pipeline import Line, Settings
from edgead.stream.sinks import Sink, open_sink
from edgead.stream.sinks.jsonl import JsonLines
from edgead.stream.sinks.video import VideoFile
from edgead.stream.sources import parse
from edgead.stream.status import LineStatus
from edgead.types import Result, Verdict


class Policy(str, Enum):
    """What becomes of live frames that come faster than they are judged."""

    latest = "latest"
    every = "every"


_RANKS = ("COMMANDLINE", "ENVIRONMENT", "DEFAULT_MAP")  # where an option's value came from, strongest first


def run(
    ctx: typer.Context,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", envvar="EDGEAD_MODEL", help="An .edgead file; else the newest in this folder."),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", envvar="EDGEAD_SOURCE", help="Folder, 'glob', image, video, camera:N or URL."),
    ] = None,
    camera: Annotated[int | None, typer.Option("--camera", min=0, help="Short for --source camera:N.")] = None,
    policy: Annotated[
        Policy, typer.Option("--policy", envvar="EDGEAD_POLICY", help="Of live frames, judge the latest or every one.")
    ] = Policy.latest,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, help="Seconds without a frame after which a camera is lost; 0: never.")
    ] = 5.0,
    give_up: Annotated[
        float | None, typer.Option("--give-up", min=0, help="End when a camera is away for so many seconds.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option("--deadline", min=0, metavar="MS", help="Judged later after capture is LATE.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Stop after so many frames.")] = None,
    as_json: Json = False,
    jsonl: Annotated[Path | None, typer.Option("--jsonl", metavar="FILE", help="Append JSON lines to it.")] = None,
    save: Annotated[Path | None, typer.Option("--save", metavar="DIR", help="Put annotated pictures there.")] = None,
    video: Annotated[Path | None, typer.Option("--video", metavar="FILE", help="Write an annotated video.")] = None,
    engine: EngineName = "auto",
    precision: PrecisionName = Precision.auto,
    threads: Threads = 0,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", envvar="EDGEAD_CONFIG", callback=read_config, is_eager=True, help="YAML file of these options."
        ),
    ] = None,
) -> None:
    """Judge frame after frame until the source ends, the limit is reached, or Ctrl-C."""
    spec = _source(ctx, source, camera)
    _keep_source(spec, video)
    with ExitStack() as stack:
        detector = Detector(_bundle(bundle), engine=engine, precision=precision.value, threads=threads)
        stack.callback(detector.close)
        bits = detector.bundle.manifest.input.bits
        cameras = open_cameras([spec], policy=policy.value, bits=bits, timeout=timeout, give_up=give_up)
        for one in cameras:
            stack.callback(_close, one)
        sinks = _sinks(stack, as_json, jsonl, save, video, _fps(cameras))
        show = Show()
        line = Line(cameras, detector, sinks, Settings(limit, deadline), on_result=lambda result: show(line, result))
        stack.callback(lambda: show.close(line))  # the summary, on every way out
        stopped = run_until_told(line)
    status = line.status()
    if status.unreadable and not status.frames:
        raise DataError(f"none of the {status.unreadable} images of {spec} could be read")
    if unwritten := sum(status.unwritten.values()):
        raise DataError(f"{unwritten} results could not be written: free the disk or give another place")
    if stopped:
        raise typer.Exit(128 + stopped)


def run_until_told(line: Line) -> int:
    """Run the line; SIGINT and SIGTERM let it end in order, a second one at once. Gives the signal's number, or 0."""
    told: list[int] = []

    def tell(number: int, frame: object) -> None:
        told.append(number)
        line.stop()
        for one, handler in before.items():
            signal.signal(one, handler)

    before = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        line.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return told[0] if told else 0


def _close(camera: Camera) -> None:
    if camera.source is not None:
        camera.source.close()


def _fps(cameras: list[Camera]) -> float:
    """The frames a second of a video of what the cameras show; 0 where none says."""
    return max((camera.source.fps for camera in cameras if camera.source is not None), default=0.0)


class Show:
    """One line on stderr that is written over while a person watches, and the summary at the end."""

    INTERVAL = 0.2  # seconds between two writings

    def __init__(self) -> None:
        self._watched = sys.stderr.isatty()
        self._erase = "\r\x1b[K" if self._watched else ""
        self._next = 0.0

    def __call__(self, line: Line, result: Result) -> None:
        now = time.monotonic()
        if self._watched and now >= self._next:
            self._next = now + self.INTERVAL
            self._write(f"{self._erase}{result.verdict} {result.score:.2f}  {_counts(line.status())}")

    def close(self, line: Line) -> None:
        self._write(f"{self._erase}edgead: {_counts(line.status())}\n")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def _counts(status: LineStatus) -> str:
    rate = status.frames / status.uptime if status.uptime > 0 else 0.0
    text = f"{status.frames} frames in {status.uptime:.1f} s ({rate:.1f} a second), {status.verdicts[Verdict.NG]} NG"
    more = {str(verdict): status.verdicts[verdict] for verdict in (Verdict.REVIEW, Verdict.INVALID, Verdict.LATE)}
    more |= {"overtaken": status.dropped, "unreadable": status.unreadable, "reconnected": status.reconnects}
    more["not written"] = sum(status.unwritten.values())
    return text + "".join(f", {count} {what}" for what, count in more.items() if count)


def _source(ctx: typer.Context, source: str | None, camera: int | None) -> str:
    """The source asked for most strongly: --camera outranks a source of the environment, and the reverse."""
    wishes = {"source": source, "camera": None if camera is None else f"camera:{camera}"}
    ranked = sorted((_rank(ctx, name), spec) for name, spec in wishes.items() if spec is not None)
    if not ranked:
        raise UsageError("nothing to look at: give --camera 0, or --source with a folder, an image, a video or a URL")
    if len(ranked) == 2 and ranked[0][0] == ranked[1][0]:
        raise UsageError("give --camera or --source, not both")
    return ranked[0][1]


def _keep_source(spec: str, video: Path | None) -> None:
    """Refuse to write a video over the one that is read."""
    _, name = parse(spec)
    if video is not None and video.is_file() and Path(name).is_file() and video.samefile(name):
        raise UsageError(f"--video {video} would overwrite the source: give another file")


def _rank(ctx: typer.Context, name: str) -> int:
    origin = ctx.get_parameter_source(name)
    return _RANKS.index(origin.name) if origin is not None and origin.name in _RANKS else len(_RANKS)


def _bundle(given: Path | None) -> Path:
    if given is not None:
        return given
    found = [path for path in Path.cwd().glob("*.edgead") if path.is_file()]
    if not found:
        raise UsageError(f"which bundle? give --bundle FILE or set EDGEAD_MODEL: {Path.cwd()} has no .edgead file")
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _sinks(
    stack: ExitStack, as_json: bool, jsonl: Path | None, save: Path | None, video: Path | None, fps: float
) -> list[Sink]:
    """The sinks asked for; each is on the stack as soon as it is open."""
    sinks: list[Sink] = [JsonLines()] if as_json else []
    for kind, path in (("jsonl", jsonl), ("images", save)):
        if path is not None:
            sinks.append(open_sink(kind, path))
            stack.callback(sinks[-1].close)
    if video is not None:
        sinks.append(VideoFile(video, fps))
        stack.callback(sinks[-1].close)
    return sinks
