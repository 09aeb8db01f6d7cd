"""Matching of objects: AUROC and the rightly named changes by kind, on scenes whose truth is known.

    python tests/support/digits.py digits
    python tests/support/trays.py trays
    python benchmarks/objects.py digits trays --keep FOLDER --out FILE [--each 24]

Bundles of `sam_lad` are built into the folder without training, and one that is there is not built again. A scene is
found where its score is above that of 95 % of the good ones, and named rightly where what is said of it is one of what
fits its label: a digit that is mirrored or is a zero has changed, one that lies in another's place has moved.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from edgead import Bundle, Detector, Result
from edgead.config import BuildConfig
from edgead.images import read_image
from edgead.progress import ConsoleReporter
from edgead.system.device import describe_device
from edgead_tools.data import open_dataset
from edgead_tools.evaluation.metrics import image_auroc
from edgead_tools.pipeline.build import build

FOUND = 0.95  # quantile of the good scenes' scores
FITTING = {  # label -> the changes of which one must be named
    "missing": {"missing"},
    "extra": {"extra"},
    "swapped": {"moved"},
    "misplaced": {"moved"},
    "flipped": {"changed"},
    "zero": {"changed"},
    "wrong_kind": {"changed", "missing", "extra"},
}


def judge(bundle: Bundle, data: Path, each: int) -> dict[str, Any]:
    """The figures of a bundle on the test images of a data set, at most `each` of a label and twice as many good."""
    results: dict[str, list[Result]] = {}
    with Detector(bundle, threads=1) as detector:
        for sample in open_dataset(str(data)).test:
            found = results.setdefault(sample.label, [])
            if len(found) < each * (2 if sample.is_good else 1):
                found.append(detector(read_image(sample.path)))
    good = results.pop("good")
    limit = float(np.quantile([one.raw_score for one in good], FOUND))
    figures: dict[str, Any] = {}
    for label, found in sorted(results.items()):
        truth = [0] * len(good) + [1] * len(found)
        scores = {
            "all": [one.raw_score for one in (*good, *found)],
            "logical": [one.branches.logical for one in (*good, *found) if one.branches],
            "structural": [one.branches.structural for one in (*good, *found) if one.branches],
        }
        figures[label] = {f"auroc_{name}": round(image_auroc(values, truth), 4) for name, values in scores.items()}
        above = [one for one in found if one.raw_score > limit]
        figures[label] |= {"images": len(found), "found": len(above), "refused": sum(one.is_anomalous for one in found)}
        if label in FITTING:
            said = [{each.change for each in one.branches.objects} for one in above if one.branches]
            figures[label]["named"] = sum(bool(changes & FITTING[label]) for changes in said)
    times = np.median([(one.timings.infer, one.timings.postprocess) for one in good], axis=0)
    return {
        "good": {"images": len(good), "refused": sum(one.is_anomalous for one in good)},
        "labels": figures,
        "milliseconds": {"network": round(float(times[0]), 1), "matching": round(float(times[1]), 1)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--each", type=int, default=50)
    parser.add_argument("--keep", type=Path, required=True, help="folder for the bundles")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    result: dict[str, Any] = {"device": describe_device(), "sets": {}}
    for data in given.data:
        config = BuildConfig(
            method="sam_lad", data=str(data), budget="0", threads=1, out=str(given.keep / f"{data.name}.edgead")
        )
        path = config.bundle_path
        bundle = Bundle.open(path) if path.exists() else build(config, ConsoleReporter()).bundle
        training = bundle.manifest.provenance["training"]
        built = {"build_seconds": training["seconds"], "matching": training["matching"]}
        result["sets"][data.name] = built | judge(bundle, data, given.each)
        print(json.dumps({data.name: result["sets"][data.name]}), flush=True)
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
