"""What several commands share: their options, and text that is safe to print."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from edgead.engines import ENGINES
from edgead.wording import printable


class Precision(str, Enum):
    """What a network runs in; `auto` is the bundle's best."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="An .edgead file.", show_default=False)]
EngineName = Annotated[
    str,
    typer.Option("--engine", envvar="EDGEAD_ENGINE", help=f"What runs the network: auto, {', '.join(ENGINES.own)}."),
]
PrecisionName = Annotated[
    Precision, typer.Option("--precision", envvar="EDGEAD_PRECISION", help="What the network runs in.")
]
Threads = Annotated[
    int,
    typer.Option("--threads", envvar="EDGEAD_THREADS", min=0, max=1024, help="CPU threads; 0: the engine's choice."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output.")]

shown = printable  # for a terminal
