"""How often the stated intervals hold, by simulated builds: false alarms of thresholds, and the size found in 90 %.

    python benchmarks/threshold_simulation.py --out FILE [--draws 1000]

False alarms: parts are vectors of 12 numbers, light, skewed or heavy; those trained on are a tenth shorter, statistics
are refitted without each fold, and the rate that was asked for is 1 %. Sizes: detection follows a logistic law of the
logarithm of the size, and a90/95 holds where it is at least the true size.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead_calibration.conformal import assign_folds, correct_optimism
from edgead_calibration.detection import fit_hits
from edgead_calibration.thresholds import fit_thresholds

Array = NDArray[np.float64]
LAWS: dict[str, Callable[[np.random.Generator, tuple[int, int]], Array]] = {
    "light (normal)": lambda random, shape: random.normal(size=shape),
    "skewed (lognormal)": lambda random, shape: np.exp(0.5 * random.normal(size=shape)),
    "heavy (Student, 4)": lambda random, shape: random.standard_t(4, size=shape),
}
FEATURES, RATE, GAIN, NEW = 12, 0.01, 0.9, 4000
A90, SLOPE = 0.06, 3.0


def distance(rows: Array, good: Array) -> Array:
    """How far parts are from the mean of good ones, in standard deviations."""
    return np.sqrt((((rows - good.mean(0)) / (good.std(0) + 1e-9)) ** 2).mean(1))


def build(law: str, images: int, random: np.random.Generator) -> tuple[float, tuple[float, float]]:
    """The rate of new parts above one build's threshold, and the stated interval."""
    kept = max(round(0.2 * images), min(5, images // 4) + min(5, images // 8))
    held = kept // 2 + kept % 2
    seen, fitted = np.arange(images) < images - kept, np.arange(images) < images - held
    rows = LAWS[law](random, (images, FEATURES))
    rows[seen] *= GAIN
    scores, known = np.empty(images), np.flatnonzero(fitted)
    folds = assign_folds(len(known))
    for fold in range(folds.max() + 1):
        scores[known[folds == fold]] = distance(rows[known[folds == fold]], rows[known[folds != fold]])
    scores[~fitted] = distance(rows[~fitted], rows[fitted])
    found = correct_optimism(scores, seen)
    limits = fit_thresholds(found.scores.tolist(), found.scores.tolist(), RATE, (found.margin, found.margin))
    new = distance(LAWS[law](random, (NEW, FEATURES)), rows[fitted])
    return float(np.mean(new > limits.image)), limits.interval


def false_alarms(law: str, images: int, draws: int) -> dict[str, Any]:
    """Rates and coverage over many builds."""
    random = np.random.default_rng(0)
    runs = [build(law, images, random) for _ in range(draws)]
    rates = np.array([rate for rate, _ in runs])
    inside = np.mean([low <= rate <= high for rate, (low, high) in runs])
    return {
        "law": law,
        "images": images,
        "draws": draws,
        "inside": float(inside),
        "rate_mean": float(rates.mean()),
        "rate_quantiles": np.quantile(rates, [0.05, 0.5, 0.95]).round(4).tolist(),
        "upper_end_median": float(np.median([high for _, (_, high) in runs])),
    }


def sizes(planted: int, draws: int) -> dict[str, Any]:
    """How often a90/95 is at least the true size, and how much larger it is."""
    random, found = np.random.default_rng(0), []
    for _ in range(draws):
        size = np.exp(random.uniform(np.log(0.008), np.log(0.25), planted))
        chance = 1 / (1 + np.exp(-(np.log(9) + SLOPE * np.log(size / A90))))
        found.append(fit_hits(size.tolist(), (random.random(planted) < chance).tolist()).a90_95)
    known = [one for one in found if one is not None]
    return {
        "planted": planted,
        "draws": draws,
        "large_enough": float(np.mean([one is None or one >= A90 for one in found])),
        "none": float(np.mean([one is None for one in found])),
        "median_over_true": float(np.median(known)) / A90,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    result: dict[str, list[dict[str, Any]]] = {"sizes": [sizes(count, given.draws // 4) for count in (30, 60, 180)]}
    result["false_alarms"] = []
    for images in (10, 30, 100, 1000):
        for law in LAWS:
            result["false_alarms"].append(false_alarms(law, images, given.draws))
            print(json.dumps(result["false_alarms"][-1]), flush=True)
            given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
