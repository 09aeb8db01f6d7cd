"""Implements `edgead station`: a station's file from ten questions, or from options."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edgead.config.loader import from_yaml, resolve
from edgead.config.station import StationConfig
from edgead.config.station_file import QUESTIONS, station_text
from edgead.errors import UsageError
from edgead.files import write_file

app = typer.Typer(
    help="A station's file: its cameras, trigger, controller and where results go.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_WORDS = {question.name: question for question in QUESTIONS}


def _option(name: str) -> Any:
    question = _WORDS[name]
    return typer.Option(f"--{name}", help=f"{question.words}.", show_default=question.default or "none")


@app.callback()
def station() -> None:
    """A station's file: its cameras, trigger, controller and where results go."""


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = Path("station.yaml"),
    bundle: Annotated[str | None, _option("bundle")] = None,
    cameras: Annotated[str | None, _option("cameras")] = None,
    trigger: Annotated[str | None, _option("trigger")] = None,
    plc: Annotated[str | None, _option("plc")] = None,
    answer_within: Annotated[str | None, _option("answer-within")] = None,
    review: Annotated[str | None, _option("review")] = None,
    events: Annotated[str | None, _option("events")] = None,
    web: Annotated[str | None, _option("web")] = None,
    mqtt: Annotated[str | None, _option("mqtt")] = None,
    timeout: Annotated[str | None, _option("timeout")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: take the defaults.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a commented station.yaml by ten questions; what an option says already is not asked."""
    given = [bundle, cameras, trigger, plc, answer_within, review, events, web, mqtt, timeout]
    answers = {one.name: value for one, value in zip(QUESTIONS, given, strict=True) if value is not None}
    if path.exists() and not force:
        raise UsageError(f"{path} is there already: give another name, or --force to write over it")
    if not yes and sys.stdin is not None and sys.stdin.isatty():
        for question in QUESTIONS:
            if question.name not in answers:
                example = f" (like {question.example})" if question.example else ""
                answers[question.name] = typer.prompt(question.words + example, default=question.default)
    text = station_text(answers)
    write_checked(path, text)
    typer.echo(f"{path} is written: edgead run --station {path}")


def write_checked(path: Path, text: str) -> None:
    """Write a station's file, unless it could not be read again: then UsageError."""
    draft = path.with_name(path.name + ".new")
    write_file(draft, text.encode())
    try:
        resolve(StationConfig, [from_yaml(StationConfig, draft)])
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
