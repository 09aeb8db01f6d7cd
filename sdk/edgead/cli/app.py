"""Makes the typer app: the commands, and the options that come before them."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import Annotated

import typer

import edgead
from edgead.cli import streams
from edgead.cli.commands import HELP, Commands
from edgead.opencv import check_opencv, fault
from edgead.picture_size import MAX_PIXELS, PIXEL_RANGE, PIXEL_VARIABLE


@dataclass(slots=True)
class Session:
    """What the options before the command say, for `main`."""

    debug: bool = False


def make_app() -> typer.Typer:
    """The app with every command."""
    app = typer.Typer(
        name="edgead",
        cls=Commands,
        no_args_is_help=True,
        context_settings=HELP,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_before)
    return app


def _before(
    ctx: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="EDGEAD_DEBUG", help="Show tracebacks and what OpenCV has to say.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors and results.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more of what is done.")] = False,
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
    streams.quiet = quiet
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    logging.getLogger().setLevel(level)
    if max_pixels is not None:
        os.environ[PIXEL_VARIABLE] = str(max_pixels)  # for the processes that a command starts, too
    if ctx.invoked_subcommand == "doctor" and fault():
        return  # which says so, and what else there is
    check_opencv()
    if not debug:
        _quiet_opencv()


def _version(given: bool) -> None:
    if given:
        print(f"edgead {edgead.__version__}")
        raise typer.Exit


def _quiet_opencv() -> None:
    """OpenCV and FFMPEG write to stderr by themselves; what matters in it edgead says in its own words."""
    import cv2  # heavy, and no command may be called

    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "5")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
