"""Implements `edgead shadow report`: how a bundle that judged beside the line compares with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edgead.cli.options import BundlePath, Json
from edgead.cli.table import aligned
from edgead.errors import UsageError
from edgead.files import write_file
from edgead.stream.shadow.record import newest_record, read_summary
from edgead.stream.shadow.report import page_of, rows_of

_HELP = "A bundle that judges the same frames as the line, for comparison alone."
shadow = typer.Typer(no_args_is_help=True)


@shadow.callback(help=_HELP)
def _group() -> None:
    """With one command alone, typer would leave its name out."""


@shadow.command("report")
def report(
    bundle: BundlePath,
    page: Annotated[Path | None, typer.Option(help="Also write a page with the disagreements as pictures.")] = None,
    as_json: Json = False,
) -> None:
    """Show how often the shadow agreed with the line, on what they differ, and how long it took.

    \b
    edgead run --station station.yaml --shadow new.edgead
    edgead shadow report new.edgead --page shadow.html
    """
    if page is not None and page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{page} would be overwritten: give the page a name that ends in .html")
    record = newest_record(bundle)
    summary = read_summary(record)
    if page is not None:
        write_file(page, page_of(bundle.name, record, summary).encode())
    if as_json:
        typer.echo(msgspec.json.encode(summary).decode())
        return
    typer.echo(aligned(rows_of(summary)))
    typer.echo(f"disagreements: {page or record / 'disagreements'}")
