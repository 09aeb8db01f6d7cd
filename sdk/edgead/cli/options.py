"""Shares what several commands need: their options, and text that is safe to print."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from edgead.cli.derive import typer_option
from edgead.config import BuildConfig, StationConfig
from edgead.config.fields import fields_of
from edgead.engines import ENGINES, REMOTE
from edgead.stream.plc.outputs import PLCS
from edgead.stream.sinks import SINKS
from edgead.stream.sources import SOURCES
from edgead.stream.trigger import TRIGGERS
from edgead.wording import printable

FIELDS = fields_of(StationConfig)
BUILD = fields_of(BuildConfig)
WORDS = {  # what help texts of settings leave open
    "engines": ", ".join(name if name not in REMOTE else f"{name}:HOST" for name in ENGINES.builtin),
    "sinks": ", ".join(SINKS.builtin),
    "plcs": ", ".join(PLCS),
    "triggers": ", ".join(TRIGGERS.builtin),
    "sources": "; ".join(entry.example for kind, entry in SOURCES.builtin.items() if kind != "https"),
}


class Precision(str, Enum):
    """What a network runs in; `auto` is the bundle's best."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


def out_option(help: str, metavar: str | None = None) -> Any:
    """The option --out, or -o, of a command that writes something of its own."""
    return typer.Option("-o", "--out", metavar=metavar, help=help)


BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="An .edgead file.", show_default=False)]
SomeBundle = Annotated[
    Path | None,
    typer.Argument(metavar="BUNDLE", help="An .edgead file; else the newest in this folder.", show_default=False),
]
EngineName = Annotated[str, typer_option(FIELDS["engine"], WORDS)]
PrecisionName = Annotated[Precision, typer_option(FIELDS["precision"])]
Threads = Annotated[int, typer_option(FIELDS["threads"])]
Device = Annotated[int, typer_option(FIELDS["device"])]
Json = Annotated[bool, typer_option(FIELDS["json"])]
Seed = Annotated[int, typer_option(BUILD["seed"])]
ShowResolved = Annotated[
    bool, typer.Option("--resolved", help="Print the settings and where each came from, and do nothing else.")
]
Parquet = Annotated[
    str, typer.Option(metavar="DIR", help="Judge an archive on all CPUs, one row an image, into Parquet there.")
]
Workers = Annotated[
    int, typer.Option(min=0, max=10_000, help="On Ray: how much is done at once.  [default: one for each CPU]")
]
RayAddress = Annotated[str, typer.Option(metavar="ADDRESS", help="On Ray: a cluster to join.  [default: here]")]


shown = printable  # for a terminal
