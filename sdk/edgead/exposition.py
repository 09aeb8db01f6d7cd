"""Reads the text exposition format of Prometheus, version 0.0.4: what a station says of itself at /metrics."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from edgead.errors import EdgeadError

LIMIT = 4 << 20  # bytes
_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+\d+)?$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPES = {"\\\\": "\\", "\\n": "\n", '\\"': '"'}


@dataclass(frozen=True, slots=True)
class Sample:
    """One value, and the labels it stands under."""

    name: str
    labels: Mapping[str, str]
    value: float


def parse(text: str) -> list[Sample]:
    """The samples of a page, in order; lines that are none are left out."""
    found = []
    for line in text.splitlines():
        match = None if line.startswith("#") else _SAMPLE.match(line.strip())
        if match is None:
            continue
        labels = {name: re.sub(r"\\.", _unescaped, value) for name, value in _LABEL.findall(match["labels"] or "")}
        try:
            found.append(Sample(match["name"], labels, float(match["value"])))
        except ValueError:
            continue
    return found


def scrape(url: str, timeout: float = 5.0) -> list[Sample]:
    """The samples that an address gives now; EDGEAD_TOKEN is shown where it is set. Raises EdgeadError."""
    headers = {"User-Agent": "edgead"}
    if token := os.environ.get("EDGEAD_TOKEN", "").strip():
        headers["Authorization"] = f"Bearer {token}"
    if not url.startswith(("http://", "https://")):
        raise EdgeadError(f"'{url}' is no address of metrics: write http://HOST:9108/metrics")
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout) as answer:  # noqa: S310
            return parse(answer.read(LIMIT).decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        error.close()
        raise EdgeadError(f"{url} answers {error.code}: see to its address and to EDGEAD_TOKEN") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise EdgeadError(f"{url} does not answer: {reason}") from error


def total(samples: list[Sample], name: str, **labels: str) -> float:
    """The sum of the samples of that name which have these labels."""
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())


def label(samples: list[Sample], name: str, key: str) -> str:
    """A label of the first sample of that name; empty where there is none."""
    return next((one.labels.get(key, "") for one in samples if one.name == name), "")


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[0], match[0])
