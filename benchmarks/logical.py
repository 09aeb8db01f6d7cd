"""Logical and structural anomalies apart: csad, stlm, sam_lad, PaDiM, PatchCore, and the nearest good patch.

    python tests/support/trays.py trays; python tests/support/panels.py panels
    python benchmarks/logical.py trays ... --keep FOLDER --out FILE [--steps 120] [--structural damaged]
    python benchmarks/logical.py trays ... --keep FOLDER --out FILE --methods csad sam_lad "sam_lad from csad"

Test images whose label is among `--structural` are structural anomalies, all others that are not good logical ones.
Bundles stay in the folder, and one that is there is not built again. The nearest patch is a plain PatchCore, without a
coreset's approximations: EfficientNet-Lite0's features at 1/8 and 1/16, smoothed over 3x3 cells and standardized, a
random twentieth of all good patches, and for each image the largest distance of a patch from the nearest of them. PaDiM
and PatchCore are those of `peer_models.py`. `A from B` takes the masks of objects from the bundle of B. What FILE holds
of other methods stays.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from comparison import features_of
from peer_models import padim, patchcore
from torch.nn import functional

from edgead import Bundle, Detector
from edgead.config import BuildConfig
from edgead.images import read_image
from edgead.ops import resize
from edgead.progress import ConsoleReporter
from edgead.system.device import describe_device
from edgead_tools.backbones.efficientnet_lite import load_efficientnet_lite, tensor_from
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.data import Dataset, open_dataset
from edgead_tools.evaluation.metrics import image_auroc
from edgead_tools.pipeline.build import build

KEPT = 0.05  # of the good patches
SIZE = 256
Score = Callable[[np.ndarray], float]


def nearest_patch(dataset: Dataset) -> Score:
    """A scorer of frames fitted to the training images."""
    trunk = load_efficientnet_lite(load_state(find("efficientnet-lite0")), taps=(4, 10))

    @torch.inference_mode()
    def patches(image: np.ndarray) -> torch.Tensor:
        fine, coarse = trunk(tensor_from(torch.from_numpy(resize(image, SIZE, SIZE)[None]))).values()
        large = functional.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
        smooth = functional.avg_pool2d(torch.cat([fine, large], 1), 3, 1, 1)
        return smooth[0].flatten(1).T

    rows = torch.cat([patches(read_image(sample.path)) for sample in dataset.train])
    mean, deviation = rows.mean(0), rows.std(0)
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[: int(KEPT * len(rows))]
    bank = (rows[chosen] - mean) / deviation
    return lambda image: float(torch.cdist((patches(image) - mean) / deviation, bank).min(1).values.max())


def judge(dataset: Dataset, score: Score, structural: set[str]) -> dict[str, Any]:
    """AUROC of logical and of structural anomalies, and of every label, against the good test images."""
    scores: dict[str, list[float]] = {}
    for sample in dataset.test:
        scores.setdefault(sample.label, []).append(score(read_image(sample.path)))
    good = scores.pop("good")

    def against(labels: list[str]) -> float | None:
        bad = [value for label in labels for value in scores[label]]
        if not bad:
            return None
        return round(image_auroc([*good, *bad], [0] * len(good) + [1] * len(bad)), 4)

    return {
        "logical": against([label for label in scores if label not in structural]),
        "structural": against([label for label in scores if label in structural]),
        "labels": {label: against([label]) for label in sorted(scores)},
        "images": {"good": len(good)} | {label: len(values) for label, values in sorted(scores.items())},
    }


def of_peers(dataset: Dataset, structural: set[str], keep: Path) -> dict[str, Any]:
    """The figures of PaDiM and of PatchCore with a tenth of all patches."""
    trunk = load_efficientnet_lite(load_state(find("efficientnet-lite0")), taps=(4, 10))
    train, test = features_of(dataset, trunk, keep)
    figures = {}
    for name, peer in (("padim", padim), ("patchcore", patchcore(0.1))):
        values = iter(peer(train, test, 0).scores.tolist())
        figures[name] = judge(dataset, lambda image, values=values: next(values), structural)  # type: ignore[misc]
    return figures


def of_bundle(config: BuildConfig, dataset: Dataset, structural: set[str]) -> dict[str, Any]:
    """The figures of the bundle of that configuration, from an earlier run if it is there; of its branches too."""
    path = config.bundle_path
    bundle = Bundle.open(path) if path.exists() else build(config, ConsoleReporter()).bundle
    seen: dict[str, list[float]] = {"logical": [], "structural": []}
    with Detector(bundle, threads=1) as detector:

        def score(image: np.ndarray) -> float:
            result = detector(image)
            if result.branches is not None:
                seen["logical"].append(result.branches.logical)
                seen["structural"].append(result.branches.structural)
            return result.raw_score

        figures = judge(dataset, score, structural)
    training = bundle.manifest.provenance["training"]
    for branch in ("logical", "structural"):
        if seen[branch]:
            values = iter(seen[branch])
            found = judge(dataset, lambda image, values=values: next(values), structural)  # type: ignore[misc]
            figures[f"{branch}_branch_alone"] = {name: found[name] for name in ("logical", "structural")}
    return figures | {
        "steps": training["steps"],
        "training_seconds": training["seconds"],
        "components": training.get("components"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--methods", nargs="+", default=["csad", "stlm", "sam_lad", "sam_lad from csad"])
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="edgead's methods alone")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--structural", nargs="*", default=["damaged"])
    parser.add_argument("--keep", type=Path, required=True, help="folder for the bundles")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    structural = set(given.structural)
    before = json.loads(given.out.read_text())["sets"] if given.out.exists() else {}
    result: dict[str, Any] = {"device": describe_device(), "sets": before}
    given.keep.mkdir(parents=True, exist_ok=True)
    for data in given.data:
        dataset = open_dataset(str(data))
        figures = before.get(data.name, {})
        if given.peers:
            figures["nearest patch"] = judge(dataset, nearest_patch(dataset), structural)
            figures |= of_peers(dataset, structural, given.keep)
            print(json.dumps({data.name: figures}), flush=True)
        for method in given.methods:
            name, _, source = method.partition(" from ")
            config = BuildConfig(
                method=name, data=str(data), steps=given.steps, threads=1,
                out=str(given.keep / f"{method.replace(' ', '-')}-{data.name}.edgead"),
                masks_from=str(given.keep / f"{source}-{data.name}.edgead") if source else "",
            )  # fmt: skip
            figures[method] = of_bundle(config, dataset, structural)
            print(json.dumps({data.name: {method: figures[method]}}), flush=True)
        result["sets"][data.name] = figures
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
