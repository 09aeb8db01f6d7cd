"""Which rule places a threshold nearest to a rate, on real good scores: by counting, or by the law of the upper tail.

    python benchmarks/threshold_rules.py BUNDLE ... --out FILE [--draws 200]

A bundle's scores of good images are a population. Some of them are drawn, a rule sets the threshold for the least rate
that so many can promise, or for 1 % where that is more, and the others say which rate it has. No image of a defect is
looked at. Errors are those of the logarithm of the rate; `excess` is by how much the threshold lies above the true one,
as a share of the distance of that from a typical good part: what defects have to be stronger by. Populations of fewer
than twice as many scores are left out.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead import Bundle
from edgead_calibration.tails import fit_tail
from edgead_calibration.thresholds import fit_thresholds, least_rate

Scores = NDArray[np.float64]
RATE = 0.01
SIZES = (10, 23, 30, 60, 99, 200)


def counted(scores: Scores, rate: float) -> float:
    """The score that counting picks."""
    n = len(scores)
    return float(np.sort(scores)[min(n, math.ceil((n + 1) * (1 - rate) - 1e-9)) - 1])


RULES: dict[str, Callable[[Scores, float], float]] = {
    "counted": counted,
    "tail": lambda scores, rate: fit_thresholds(scores.tolist(), scores.tolist(), RATE).image,
    "extrapolated": lambda scores, rate: fit_tail(scores).quantile(RATE),
}


def compare(populations: list[Scores], images: int, draws: int) -> dict[str, Any]:
    """The figures of every rule for draws of so many images."""
    random, rate = np.random.default_rng(0), max(RATE, least_rate(images))
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in RULES}
    for scores in populations:
        true, typical = np.quantile(scores, 1 - rate), np.median(scores)
        for _ in range(draws):
            order = random.permutation(len(scores))
            drawn, rest = scores[order[:images]], scores[order[images:]]
            for name, rule in RULES.items():
                threshold = rule(drawn, rate)
                rows[name].append((float(np.mean(rest > threshold)), float((threshold - true) / (true - typical))))
    return {"images": images, "aimed_rate": rate, "populations": len(populations)} | {
        name: _summary(np.asarray(pairs), rate) for name, pairs in rows.items()
    }


def _summary(pairs: Scores, rate: float) -> dict[str, Any]:
    rates, excess = pairs.T
    logs = np.log(np.maximum(rates, 1e-3) / rate)  # 0.1 % is the least that the rest of a population can tell
    return {
        "rate_mean": round(float(rates.mean()), 5),
        "rate_quantiles": np.quantile(rates, [0.05, 0.5, 0.95]).round(5).tolist(),
        "error": round(float(np.sqrt(np.mean(logs**2))), 3),
        "excess_quantiles": np.quantile(excess, [0.1, 0.5, 0.9]).round(3).tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    opened = [Bundle.open(path) for path in given.bundles]
    populations = [np.asarray(one.manifest.artifact("fp32").good_scores) for one in opened]
    result: dict[str, Any] = {"sets": [path.stem for path in given.bundles], "draws": given.draws, "sizes": []}
    for images in SIZES:
        large = [scores for scores in populations if len(scores) >= 2 * images]
        result["sizes"].append(compare(large, images, given.draws))
        print(json.dumps(result["sizes"][-1]), flush=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
