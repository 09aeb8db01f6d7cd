"""The typer app: edgead's own commands, and those of the rooms that are installed beside it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Annotated, Any

import cv2
import typer
import typer.core

import edgead
from edgead.cli.bench import bench
from edgead.cli.cameras import cameras
from edgead.cli.doctor import doctor
from edgead.cli.info import info
from edgead.cli.plugins import mount
from edgead.cli.predict import predict
from edgead.cli.run import run
from edgead.cli.verify import verify
from edgead.images import MAX_PIXELS, PIXEL_RANGE, PIXEL_VARIABLE


@dataclass(slots=True)
class Session:
    """What the options before the command say, for `main`."""

    debug: bool = False


class Commands(typer.core.TyperGroup):
    """The group of commands; Ctrl-C leaves with 130 in every version of typer."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            if interrupt.args:  # what was saved, and how to go on
                typer.echo(f"edgead: {interrupt}", err=True)
            raise typer.Exit(130) from None


def make_app() -> typer.Typer:
    """The app with every command there is on this machine."""
    app = typer.Typer(
        name="edgead",
        cls=Commands,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_before)
    own = (run, predict, info, verify, bench, cameras, doctor)
    for command in own:
        app.command()(command)
    mount(app, reserved={command.__name__ for command in own})
    return app


def _before(
    ctx: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="EDGEAD_DEBUG", help="Show tracebacks and what OpenCV has to say.")
    ] = False,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            "--max-pixels",
            envvar=PIXEL_VARIABLE,
            min=PIXEL_RANGE[0],
            max=PIXEL_RANGE[1],
            help=f"Pictures of more pixels are not read.  [default: {MAX_PIXELS}]",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=lambda given: _version(given), is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Visual anomaly detection on the factory line: learns from good images, judges on the line.

    Exit codes: 0 done, 1 error, 2 wrong usage, 3 this machine cannot run it, 4 a check failed, 5 source lost,
    10 anomalies found (--fail-on-anomaly), 130 interrupted, 143 told to end.
    """
    if isinstance(ctx.obj, Session):
        ctx.obj.debug = debug
    if max_pixels is not None:
        os.environ[PIXEL_VARIABLE] = str(max_pixels)  # for the processes that a command starts, too
    if not debug:
        _quiet_opencv()


def _version(given: bool) -> None:
    if given:
        print(f"edgead {edgead.__version__}")
        raise typer.Exit


def _quiet_opencv() -> None:
    """OpenCV and FFMPEG write to stderr by themselves; what matters in it edgead says in its own words."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "5")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
