"""Defines `edgead sign`: signatures of bundles, and the keys they are made with."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from edgead.bundle import Bundle, signing
from edgead.cli.options import shown
from edgead.errors import UsageError


def sign(
    bundle: Annotated[
        Path | None, typer.Argument(metavar="[BUNDLE]", help="An .edgead file.", show_default=False)
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Private key to sign with, PEM.")] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36500, help="Days after which the signature is not accepted.")
    ] = None,
    new_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE.pem", help="Make this private key, and FILE.pub.pem beside it, for stations."),
    ] = None,
) -> None:
    """Sign a bundle with a key of yours, for stations that take no other bundles.

    The signature is added to BUNDLE.sig, which travels beside the bundle. A station with `trust:` in station.yaml, a
    list of public keys, uses nothing that none of them has signed. To change keys, trust the old and the new one, sign
    with the new one, then trust that alone. EDGEAD_KEY_PASSWORD encrypts a new private key, and opens it.

    \b
    edgead sign --new-key release.pem
    edgead sign part.edgead --key release.pem
    edgead verify part.edgead --key release.pub.pem
    """
    if (new_key is None) == (bundle is None) or (bundle is None) != (key is None):
        raise UsageError("give BUNDLE and --key FILE.pem to sign, or --new-key FILE.pem to make a key")
    if new_key is not None:
        public, name = signing.make_key(new_key)
        typer.echo(f"{new_key}: keep it secret\n{public}: give it to stations, as trust; key {name[:12]}")
    elif bundle is not None and key is not None:
        opened = Bundle.open(bundle)
        made = signing.sign(opened, signing.read_key(key), None if days is None else timedelta(days=days))
        until = f", until {made.statement.expires:%Y-%m-%d}" if made.statement.expires else ""
        where = signing.signature_file(bundle)
        typer.echo(f"{shown(str(where))}: signed {opened.digest[:12]} with the key {made.key_id[:12]}{until}")
