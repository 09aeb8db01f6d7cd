"""Says of each station what it runs, since when, and what is wrong there."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from edgead.errors import EdgeadError, UsageError
from edgead.exposition import Sample, label, scrape, total
from edgead.types import Verdict

AT_ONCE = 32  # stations that are asked beside one another
FULL = 0.05  # a share of free disk below which it is said


@dataclass(frozen=True, slots=True)
class StationView:
    """One station as its metrics, or the broker, show it."""

    name: str
    state: str  # up, or why there is nothing to show; online or offline where only the broker knows it
    bundle: str = ""
    model: str = ""  # the bundle's name
    engine: str = ""
    since: float = 0.0  # seconds since the epoch at which the line was started
    results: float = 0.0
    rejects: float = 0.0  # the share of results that are NG or LATE
    invalid: float = 0.0  # the share that could not be judged
    disk_free: float | None = None  # a share
    issues: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def read_stations(places: Mapping[str, str], timeout: float = 5.0) -> list[StationView]:
    """The stations at these addresses of metrics, by name; one that does not answer is shown so."""
    with ThreadPoolExecutor(min(AT_ONCE, max(1, len(places)))) as pool:
        return list(pool.map(lambda name: _read(name, places[name], timeout), places))


def parse_places(texts: Iterable[str]) -> dict[str, str]:
    """`NAME=HOST[:PORT]`, or without a name, as addresses of metrics by name; raises UsageError for two of a name."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, place = text.partition("=")
        place = place if equals else text
        url = place if "://" in place else f"http://{place}"
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise UsageError(f"'{text}' is no station: write NAME=HOST:9108") from error
        if not host or parts.scheme not in ("http", "https"):
            raise UsageError(f"'{text}' is no station: write NAME=HOST:9108")
        shown = f"[{host}]" if ":" in host else host
        name = name if equals else f"{shown}:{port or 9108}"
        if name in found:
            raise UsageError(f"two stations are called '{name}': name each, as in left={shown}:{port or 9108}")
        found[name] = f"{parts.scheme}://{shown}:{port or 9108}{parts.path if parts.path.strip('/') else '/metrics'}"
    return found


def with_states(views: Sequence[StationView], states: Mapping[str, str]) -> list[StationView]:
    """The views with what the broker says: stations that it knows alone are added, and contradictions are said."""
    seen = {view.name: view for view in views}
    for name, state in states.items():
        if name not in seen:
            seen[name] = StationView(name, state, issues=("offline",) if state == "offline" else ())
        elif state == "offline" and seen[name].state == "up":
            words = "the broker has it as offline"
            seen[name] = replace(seen[name], issues=(*seen[name].issues, words))
    return list(seen.values())


def view_of(name: str, samples: list[Sample], now: float) -> StationView:
    """What a page of metrics says of a station."""
    count = "edgead_results_total"
    results = total(samples, count)
    shares = {
        verdict: total(samples, count, verdict=verdict.value) / results if results else 0.0 for verdict in Verdict
    }
    free = next((one.value for one in samples if one.name == "edgead_disk_free_ratio"), None)
    return StationView(
        name,
        "up",
        bundle=label(samples, "edgead_info", "bundle"),
        model=label(samples, "edgead_info", "model"),
        engine=" ".join(filter(None, (label(samples, "edgead_info", key) for key in ("engine", "precision")))),
        since=now - total(samples, "edgead_uptime_seconds"),
        results=results,
        rejects=shares[Verdict.NG] + shares[Verdict.LATE],
        invalid=shares[Verdict.INVALID],
        disk_free=free,
        issues=tuple(_issues(samples, free)),
    )


def _read(name: str, url: str, timeout: float) -> StationView:
    try:
        samples = scrape(url, timeout)
    except EdgeadError as error:
        return StationView(name, "does not answer", issues=(str(error),))
    if not label(samples, "edgead_info", "engine"):
        return StationView(name, "is no station", issues=(f"{url} has no metrics of edgead",))
    return view_of(name, samples, time.time())


def _issues(samples: list[Sample], free: float | None) -> Iterable[str]:
    for one in samples:
        camera = one.labels.get("camera", "")
        shown = f"camera {camera}" if camera else "the camera"
        if one.name == "edgead_camera_connected" and not one.value:
            yield f"{shown} is lost"
        if one.name == "edgead_drift" and one.value:
            yield f"{shown}: good parts have drifted"
        if one.name == "edgead_lost_results_total" and one.value:
            yield f"{one.value:.0f} results lost by {one.labels.get('sink', 'a sink')}"
    if free is not None and free < FULL:
        yield f"{free:.0%} of the disk are free"
