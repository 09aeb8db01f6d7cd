"""edgead beside PaDiM, PatchCore and STFPM on every development set: the same images in one run, several seeds.

    python benchmarks/comparison.py DATA_FOLDER --keep FOLDER --out FILE [--seeds 0 1 2] [--models NAME ...] [--quick]

edgead's forms are whole builds (what they keep aside for thresholds they do not learn from), the peers those of
`peer_models.py`, which learn from all good images. A seed is that of the build, and for the peers of the choice of
patches and of nine tenths of the good images, so that their spread is that of the images too. Sets at odd places of the
table are for choosing between ways, those at even places for reporting. Every figure is written as soon as it is there,
and one that is there is not measured again. `--quick` takes three small sets and one seed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import cv2
import numpy as np
import torch
from peer_models import CHUNK, Features, Found, padim, patchcore, stfpm

from edgead.config import BuildConfig
from edgead.images import read_image
from edgead.ops import resize, upsample
from edgead.progress import Reporter
from edgead.system.device import describe_device, describe_state
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite, load_efficientnet_lite
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.data import Dataset, open_dataset, read_mask
from edgead_tools.evaluation.metrics import PixelScores, image_auroc
from edgead_tools.methods.lite import lite_tensor
from edgead_tools.pipeline.build import build
from edgead_tools.pipeline.demo import lay_out

SETS = ("casting", "glass_fibre", "aliens", "screw_presence", "elpv", "magnetic_tile", "bottle", "dice", "cubes")
QUICK = ("aliens", "screw_presence", "glass_fibre")
SIZE = 256
FIT_SHARE = 0.9  # of the good images, that a peer learns from under one seed
Figures = dict[str, Any]


class Quiet(Reporter):
    """Says nothing."""


def features_of(dataset: Dataset, trunk: EfficientNetLite, keep: Path) -> tuple[Features, Features]:
    """Those of the good images and of the test side; an earlier run's are taken."""
    file = keep / f"{dataset.root.name}.npz"
    learned = (*dataset.train, *dataset.validation)
    if not file.exists():
        images = np.stack([resize(read_image(one.path), SIZE, SIZE) for one in (*learned, *dataset.test)])
        taps: list[list[np.ndarray]] = [[], []]
        with torch.no_grad():
            for start in range(0, len(images), CHUNK):
                for level, tap in zip(
                    taps, trunk(lite_tensor(images[start : start + CHUNK], "cpu")).values(), strict=True
                ):
                    level.append(tap.half().contiguous().numpy())
        np.savez(file, images=images, fine=np.concatenate(taps[0]), coarse=np.concatenate(taps[1]))
    found = np.load(file)
    every = Features(torch.from_numpy(found["fine"]), torch.from_numpy(found["coarse"]), found["images"])
    rows = np.arange(len(every))
    return every.of(rows[: len(learned)]), every.of(rows[len(learned) :])


def judge(dataset: Dataset, found: Found) -> Figures:
    """The figures of one model's maps and scores of the test side."""
    bad = np.array([not one.is_good for one in dataset.test])
    figures: Figures = {"image_auroc": image_auroc(found.scores, bad)}
    if dataset.has_masks:
        scores = PixelScores()
        for one, sample in zip(found.maps, dataset.test, strict=True):
            scores.add(upsample(one, SIZE, SIZE), read_mask(sample, SIZE, SIZE))
        figures["aupro"] = scores.curve().area(0.3)
    return figures


def measure_peer(
    fit: Callable[[Features, Features, int], Found], dataset: Dataset, sides: tuple[Features, Features], seed: int
) -> Figures:
    train, test = sides
    random = np.random.default_rng(seed)
    kept = np.sort(random.permutation(len(train))[: round(FIT_SHARE * len(train))])
    start = time.monotonic()
    with torch.inference_mode(mode=fit.__qualname__.partition(".")[0] != "stfpm"):
        found = fit(train.of(kept), test, seed)
    return judge(dataset, found) | {"seconds": round(time.monotonic() - start, 1)}


def measure_ours(config: BuildConfig) -> Figures:
    """A build's figures, and what it found of the part."""
    start = time.monotonic()
    built = build(config, Quiet(), fresh=True)
    card = built.bundle.manifest.provenance
    names = ("image_auroc", "aupro", "false_alarm_rate", "miss_rate", "latency_ms")
    figures = {name: card["measured"][name] for name in names if card["measured"][name] is not None}
    figures |= {"seconds": round(time.monotonic() - start, 1), "steps": card["training"]["steps"]}
    return figures | {name: card["training"][name] for name in ("memory", "auto") if name in card["training"]}


def ours(name: str, dataset: Dataset, seed: int, keep: Path) -> BuildConfig:
    """The build that a name such as `memory`, `auto`, `stlm 300` (steps) or `stlm 60s` (budget) stands for."""
    method, _, amount = name.partition(" ")
    trained = {"steps": int(amount)} if amount.isdecimal() else {"budget": amount or "0"}
    return BuildConfig(
        method="stlm" if method == "memory" else method,
        data=str(dataset.root),
        seed=seed,
        threads=1,
        out=str(keep / f"{dataset.root.name}-{name.replace(' ', '-')}-{seed}.edgead"),
        **trained,
    )


def summary(sets: dict[str, Any]) -> dict[str, Any]:
    """Mean and spread over seeds of every model's figures on every set."""
    found: dict[str, Any] = {}
    for name, models in sets.items():
        for model, seeds in models.items():
            for figure in ("image_auroc", "aupro"):
                values = [one[figure] for one in seeds.values() if figure in one]
                if values:
                    spread = round(stdev(values), 4) if len(values) > 1 else None
                    entry = {"mean": round(mean(values), 4), "spread": spread, "seeds": len(values)}
                    found.setdefault(name, {}).setdefault(model, {})[figure] = entry
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", default=["memory", "PaDiM", "PatchCore 1 %", "PatchCore 10 %", "STFPM"])
    parser.add_argument("--stfpm-seconds", type=float, default=60.0)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    given.keep.mkdir(parents=True, exist_ok=True)
    trunk = load_efficientnet_lite(load_state(find("efficientnet-lite0", None)), "lite0", (4, 10))
    trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    peers = {"PaDiM": padim, "PatchCore 1 %": patchcore(0.01), "PatchCore 10 %": patchcore(0.1)}
    peers["STFPM"] = stfpm(trunk, 2.0 if given.quick else given.stfpm_seconds)
    result: dict[str, Any] = json.loads(given.out.read_text()) if given.out.exists() else {"sets": {}}
    for seed in given.seeds[:1] if given.quick else given.seeds:
        for name in QUICK if given.quick else given.sets:
            dataset = open_dataset(lay_out(given.keep / "elpv") if name == "elpv" else given.data / name)
            for model in given.models:
                done = result["sets"].setdefault(name, {}).setdefault(model, {})
                if str(seed) in done:
                    continue
                if model in peers:
                    done[str(seed)] = measure_peer(peers[model], dataset, features_of(dataset, trunk, given.keep), seed)
                else:
                    done[str(seed)] = measure_ours(ours(model, dataset, seed, given.keep))
                print(json.dumps({f"{name}, {model}, seed {seed}": done[str(seed)]}), flush=True)
                result |= {"device": describe_device(), "state": describe_state(), "size": SIZE}
                result |= {"choosing": SETS[::2], "reporting": SETS[1::2], "summary": summary(result["sets"])}
                given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
