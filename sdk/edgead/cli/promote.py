"""Implements `edgead promote` and `edgead rollback`: which bundle a station judges with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgead.cli.derive import typer_option
from edgead.cli.options import FIELDS, shown
from edgead.config import load_station
from edgead.errors import UsageError
from edgead.stream.assembly import open_versions
from edgead.stream.audit import user_name
from edgead.stream.promotion import Change, Versions
from edgead.system.reload import reload_station

Station = Annotated[
    Path | None, typer.Option(envvar=["EDGEAD_STATION", "EDGEAD_CONFIG"], help="YAML file of the station.")
]
Over = Annotated[str | None, typer_option(FIELDS["bundle"], help="The station's bundle, where it has no file.")]
By = Annotated[str, typer.Option("--by", help="Who does it, for the audit log.  [default: the login name]")]
Reload = Annotated[str, typer.Option(metavar="COMMAND", help="Run this afterwards, such as 'systemctl reload edgead'.")]


def promote(
    candidate: Annotated[
        Path | None,
        typer.Argument(metavar="BUNDLE", help="The bundle to put into force; else the station's shadow."),
    ] = None,
    station: Station = None,
    bundle: Over = None,
    by: By = "",
    reload: Reload = "",
) -> None:
    """Put a bundle into force at a station, in one step that a power cut cannot halve.

    \b
    edgead promote --station station.yaml --reload 'systemctl reload edgead'
    edgead promote new.edgead --bundle bottle.edgead

    What was in force is kept in BUNDLE.versions; `edgead rollback` takes it back. Both are noted in the audit log.
    """
    config = load_station(station, {"bundle": bundle}).config
    chosen = candidate or (Path(config.shadow) if config.shadow else None)
    if chosen is None:
        raise UsageError("which bundle? name it: the station has no shadow")
    with open_versions(config) as versions:
        _say(versions, versions.promote(chosen, by or user_name()), reload)


def rollback(station: Station = None, bundle: Over = None, by: By = "", reload: Reload = "") -> None:
    """Put the bundle into force again that was there before the last `edgead promote`; again: the one before.

    \b
    edgead rollback --station station.yaml --reload 'systemctl reload edgead'
    """
    with open_versions(load_station(station, {"bundle": bundle}).config) as versions:
        _say(versions, versions.rollback(by or user_name()), reload)


def _say(versions: Versions, change: Change, reload: str) -> None:
    """What was changed; where the station was not told, how it is."""
    before = f", was {change.old[:12]}" if change.old else ""
    typer.echo(f"{shown(versions.bundle)} is {change.new[:12]}{before}")
    reload_station(shlex.split(reload))
    if not reload:
        typer.echo("a running line takes it up on SIGHUP (systemctl reload edgead), or when it is started again")
