"""An engine that measures the same on every frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgead.engines.base import Engine
from edgead.types import Branches, Reading


class FixedEngine(Engine):
    """Gives one map, (h, w) float32, with its score and branches, whatever it is shown."""

    name = "fixed"
    precision = "fp32"

    def __init__(self, anomaly_map: np.ndarray, score: float, branches: Branches | None = None) -> None:
        self.closed = 0
        self._reading = Reading(anomaly_map, score, branches=branches)

    def infer(self, images: Sequence[np.ndarray]) -> list[Reading]:
        return [self._reading for _ in images]

    def close(self) -> None:
        self.closed += 1
