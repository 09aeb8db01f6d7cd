"""Whether a shipped threshold keeps its promise: false alarms and misses on labeled images, for several seeds.

    python benchmarks/thresholds.py DATA_SET ... --keep FOLDER --out FILE [--method stlm] [--budget 5m | --steps N]
                                    [--seeds 0 1 2]

For every build: the false alarms observed at the threshold asked for 1 %, beside the stated interval; the misses there,
and at the threshold that would have given the same false alarms in hindsight; the same for 1 % even of few images
(`extrapolated`), and by counting alone where that can place it (`counted`), as edgead set it before. What images allow
at 1 % are the misses where the law of the upper tail of the test side's good images has that rate. Bundles stay in the
folder, so that a broken-off run goes on.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead import Bundle, Detector
from edgead.config import BuildConfig
from edgead.images import read_image
from edgead.progress import ConsoleReporter
from edgead.system.device import describe_device
from edgead_calibration.tails import fit_tail
from edgead_calibration.thresholds import can_promise, fit_thresholds, rate_interval, without_outliers
from edgead_tools.data import open_dataset
from edgead_tools.pipeline.build import build

Scores = NDArray[np.float64]
RATE = 0.01


def make(config: BuildConfig) -> Bundle:
    """The bundle of that configuration, from an earlier run if it is there."""
    if config.bundle_path.exists():
        return Bundle.open(config.bundle_path)
    return build(config, ConsoleReporter(), fresh=True).bundle


def test_scores(bundle: Bundle, data: Path) -> tuple[Scores, Scores]:
    """Raw scores of the good and of the defective test images."""
    with Detector(bundle, engine="onnx", precision="fp32", threads=1) as detector:
        pairs = [(sample.is_good, detector.read(read_image(sample.path)).score) for sample in open_dataset(data).test]
    good, bad = ([score for is_good, score in pairs if is_good is wanted] for wanted in (True, False))
    return np.asarray(good), np.asarray(bad)


def counted(scores: Scores) -> float:
    """The threshold by the score that counting picks where scores are enough for the rate, else extrapolated."""
    ordered = np.sort(scores)
    n = len(ordered)
    if can_promise(n, RATE):
        return float(ordered[min(n, math.ceil((n + 1) * (1 - RATE))) - 1])
    return fit_tail(ordered).quantile(RATE)


def at(threshold: float, good: Scores, bad: Scores) -> dict[str, float]:
    """What a threshold does, beside the one that gives as many false alarms in hindsight and misses the least."""
    alarms = int((good > threshold).sum())
    hindsight = float(np.sort(good)[len(good) - alarms - 1]) if alarms < len(good) else -math.inf
    return {
        "threshold": threshold,
        "false_alarms": alarms / len(good),
        "misses": float((bad <= threshold).mean()),
        "misses_in_hindsight": float((bad <= hindsight).mean()),
    }


def figures(bundle: Bundle, data: Path) -> dict[str, Any]:
    """The figures of one build."""
    artifact, (good, bad) = bundle.manifest.artifact("fp32"), test_scores(bundle, data)
    stored, parts = (artifact.good_scores, artifact.good_maxima), artifact.good_parts
    fitted = fit_thresholds(*stored, RATE, artifact.good_margin, parts=parts)
    extrapolated = fit_thresholds(*stored, RATE, artifact.good_margin, parts=parts, extrapolate=True)
    shipped = at(fitted.image, good, bad)
    seen = rate_interval(len(good), round(shipped["false_alarms"] * len(good)))
    return {
        "good": fitted.images,
        "parts": fitted.counted,
        "outliers": len(bundle.manifest.provenance.get("outliers", [])),
        "aimed_rate": fitted.aimed_rate,
        "stated": fitted.interval,
        "observed": seen,  # what the test side's good images tell of the rate
        "agrees": seen[0] <= fitted.interval[1] and fitted.interval[0] <= seen[1],
        "inside": fitted.interval[0] <= shipped["false_alarms"] <= fitted.interval[1],
        "shipped": shipped,
        "extrapolated": at(extrapolated.image, good, bad),
        "counted": at(counted(without_outliers(*stored, parts)[0]), good, bad),
        "misses_allowed_at_rate": float((bad <= fit_tail(good).quantile(RATE)).mean()),
        "image_auroc": float(np.mean(good[:, None] < bad[None, :])),
        "test": [len(good), len(bad)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--method", default="stlm")
    parser.add_argument("--budget", default="")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--keep", type=Path, required=True, help="folder for the bundles")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "device": describe_device(),
        "method": given.method,
        "training": given.budget or f"{given.steps} steps",
        "runs": [],
    }
    for data in given.data:
        for seed in given.seeds:
            out = str(given.keep / f"{data.name}-{seed}.edgead")
            limits = {"budget": given.budget, "steps": given.steps}
            config = BuildConfig(method=given.method, data=str(data), seed=seed, out=out, threads=1, **limits)
            result["runs"].append({"set": data.name, "seed": seed} | figures(make(config), data))
            print(json.dumps(result["runs"][-1]), flush=True)
            given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
