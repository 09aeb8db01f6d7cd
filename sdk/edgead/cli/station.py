"""Implements `edgead station`: a station's file from ten questions, or from options."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edgead.config.loader import from_yaml, given, resolve
from edgead.config.station import StationConfig
from edgead.config.station_file import QUESTIONS, Question, read_cameras, read_number, station_text
from edgead.errors import UsageError
from edgead.files import write_file
from edgead.stream.plc.outputs import PLCS
from edgead.stream.sinks import SINKS
from edgead.stream.sinks.options import split_spec
from edgead.stream.sources import check_source
from edgead.stream.trigger import TRIGGERS
from edgead.web.address import read_address
from edgead.wording import printable

app = typer.Typer(
    help="A station's file: its cameras, trigger, controller and where results go.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_WORDS = {question.name: question for question in QUESTIONS}
_KINDS = {  # of an answer KIND:PLACE: what it is one of, and the kinds with the sign that begins their options
    "trigger": ("trigger", {kind: entry.separator for kind, entry in TRIGGERS.items()}),
    "plc": ("plc", {kind: entry.separator for kind, entry in PLCS.items()}),
    "mqtt": ("broker", {kind: SINKS[kind].separator for kind in ("mqtt", "mqtts")}),
}


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
    """Write a commented station.yaml by ten questions; what an option says already is not asked.

    \b
    edgead station init
    edgead station init line2.yaml --bundle part.edgead --cameras top=0 --web 8080 --yes
    """
    said = [bundle, cameras, trigger, plc, answer_within, review, events, web, mqtt, timeout]
    answers = {one.name: value for one, value in zip(QUESTIONS, said, strict=True) if value is not None}
    if path.exists() and not force:
        raise UsageError(f"{path} is there already: give another name, or --force to write over it")
    asks = sys.stdin is not None and sys.stdin.isatty()
    for question in QUESTIONS if asks and not yes else ():
        if question.name not in answers and _matters(question, answers):
            answers[question.name] = _ask(question)
    for name, answer in answers.items():
        check_answer(name, answer)
    write_checked(path, station_text(answers, str(path)))
    if not asks and not yes:
        typer.echo("Nothing was asked, since this is no terminal: what no option says is the default.")
    typer.echo(f"{path} is written: edgead run --station {path}")
    named = answers.get("bundle", "")
    if named and not Path(named).exists():
        typer.echo(f"Its bundle {printable(named)} is not here yet.")


def _matters(question: Question, answers: Mapping[str, str]) -> bool:
    return question.name != "answer-within" or bool(answers.get("trigger") or answers.get("plc"))


def _ask(question: Question) -> str:
    """The answer, asked for until the line could use it."""
    example = f" (like {question.example})" if question.example else ""
    while True:
        answer: str = typer.prompt(question.words + example, default=question.default).strip()
        try:
            check_answer(question.name, answer)
        except UsageError as error:
            typer.echo(f"{error}.")
        else:
            return answer


def check_answer(name: str, answer: str) -> None:
    """Raise UsageError for what `edgead run` would not understand; opens nothing."""
    if name == "cameras":
        for _, source in read_cameras(answer):
            check_source(source)
    elif not answer:
        return
    elif name in _KINDS:
        role, kinds = _KINDS[name]
        split_spec(answer, kinds, role)
    elif name == "web":
        read_address(answer.rpartition(":")[2], "web")
    elif name in ("answer-within", "review", "timeout"):
        number = {name.replace("-", "_"): read_number(answer, name)}
        resolve(StationConfig, [given(StationConfig, number, "the answer")])


def write_checked(path: Path, text: str) -> None:
    """Write a station's file, unless it could not be read again: then UsageError."""
    draft = path.with_name(path.name + ".new")
    write_file(draft, text.encode())
    try:
        resolve(StationConfig, [from_yaml(StationConfig, draft)])
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
