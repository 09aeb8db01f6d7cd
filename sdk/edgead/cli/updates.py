"""Defines `edgead publish` and `edgead pull`: bundles from a release to stations."""

from __future__ import annotations

import shlex
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from edgead.bundle import Bundle, signing
from edgead.cli.derive import typer_option
from edgead.cli.options import FIELDS, out_option
from edgead.errors import UsageError
from edgead.updates.pull import Client, Origin, station_name
from edgead.updates.repository import Keys, Repository
from edgead.updates.rollout import Station, roll_out
from edgead.updates.watch import Limits


def publish(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="[BUNDLE]", help="An .edgead file; none renews the dates.")
    ] = None,
    to: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the repository; made where it is not there.")
    ] = Path("updates"),
    key: Annotated[Path | None, typer.Option(help="Private key of the release, PEM; signs what is released.")] = None,
    online_key: Annotated[
        Path | None, typer.Option(help="Private key that signs the dates.  [default: that of the release]")
    ] = None,
    old_key: Annotated[
        Path | None, typer.Option(help="A key that goes; --key, or --online-key, takes its place.")
    ] = None,
    canary: Annotated[float, typer.Option(min=0.001, max=1.0, help="Share of the stations that get it.")] = 1.0,
    days: Annotated[int, typer.Option(min=1, max=730, help="Days after which stations want a newer date.")] = 30,
) -> None:
    """Put a bundle into a repository of updates, for stations that pull.

    The repository is a folder that any web server can serve. Stations need its metadata/1.root.json, once, by hand.
    Publish a canary again without --canary to give it to all, or the old bundle to take it back. Run it without a
    bundle before the days are over: stations refuse a release that nobody has signed in time.

    \b
    edgead publish bottle.edgead --to updates --key release.pem --canary 0.1
    edgead publish --to updates --online-key server.pem
    """
    release = None if key is None else signing.read_key(key)
    online = release if online_key is None else signing.read_key(online_key)
    retired = None if old_key is None else signing.read_key(old_key)
    repository = Repository(to)
    opened = None if bundle is None else Bundle.open(bundle)
    repository.publish(opened, Keys(release, online, retired), share=canary, lifetime=timedelta(days=days))
    what = "dates renewed" if opened is None else f"{opened.manifest.name} {opened.digest[:12]} for {canary:.0%}"
    typer.echo(f"{to}: {what}; stations take {repository.root_file} as --root")


def pull(
    place: Annotated[str, typer.Argument(help="Folder or URL of the repository.")],
    out: Annotated[Path, out_option("The station's bundle, which is replaced.", "BUNDLE")],
    root: Annotated[Path, typer.Option(metavar="FILE", help="The repository's 1.root.json, given by hand.")],
    name: Annotated[str, typer.Option(help="Name of the bundle there.  [default: the file name of --out]")] = "",
    blobs: Annotated[
        str, typer.Option(metavar="URL", help="Where bundles lie instead, such as oci://registry.local/bundles.")
    ] = "",
    trust: Annotated[
        list[Path] | None, typer_option(FIELDS["trust"], help="As in station.yaml: who must have signed the bundle.")
    ] = None,
    reload: Annotated[
        str, typer.Option(metavar="COMMAND", help="Run this afterwards, such as 'systemctl reload edgead'.")
    ] = "",
    watch: Annotated[
        str, typer.Option(metavar="URL", help="The station's metrics: take the bundle back where they are worse.")
    ] = "",
    minutes: Annotated[float, typer.Option(min=0.01, max=1440, help="For so long.")] = 10.0,
) -> None:
    """Take the newest bundle that a repository of updates has for this station.

    What is old, expired, altered, cut short, mixed or signed by others is refused and said, and the station keeps what
    it has. With --watch the shares of NG, REVIEW, INVALID and LATE are compared with those before; where they are
    beyond doubt half as high again, the old bundle is put in place again, and that one is not taken any more.

    \b
    edgead pull https://updates.plant.local/ --root /etc/edgead/root.json --out /var/lib/edgead/bottle.edgead
    """
    if watch and not reload:
        raise UsageError("--watch needs --reload COMMAND: the station must judge with the new bundle to be watched")
    trusted = signing.read_trust(trust) if trust else None
    client = Client(Origin(place, root, blobs), name or out.name, station_name())
    station = Station(out, trusted, shlex.split(reload), watch, Limits(60 * minutes))
    taken = roll_out(client, client.offer(), station, lambda words: typer.echo(f"edgead: {words}", err=True))
    typer.echo(f"{out}: {'nothing newer' if taken is None else taken.digest[:12]}")
