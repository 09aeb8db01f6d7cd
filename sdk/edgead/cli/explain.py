"""Implements `edgead explain`: how a recorded verdict came about, computed anew and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgead.bundle import Bundle
from edgead.cli.options import Json, shown
from edgead.errors import GateError, UsageError
from edgead.stream.explain import Explanation, find_bundle, read_result
from edgead.stream.explain import explain as explained


def explain(
    result: Annotated[Path, typer.Argument(help="A result.json, the folder of a saved event, or JSON lines.")],
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle that judged.  [default: found by its digest, here or near RESULT]")
    ] = None,
    frame: Annotated[
        Path | None, typer.Option(help="The frame that was judged.  [default: the one that was kept beside RESULT]")
    ] = None,
    number: Annotated[int | None, typer.Option(min=1, max=2**63 - 1, help="Which result, of JSON lines.")] = None,
    engine: Annotated[str, typer.Option(help="Compute on this engine instead of the one that judged.")] = "",
    as_json: Json = False,
) -> None:
    """Compute a recorded verdict anew from its frame and its bundle, and show every step.

    \b
    edgead explain saved/2026-11-22/20261122T134501.250000_000123_left_NG
    edgead explain results.jsonl --number 4711 --frame part.png

    Where the outcome is another than the recorded one, it ends with 4.
    """
    told, kept = read_result(result, number)
    picture = frame or kept
    if picture is None:
        raise UsageError("the frame is not beside the result: name it with --frame")
    folders = [Path.cwd(), *result.absolute().parents[:4]]
    path = bundle or find_bundle(str(told["model"]), folders)
    explanation = explained(told, picture, Bundle.open(path), engine)
    typer.echo(json.dumps(explanation.to_dict()) if as_json else _text(explanation))
    if explanation.differs:
        names = ", ".join(step.name for step in explanation.steps if step.differs)
        raise GateError(f"the outcome is another than the recorded one: {names}")


def _text(explanation: Explanation) -> str:
    width = max(len(step.name) for step in explanation.steps)
    lines = []
    for step in explanation.steps:
        recorded = f"   recorded: {step.recorded}" if step.recorded else ""
        lines.append(f"{'!' if step.differs else ' '} {step.name:<{width}}  {step.computed}{recorded}")
    return "\n".join(shown(line) for line in [*lines, *(f"  note: {note}" for note in explanation.notes)])
