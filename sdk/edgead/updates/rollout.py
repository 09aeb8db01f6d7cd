"""Puts a release in place at a station, and takes it back where the station judges worse with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgead.bundle import Bundle
from edgead.bundle.store import Trust
from edgead.errors import BundleError, EdgeadError, GateError
from edgead.exposition import Sample, scrape
from edgead.files import write_file
from edgead.system.reload import reload_station
from edgead.updates.pull import Client, Offer
from edgead.updates.watch import Counts, Limits, read_counts, watch


@dataclass(frozen=True, slots=True)
class Station:
    """What a release is put in place of, and how the station is told and watched."""

    out: Path
    trust: Trust | None = None
    reload: Sequence[str] = ()  # a command; none: the station is told by other means
    metrics: str = ""  # the address of its metrics; empty: it is not watched
    limits: Limits = field(default_factory=Limits)


def roll_out(client: Client, offer: Offer, station: Station, say: Callable[[str], None]) -> Bundle | None:
    """Install what is offered, and watch it; None where the station has it already.

    Raises BundleError where it may not be taken, GateError where it was worse and the old bundle is back.
    """
    had = station.out.read_bytes() if station.out.is_file() else None
    if had is not None and offer.digest and _digest(station.out) == offer.digest:
        return None
    if client.is_refused(offer.digest):
        raise BundleError(f"{offer.digest[:12]} was worse here and rolled back: publish another, or install it by hand")
    old = read_counts(scrape(station.metrics)) if station.metrics and had is not None else None
    bundle = client.install(offer, station.out, station.trust)
    say(f"{station.out}: {bundle.manifest.name} {bundle.digest[:12]}{' (canary)' if offer.canary else ''}")
    try:
        reload_station(station.reload)
        faults = _watch(bundle, old, station, say)
    except EdgeadError as error:
        faults = [str(error)]
    if faults and had is not None:
        client.refuse(offer.digest)
        write_file(station.out, had)
        reload_station(station.reload)
        raise GateError(f"{bundle.digest[:12]} was worse and the old bundle is back: {'; '.join(faults)}")
    if faults:
        raise GateError(f"{bundle.digest[:12]} is in place, and there was no bundle before: {'; '.join(faults)}")
    return bundle


def _watch(bundle: Bundle, old: Counts | None, station: Station, say: Callable[[str], None]) -> list[str]:
    if old is None:
        return []
    say(f"watching {station.metrics} for {station.limits.seconds:.0f} s")
    return watch(bundle.digest, old, lambda: _look(station.metrics), station.limits)


def _look(metrics: str) -> list[Sample]:
    return scrape(metrics)


def _digest(path: Path) -> str:
    try:
        return Bundle.open(path).digest
    except BundleError:
        return ""
