"""Puts what a training did into the words of a bundle's provenance, the same for every method."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from edgead_tools.backbones.weights import WeightsFile
from edgead_tools.training.loop import TrainReport


def training_report(stages: Sequence[TrainReport], sources: Sequence[WeightsFile]) -> dict[str, Any]:
    """Steps, seconds, stages and pretrained weights as plain values: the least that `Trained.report` holds."""
    return {
        "steps": sum(one.steps for one in stages),
        "seconds": round(sum(one.seconds for one in stages), 1),
        "stages": [dataclasses.asdict(one) for one in stages],
        "weights": [source.provenance() for source in sources],
    }
