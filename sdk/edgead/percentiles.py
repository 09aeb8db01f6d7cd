"""Percentiles of times, as the status of a pipeline and the live page show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles, in milliseconds; 0 where nothing was measured."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0


def percentiles(values: Iterable[float]) -> Percentiles:
    """The 50th, 95th and 99th percentile of `values`, to a thousandth."""
    known = list(values)
    if not known:
        return Percentiles()
    return Percentiles(*(round(float(value), 3) for value in np.percentile(known, (50, 95, 99))))
