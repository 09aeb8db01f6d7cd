"""Defines `edgead serve`: bundles as models of an inference server."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from edgead.bundle import Bundle
from edgead.cli.derive import typer_option
from edgead.cli.options import FIELDS, Device, EngineName, Precision, PrecisionName, RayAddress, Threads, shown
from edgead.errors import UsageError
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
    device: Device = 0,
    replicas: Annotated[
        str, typer.Option(metavar="N|N-M", help="On Ray Serve, so many of each bundle; 1-4 follows the load.")
    ] = "",
    ray: RayAddress = "",
) -> None:
    """Judge frames that others send, over the Open Inference Protocol (KServe v2), which Triton speaks too.

    \b
    edgead serve bottle.edgead cap.edgead
    edgead serve bottle.edgead --replicas 1-4
    edgead run --camera 0 --bundle bottle.edgead --engine kserve:10.0.0.5:8000
    """
    from edgead.registry import Lazy

    trusted = Lazy("edgead.bundle.signing:read_trust", extra="signing").load("--trust")(trust) if trust else None
    opened = [Bundle.open(path, trust=trusted) for path in bundles]
    settings: dict[str, Any] = {"engine": engine, "precision": precision.value, "threads": threads, "names": names}
    if replicas or ray:
        if device:
            raise UsageError("Ray gives each replica its GPU: leave out --device")
        on_ray = Lazy("edgead_tools.distributed.serving:RayServer", extra="ray").load("`edgead serve` on Ray")
        server = on_ray(opened, address, replicas=replicas or "1", ray=ray, **settings)
    else:
        server = InferenceServer(opened, address, device=device, **settings)
    received: list[int] = []
    over = threading.Event()

    def end(number: int, frame: object) -> None:
        received.append(number)
        over.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    with server:
        for name, about in server.models.items():
            typer.echo(f"edgead: http://…:{server.port}/v2/models/{shown(name)}: {about}", err=True)
        over.wait()
    raise typer.Exit(128 + received[0])
