"""Implements `edgead run`: judge what cameras, streams, videos or folders show, until they end."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import typer

from edgead.cli.console_status import ConsoleStatus, counts, sink_words
from edgead.cli.derive import options_of
from edgead.cli.options import WORDS, ShowResolved, SomeBundle
from edgead.config import StationConfig, load_station
from edgead.errors import DataError, EdgeadError, UsageError
from edgead.stream.assembly import find_bundle, with_bundle
from edgead.stream.cameras import named
from edgead.stream.pipeline import Pipeline
from edgead.stream.sources import described
from edgead.stream.systemd import Systemd

_log = logging.getLogger(__name__)


@options_of(StationConfig, WORDS)
def run(
    bundle_path: SomeBundle = None,
    *,
    station: Annotated[
        Path | None,
        typer.Option(
            "--station",
            "--config",
            envvar=["EDGEAD_STATION", "EDGEAD_CONFIG"],
            help="YAML file of these options, with 'cameras' and 'sinks' as lists.",
        ),
    ] = None,
    given: dict[str, Any],
    resolved: ShowResolved = False,
) -> None:
    """Judge frame after frame until the sources end, the limit is reached, or Ctrl-C.

    A lost camera is opened again and again; results go on in order, each with the age of its frame. Verdicts are OK,
    REVIEW, NG, INVALID (the camera's trouble, said in words) and LATE. SIGINT and SIGTERM end the line in order (130,
    143); with SIGHUP it goes on with the bundle as that now is, without missing a frame.

    \b
    edgead run bottle.edgead --camera 0 --jsonl results.jsonl
    edgead run --source left=rtsp://10.0.0.5/1 --source right=csi://0 --deadline 200
    edgead run --station station.yaml
    """
    if bundle_path is not None:
        if "bundle" in given:
            raise UsageError(f"name one bundle: {bundle_path}, or that of --bundle")
        given = {**given, "bundle": str(bundle_path)}
    settings = load_station(station, given)
    if resolved:
        from edgead.cli.resolved import resolved_lines

        for line in resolved_lines(with_bundle(settings)):
            typer.echo(line)
        return
    run_station(settings.config, station)


def run_station(config: StationConfig, file: Path | None = None) -> None:
    """Run a station's line to its end, with a status line, signals and systemd; `file` is its configuration's."""
    show, systemd = ConsoleStatus(), Systemd()
    with ExitStack() as stack:
        pipeline = stack.enter_context(
            Pipeline.from_config(
                config,
                file=file,
                on_result=lambda result: show(pipeline, result),
                on_alive=lambda: systemd.alive(lambda: counts(pipeline.status())),
            )
        )
        stack.callback(lambda: show.close(pipeline))  # the summary, on every way out
        show.begin(pipeline, sink_words(config))
        systemd.ready(f"{len(pipeline.status().cameras)} cameras")
        stopped = run_with_signals(pipeline, systemd, lambda: pipeline.replace_bundle(find_bundle(config), "SIGHUP"))
    _raise_on_failures(pipeline, config)
    if stopped:
        raise typer.Exit(128 + stopped)


def run_with_signals(pipeline: Pipeline, systemd: Systemd, reload: Callable[[], None]) -> int:
    """Run the line; SIGINT and SIGTERM let it end in order, a second one at once. Gives the signal's number, or 0.

    SIGHUP has `reload` called, in a thread of its own, since the line's locks may be held where a signal is handled.
    """
    received: list[int] = []

    def reload_or_say() -> None:
        try:
            reload()
        except EdgeadError as error:
            _log.error("the bundle is not changed: %s", error)

    def read_again(number: int, frame: object) -> None:
        Thread(target=reload_or_say, name="edgead reload", daemon=True).start()

    def tell(number: int, frame: object) -> None:
        received.append(number)
        pipeline.stop()
        systemd.stopping()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    handlers = {signal.SIGINT: tell, signal.SIGTERM: tell, signal.SIGHUP: read_again}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        pipeline.run()
    finally:
        restore()
    return received[0] if received else 0


def _raise_on_failures(pipeline: Pipeline, config: StationConfig) -> None:
    """Raise DataError where nothing could be read, or where a sink did not take every result."""
    status = pipeline.status()
    if status.unreadable and not status.frames:
        raise DataError(
            f"none of the {status.unreadable} images of {described(named(config.specs)[0][1])} could be read"
        )
    if lost := {name: count for name, count in status.unwritten.items() if count}:
        places = ", ".join(_with_reasons(name, status.lost.get(name, {})) for name in lost)
        raise DataError(
            f"{sum(lost.values())} results could not be written ({places}): free the disk, or give a place "
            "that keeps up"
        )


def _with_reasons(sink: str, reasons: Mapping[str, int]) -> str:
    """A sink, and why it has given up results where it says so."""
    return ": ".join([sink, *filter(None, [", ".join(f"{why}, {count}" for why, count in reasons.items())])])
