"""Puts a release in place at a station, and takes it back where the station judges worse with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from edgead.bundle import Bundle
from edgead.bundle.store import Trust
from edgead.errors import BundleError, EdgeadError, GateError
from edgead.exposition import Sample, scrape
from edgead.files import state_folder
from edgead.stream.audit import AuditLog
from edgead.stream.promotion import Versions
from edgead.system.reload import reload_station
from edgead.updates.pull import Client, Offer
from edgead.updates.watch import Counts, Limits, read_counts, watch

WHO = "edgead pull"  # in the audit log


@dataclass(frozen=True, slots=True)
class Station:
    """What a release is put in place of, and how the station is told and watched."""

    out: Path
    trust: Trust | None = None
    reload: Sequence[str] = ()  # a command; none: the station is told by other means
    metrics: str = ""  # the address of its metrics; empty: it is not watched
    limits: Limits = field(default_factory=Limits)


def roll_out(client: Client, offer: Offer, station: Station, say: Callable[[str], None]) -> Bundle | None:
    """Put what is offered into force, and watch it; None where the station has it already.

    Raises BundleError where it may not be taken, GateError where it was worse and the old bundle is in force again.
    """
    present = _digest(station.out)
    if offer.digest and present == offer.digest:
        return None
    if client.is_refused(offer.digest):
        raise BundleError(f"{offer.digest[:12]} was worse here and rolled back: publish another, or promote it by hand")
    old = read_counts(scrape(station.metrics)) if station.metrics and present else None
    audit = AuditLog(state_folder("audit.jsonl"), str(station.out))
    with Versions(station.out, audit, station.trust) as versions, TemporaryDirectory(prefix="edgead-") as folder:
        bundle = client.fetch(offer, Path(folder), station.trust)
        assert bundle.path is not None
        versions.promote(bundle.path, WHO)
        say(f"{station.out}: {bundle.manifest.name} {bundle.digest[:12]}{' (canary)' if offer.canary else ''}")
        try:
            reload_station(station.reload)
            faults = _watch(bundle, old, station, say)
        except EdgeadError as error:
            faults = [str(error)]
        if not faults:
            return bundle
        if not present:
            raise GateError(f"{bundle.digest[:12]} is in force, and there was none before: {'; '.join(faults)}")
        client.refuse(offer.digest)
        versions.rollback(WHO)
        reload_station(station.reload)
        raise GateError(f"{bundle.digest[:12]} was worse and the old bundle is in force again: {'; '.join(faults)}")


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
