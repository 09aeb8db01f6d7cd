"""What bad parts among the good images cost: builds without training, on sets into which defective ones were mixed.

    python benchmarks/contamination.py DATA_SET ... --keep FOLDER --out FILE [--shares 0 0.01 0.05 0.1] [--seed 0]

For every share of the good images so many defective test images are linked among them under names of good ones, spread
over the list. Judged is what is left of the test side, the same images at every share. Written are how many of the
mixed-in images the build reports as outliers, how many good ones beside them, the AUROC, and what the threshold does.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from thresholds import at, make

from edgead import Bundle, Detector
from edgead.config import BuildConfig
from edgead.images import read_image
from edgead.system.device import describe_device
from edgead_tools.data import Dataset, Sample, open_dataset
from edgead_tools.evaluation.metrics import image_auroc

MARK = "mixed-in"  # in the names of the defective images


def mix(dataset: Dataset, bad: list[Sample], folder: Path, random: np.random.Generator) -> Path:
    """A data set of links: the good images and, after every so many of them, one of the defective ones."""
    good = folder / "train" / "good"
    good.mkdir(parents=True, exist_ok=True)
    after = np.sort(random.choice(len(dataset.train), len(bad), replace=False))
    names = [f"{index:05d}-good" for index in range(len(dataset.train))]
    pairs = [
        *zip(names, dataset.train, strict=True),
        *((f"{index:05d}-{MARK}", one) for index, one in zip(after, bad, strict=True)),
    ]
    for name, sample in pairs:
        link = good / f"{name}{sample.path.suffix}"
        if not link.exists():
            link.symlink_to(sample.path.resolve())
    return folder


def figures(bundle: Bundle, judged: list[Sample], mixed: int) -> dict[str, Any]:
    """What the build reports, and how the bundle judges the images."""
    names = [one["image"] for one in bundle.manifest.provenance.get("outliers", [])]
    found = sum(MARK in name for name in names)
    with Detector(bundle, engine="onnx", precision="fp32", threads=1) as detector:
        scores = np.array([detector.read(read_image(sample.path)).score for sample in judged])
    bad = np.array([not sample.is_good for sample in judged])
    return {
        "mixed_in": mixed,
        "reported": found,
        "good_reported": len(names) - found,
        "image_auroc": image_auroc(scores, bad),
    } | at(bundle.manifest.artifact("fp32").thresholds.image, scores[~bad], scores[bad])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.01, 0.05, 0.1])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, required=True, help="folder for the bundles and the links")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    result: dict[str, Any] = {"device": describe_device(), "method": "stlm", "training": "0", "runs": []}
    for data in given.data:
        dataset = open_dataset(data)
        defective = [sample for sample in dataset.test if not sample.is_good]
        order = np.random.default_rng(given.seed).permutation(len(defective))
        counts = [round(share * len(dataset.train) / (1 - share)) for share in given.shares]
        if 2 * max(counts) > len(defective):
            parser.error(f"{data} has {len(defective)} defective images, and {max(counts)} would be mixed in")
        apart = {defective[index].name for index in order[: max(counts)]}
        judged = [sample for sample in dataset.test if sample.name not in apart]
        for share, count in zip(given.shares, counts, strict=True):
            name, random = f"{data.name}-{share:g}", np.random.default_rng(given.seed)
            root = mix(dataset, [defective[index] for index in order[:count]], given.keep / name, random)
            out = str(given.keep / f"{name}.edgead")
            bundle = make(BuildConfig(data=str(root), budget="0", seed=given.seed, out=out, threads=1))
            result["runs"].append({"set": data.name, "share": share} | figures(bundle, judged, count))
            print(json.dumps(result["runs"][-1]), flush=True)
            given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
