"""Calibrates the dustbin and the temperature of matching on pairs of good images, whose objects correspond."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from edgead.bundle import MatchingSpec
from edgead.ops.matching import match, score_pairs
from edgead_calibration.object_slots import Side, Slots

PAIRS = 60  # of good images
SHARES = (0.25, 0.5, 0.75)  # of the way from the score of different objects to that of the same one: the dustbin's
TEMPERATURES = (0.02, 0.05, 0.1, 0.2)  # of the distance between both scores


def calibrate_transport(sides: Sequence[Side], found: Slots, draft: MatchingSpec, seed: int) -> tuple[float, float]:
    """The temperature and the dustbin's score of the best F1 of matches, over pairs of good images from each of which
    one object is taken away, where there are several."""
    random = np.random.default_rng(seed)
    cases, same, different = [], [], []
    for _ in range(PAIRS):
        one, other = random.choice(len(sides), 2, replace=False)
        scores = score_pairs(sides[one], sides[other], found.place, found.area)
        truth = found.slots[one][:, None] == found.slots[other][None, :]
        same.append(scores[truth])
        different.append(scores[~truth])
        if len(scores) > 1:
            row, column = random.integers(len(scores), size=2)
            scores, truth = (np.delete(np.delete(values, row, 0), column, 1) for values in (scores, truth))
        cases.append((scores, truth))
    high = float(np.concatenate(same).mean())
    others = np.concatenate(different)
    low = float(others.mean()) if len(others) else high - 1.0
    gap = max(high - low, 1e-3)
    best = (-1.0, 0.0, 0.0)
    for share in sorted(SHARES, key=lambda value: abs(value - 0.5)):
        for factor in TEMPERATURES:
            spec = msgspec.structs.replace(draft, temperature=factor * gap, dustbin=low + share * gap)
            f1 = sum(_f1(scores, truth, spec) for scores, truth in cases) / len(cases)
            if f1 > best[0] + 1e-9:
                best = (f1, spec.temperature, spec.dustbin)
    return best[1], best[2]


def _f1(scores: np.ndarray, truth: np.ndarray, spec: MatchingSpec) -> float:
    pairs = match(scores, spec)
    right = int(truth[pairs[:, 0], pairs[:, 1]].sum())
    total = len(pairs) + int(truth.sum())
    return 2 * right / total if total else 1.0
