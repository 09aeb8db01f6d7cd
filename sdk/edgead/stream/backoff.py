"""Says how long to wait before something that failed is tried again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between trials, in seconds: each about twice the one before, up to the longest."""

    first: float
    longest: float

    def pauses(self) -> Iterator[float]:
        """The pauses, each shortened by up to a half at random: stations that lost one switch do not come at once."""
        random = np.random.default_rng()
        pause = self.first
        while True:
            yield pause * float(random.uniform(0.5, 1.0))
            pause = min(2 * pause, self.longest)


CAMERA_BACKOFF = Backoff(first=0.5, longest=30.0)
