"""Implements `edgead review`: look at saved events in a browser, label them, and export what was labeled."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from edgead.cli.options import shown


def review(
    folder: Annotated[Path, typer.Argument(help="The folder of the sink keep:FOLDER.", show_default=False)],
    at: Annotated[
        str, typer.Option(metavar="[HOST:]PORT", help="Where the page is; beyond this machine only with EDGEAD_TOKEN.")
    ] = "8081",
    names: Annotated[str, typer.Option(help="Further names of this machine, with commas between.")] = "",
    export: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="Write what is labeled as a data set (MVTec folders), and do nothing else."),
    ] = None,
) -> None:
    """Review saved anomalies, borderline and random good frames in a browser: good, defect or unsure.

    Each label is one key.

    \b
    edgead review saved/
    edgead review saved/ --export reviewed/

    Labels are JSON files beside the frames, one a person; labeled events are no longer deleted by the sink. While the
    line runs the page is also on its own server: --sink 'web:8080?review=saved'.
    """
    if export is not None:
        _export(folder, export)
        return
    from edgead.review.archive import ReviewFolder
    from edgead.web.address import read_address, split_names
    from edgead.web.auth import AuthMiddleware
    from edgead.web.review_pages import review_app
    from edgead.web.server import Server

    address = read_address(at, "--at", "option")
    with ReviewFolder(folder) as opened, address.listen() as listening:
        app = AuthMiddleware(review_app(opened, address.token), address.token, split_names(names), address.loopback)
        host = f"[{address.host}]" if ":" in address.host else address.host
        typer.echo(f"reviewing {shown(folder)} at http://{host}:{listening.getsockname()[1]}/review (Ctrl-C ends it)")
        server = Server(app, listening)
        try:
            threading.Event().wait()
        finally:
            server.close()


def _export(folder: Path, out: Path) -> None:
    from edgead.review.export import export

    counts = export(folder, out)
    typer.echo(f"{out}: {counts['good']} good, {counts['defect']} defects")
    for label, words in (("disagree", "on which people disagree"), ("unsure", "of which nobody is sure")):
        if counts[label]:
            typer.echo(f"left out: {counts[label]} {words}")
