"""Defines `edgead fleet`: many stations at a glance."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from edgead.cli.options import Json, shown
from edgead.cli.table import aligned
from edgead.config.reading import read_yaml
from edgead.errors import GateError, UsageError
from edgead.fleet.stations import StationView, parse_places, read_stations, with_states
from edgead.registry import Lazy

HEAD = ["station", "state", "bundle", "engine", "since", "results", "NG", "invalid", "disk free", ""]


def fleet(
    stations: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=HOST[:PORT]", help="Stations with the sink `metrics`.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="YAML file with `stations:`, name: host.")] = None,
    broker: Annotated[
        str, typer.Option(metavar="URL", help="Also the states at this MQTT broker: mqtt://HOST/edgead/+/status.")
    ] = "",
    check: Annotated[bool, typer.Option("--check", help="Exit with 4 where a station has issues.")] = False,
    as_json: Json = False,
) -> None:
    """Show who runs what, since when, and what is wrong: bundle, engine, rejects, drift, cameras, disk.

    EDGEAD_TOKEN is shown to the stations where it is set.

    \b
    edgead fleet left=10.0.0.5 right=10.0.0.6
    edgead fleet --file stations.yaml --broker mqtt://10.0.0.2/edgead/+/status --check
    """
    listed = read_yaml(file).get("stations", {}) if file is not None else {}
    if not isinstance(listed, dict):
        raise UsageError(f"{file} holds `stations:` with lines like 'left: 10.0.0.5'")
    places = parse_places([*(f"{name}={host}" for name, host in listed.items()), *(stations or ())])
    if not places and not broker:
        raise UsageError("which stations? name them, as in left=10.0.0.5, or give --file or --broker")
    views = read_stations(places)
    if broker:
        states = Lazy("edgead.fleet.broker:read_states", extra="mqtt").load("--broker")(broker)
        views = with_states(views, states)
    if as_json:
        for view in views:
            typer.echo(json.dumps(view.to_dict()))
    else:
        typer.echo(aligned([HEAD, *map(_row, views)]))
    faulty = [view.name for view in views if view.issues]
    if check and faulty:
        raise GateError(f"{len(faulty)} of {len(views)} stations have issues: {', '.join(map(shown, faulty))}")


def _row(station: StationView) -> list[str]:
    if station.state != "up":
        return [shown(station.name), station.state, *[""] * 7, shown("; ".join(station.issues))]
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(station.since))
    free = "" if station.disk_free is None else f"{station.disk_free:.0%}"
    shares = f"{station.rejects:.1%}", f"{station.invalid:.1%}"
    about = (
        shown(f"{station.model} {station.bundle}"),
        shown(station.engine),
        since,
        f"{station.results:.0f}",
        *shares,
        free,
    )
    return [shown(station.name), "up", *about, shown("; ".join(station.issues))]
