"""Defines `edgead serve`: bundles as models of an inference server."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from edgead.bundle import Bundle
from edgead.cli.derive import typer_option
from edgead.cli.options import FIELDS, EngineName, Precision, PrecisionName, Threads, shown
from edgead.serving.server import InferenceServer


def serve(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE", help="One or more .edgead files.")],
    address: Annotated[
        str, typer.Option(metavar="[HOST:]PORT", help="Where to listen; beyond this machine EDGEAD_TOKEN is asked for.")
    ] = "8000",
    names: Annotated[str, typer.Option(help="Further names of this machine, with commas between.")] = "",
    trust: Annotated[
        list[Path] | None,
        typer_option(FIELDS["trust"], help="As in station.yaml: who must have signed the bundles."),
    ] = None,
    engine: EngineName = "auto",
    precision: PrecisionName = Precision.auto,
    threads: Threads = 0,
) -> None:
    """Judge frames that others send, over the Open Inference Protocol (KServe v2), which Triton speaks too.

    \b
    edgead serve bottle.edgead cap.edgead
    edgead run --camera 0 --bundle bottle.edgead --engine kserve:10.0.0.5:8000
    """
    from edgead.registry import Lazy

    trusted = Lazy("edgead.bundle.signing:read_trust", extra="signing").load("--trust")(trust) if trust else None
    opened = [Bundle.open(path, trust=trusted) for path in bundles]
    server = InferenceServer(opened, address, engine=engine, precision=precision.value, threads=threads, names=names)
    received: list[int] = []
    over = threading.Event()

    def end(number: int, frame: object) -> None:
        received.append(number)
        over.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with server:
        for name, served in server.models.items():
            about = f"{served.detector.model} on {served.detector.engine.name} {served.detector.engine.precision}"
            typer.echo(f"edgead: http://…:{server.port}/v2/models/{shown(name)}: {about}", err=True)
        over.wait()
    raise typer.Exit(128 + received[0])
