"""Matched objects, part by part, on digits whose truth is known: is matched what belongs together, what is each choice
worth, and what does a larger bank cost?

    python benchmarks/object_parts.py --out FILE [--train 60] [--each 16] [--only costs]

Scenes are those of tests/support/digits.py. The network runs once, and every choice is fitted and judged on what it
gave, without the memory of good patches. Matches are right where both objects are the same digit; what there is to find
are the digits that both pictures have. A bank of another size is the fitted one, its pictures repeated with noise.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
import digits

from edgead.bundle import FusionSpec, MatchingSpec, ProposalSpec, Scale, ScoreSpec
from edgead.ops.findings import find_objects
from edgead.ops.fuse import image_score
from edgead.ops.matching import judge_scene, match, measure, object_map, score_objects, score_pairs, standardize
from edgead.ops.references import References
from edgead.ops.scene import Scene, find_masks, see
from edgead.system.device import describe_device
from edgead_calibration.matching import fit_branches, fit_matching
from edgead_calibration.object_proposals import fit_proposals
from edgead_calibration.objects import look, scene_of
from edgead_tools.backbones.efficientnet_lite import load_efficientnet_lite
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.components.foreground import CLUSTERS
from edgead_tools.evaluation.metrics import image_auroc
from edgead_tools.evaluation.report.plots import Point, scatter
from edgead_tools.methods import TrainingImages
from edgead_tools.methods.lite import lite_batches, lite_tensor
from edgead_tools.methods.sam_lad.edge import COARSE, KEPT, find_ground
from edgead_tools.methods.sam_lad.network import (
    FEATURES,
    GroundClusters,
    ObjectFeatures,
    read_outputs,
    standardize_taps,
)
from edgead_tools.methods.sam_lad.options import MatchingOptions, draft_matching
from edgead_tools.training.run import Run

CHOICES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "upsample 1": {"upsample": 1},
    "upsample 2": {"upsample": 2},
    "upsample 8": {"upsample": 8},
    "descriptor gap": {"descriptor": "gap"},
    "descriptor gmp": {"descriptor": "gmp"},
    "descriptor literal": {"descriptor": "literal"},
    "neighbors 1": {"neighbors": 1},
    "neighbors 2": {"neighbors": 2},
    "match hungarian": {"match": "hungarian"},
    "measure literal": {"measure": "literal"},
}
FITTING = {"missing": "missing", "swapped": "moved", "flipped": "changed", "zero": "changed"}
FOUND = 0.95  # quantile of the good scenes' scores, above which one is found
PLACES_OFF = "places off"
Outputs = Mapping[str, np.ndarray]
Keep = Callable[..., None]  # part of the result by name


@dataclass(frozen=True)
class Seen:
    """Every picture with what the network gives of it."""

    draft: MatchingSpec
    train: list[tuple[np.ndarray, Outputs]]
    test: dict[str, list[tuple[digits.Scene, Outputs]]]
    network_ms: float


def run_network(train: int, each: int) -> Seen:
    """Draw the scenes, and run the edge form's network on them."""
    random = np.random.default_rng(0)
    learned = np.stack([digits.good(random, learned=True).picture for _ in range(train)])
    scenes = {"good": [digits.good(random) for _ in range(2 * each)]}
    scenes |= {name: [make(random) for _ in range(each)] for name, make in digits.KINDS.items()}
    images = TrainingImages(learned[: train * 9 // 10], learned[train * 9 // 10 :])
    run = Run(Path(), budget=0, threads=1)
    trunk = load_efficientnet_lite(load_state(find("efficientnet-lite0")), further=1)
    levels = standardize_taps(trunk, lite_batches(images, "cpu"))
    ground = find_ground(trunk, levels, images, run)
    clusters = GroundClusters((trunk.channels[tap] for tap in trunk.taps), torch.from_numpy(ground.centers))
    network = ObjectFeatures(trunk, levels, clusters, None).eval()
    proposals = ProposalSpec(
        source="ground", count=1, smallest=0.0, largest=1.0, classes=CLUSTERS, ground=ground.certain
    )

    def outputs(pictures: np.ndarray) -> list[Outputs]:
        batches = (lite_tensor(pictures[at : at + 8], "cpu") for at in range(0, len(pictures), 8))
        return list(read_outputs(network, batches))

    seen = outputs(learned)
    start = time.perf_counter()
    tested = {name: outputs(np.stack([one.picture for one in group])) for name, group in scenes.items()}
    count = sum(len(group) for group in scenes.values())
    spent = 1e3 * (time.perf_counter() - start) / count
    draft = draft_matching(proposals, FEATURES, (1, 1), (1, 1), MatchingOptions())
    test = {name: list(zip(group, tested[name], strict=True)) for name, group in scenes.items()}
    return Seen(draft, list(zip(learned, seen, strict=True)), test, spent)


def fit(seen: Seen, choice: Mapping[str, Any]) -> tuple[References, FusionSpec]:
    """The references of the learned scenes with those options."""
    how = MatchingOptions(**choice)
    side = digits.SIDE
    grid, bank = side * how.upsample // COARSE, side // KEPT
    draft = draft_matching(seen.draft.proposals, FEATURES, (grid, grid), (bank, bank), how)
    looked = [look(image, outputs, draft) for image, outputs in seen.train]
    proposals = fit_proposals([one.masks for one in looked], draft.proposals)
    draft = msgspec.structs.replace(draft, proposals=proposals.spec)
    scenes = [scene_of(one, proposals, draft).reduced(bank, bank) for one in looked]
    fusion = FusionSpec(maps=(), height=side // 8, width=side // 8, score=ScoreSpec(top=10), matching=draft)
    fitted = fit_matching(scenes, draft, how.bank, 0)
    nothing = [np.zeros((fusion.height, fusion.width), np.float32) for _ in scenes]
    judged = fit_branches(fitted, scenes, nothing, fusion)
    references = dataclasses.replace(fitted.references, spec=judged.spec, scenery=proposals.scenery)
    return references, msgspec.structs.replace(fusion, matching=judged.spec)


def scene_in(picture: np.ndarray, outputs: Outputs, references: References) -> Scene:
    masks = find_masks(picture, outputs, references.spec.proposals, references.scenery)
    return see(masks, outputs, references.spec)


def digit_at(places: np.ndarray, truth: tuple[int | None, ...]) -> list[int | None]:
    """The digit of every object, by the place of the grid in which it lies."""
    return [truth[3 * min(2, int(3 * y)) + min(2, int(3 * x))] for x, y, _ in places]


def judge(seen: Seen, references: References, fusion: FusionSpec) -> dict[str, Any]:
    """AUROC of each kind and of all, how many of those found are named rightly, and precision, recall and F1 of matches
    with the near pictures."""
    scores: dict[str, list[float]] = {}
    said: dict[str, list[set[str]]] = {}
    right = found = possible = 0
    flat = np.zeros((fusion.height, fusion.width), np.float32)
    for name, group in seen.test.items():
        for scene, outputs in group:
            one = scene_in(scene.picture, outputs, references)
            measured = measure(one, references)
            _, score, branches = judge_scene(one, measured, flat, fusion, references)
            scores.setdefault(name, []).append(score)
            said.setdefault(name, []).append({found.change for found in branches.objects})
            counts = matches(one, scene, references)
            right, found, possible = right + counts[0], found + counts[1], possible + counts[2]
    good = scores.pop("good")
    truth = {name: [0] * len(good) + [1] * len(bad) for name, bad in scores.items()}
    figures = {name: round(image_auroc([*good, *bad], truth[name]), 4) for name, bad in scores.items()}
    limit = float(np.quantile(good, FOUND))
    named = {
        name: [FITTING[name] in changes for score, changes in zip(bad, said[name], strict=True) if score > limit]
        for name, bad in scores.items()
    }
    precision, recall = right / max(1, found), right / max(1, possible)
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    rounded = {"precision": round(precision, 4), "recall": round(recall, 4), "f1": round(f1, 4)}
    names = {name: f"{sum(rightly)} of {len(rightly)}" for name, rightly in named.items()}
    return {
        "named": names,
        "auroc": figures,
        "mean": round(float(np.mean(list(figures.values()))), 4),
        "matching": rounded,
    }


def matches(one: Scene, scene: digits.Scene, references: References) -> tuple[int, int, int]:
    """How many matches with the near pictures are right, how many there are, and how many there should be."""
    spec = references.spec
    described, boxes = references.project(one)
    lengths = np.linalg.norm(boxes, axis=1, keepdims=True)
    own = digit_at(one.places, scene.digits)
    right = found = possible = 0
    for image in references.nearest(one):
        rows = references.objects_of(image)
        other = references.descriptors[rows], references.directions[rows], references.places[rows]
        theirs = digit_at(references.places[rows], tuple(range(1, 10)))
        scores = score_pairs((described, boxes / np.maximum(lengths, 1e-9), one.places), other, spec.place, spec.area)
        pairs = match(scores, spec)
        right += sum(own[a] is not None and own[a] == theirs[b] for a, b in pairs)
        found += len(pairs)
        possible += len({digit for digit in scene.digits if digit is not None} & set(theirs))
    return right, found, possible


def grown(references: References, images: int) -> References:
    """The references with so many pictures: its own, repeated with noise."""
    random = np.random.default_rng(0)
    count = len(references.bank)
    taken = np.arange(images) % count
    rows = np.concatenate([references.objects_of(int(image)) for image in taken])
    table = references.table[rows].copy()
    table[:, 0] = np.repeat(np.arange(images), [len(references.objects_of(int(image))) for image in taken])
    boxes = references.raw_boxes[rows]
    boxes += random.normal(0, 0.1, (1, boxes.shape[1])).astype(np.float16)
    bank = references.bank[taken] + random.normal(0, 0.1, (images, 1)).astype(np.float16)
    return References(
        references.spec, bank, references.labels[taken], table, references.center, references.away[rows], boxes,
        references.mean_box, references.components, references.scenery,
    )  # fmt: skip


def timed(function: Callable[[], Any], repeat: int) -> float:
    """The median time of a call, milliseconds."""
    function()
    spent = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        spent.append(1e3 * (time.perf_counter() - start))
    return round(float(np.median(spent)), 2)


def cost(seen: Seen, references: References, fusion: FusionSpec, repeat: int) -> dict[str, float]:
    """Milliseconds of each part on one picture, and megabytes of the bank."""
    scene, outputs = seen.test["good"][0]
    spec = references.spec
    masks = find_masks(scene.picture, outputs, spec.proposals, references.scenery)
    one = see(masks, outputs, spec)
    measured = measure(one, references)
    deviations = standardize(measured, spec)
    parts: dict[str, Callable[[], Any]] = {
        "masks": lambda: find_masks(scene.picture, outputs, spec.proposals, references.scenery),
        "descriptors": lambda: see(masks, outputs, spec),
        "near pictures": lambda: references.nearest(one),
        "matching and measuring": lambda: measure(one, references),
        "map and score": lambda: (
            image_score(object_map(one, measured, deviations, references, (32, 32)), fusion),
            score_objects(deviations, measured, spec),
            find_objects(one, measured, deviations, references),
        ),
    }
    found = {name: timed(function, repeat) for name, function in parts.items()}
    found["matching and measuring"] = round(found["matching and measuring"] - found["near pictures"], 2)
    arrays = (references.bank, references.labels, references.table, references.away, references.raw_boxes,
              references.descriptors, references.directions, references.boxes)  # fmt: skip
    return found | {"megabytes": round(sum(one.nbytes for one in arrays) / 2**20, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=60)
    parser.add_argument("--each", type=int, default=16)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 300, 1000, 3000, 10_000])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", choices=("costs", "choices"), help="half of it; the other half of FILE stays")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = json.loads(given.out.read_text()) if given.only and given.out.exists() else {}
    result |= {"device": describe_device(), "digits": digits.SOURCE, "train": given.train, "each": given.each}
    seen = run_network(given.train, given.each)

    def keep(**more: Any) -> None:
        result.update(more)
        given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

    references, fusion = fit(seen, {})
    if given.only != "choices":
        measure_costs(seen, references, fusion, given, keep)
    if given.only != "costs":
        measure_choices(seen, references, fusion, keep)


def measure_costs(
    seen: Seen, references: References, fusion: FusionSpec, given: argparse.Namespace, keep: Keep
) -> None:
    """Latency by part, and by the size of the bank."""
    costs = {"network": round(seen.network_ms, 1)} | cost(seen, references, fusion, given.repeat)
    keep(parts=costs)
    banks = {size: cost(seen, grown(references, size), fusion, given.repeat) for size in given.sizes}
    keep(banks=banks)
    points = []
    for size, one in banks.items():
        spent = sum(value for name, value in one.items() if name != "megabytes")
        points.append(Point(f"{size} images", "milliseconds", one["megabytes"], spent))
    title = "SAM-LAD, edge form: time of everything after the network over the bank's memory"
    axes = {"x": "megabytes of the bank in memory", "y": "milliseconds a picture, one thread"}
    picture = scatter(points, **axes, title=title, front=False)
    given.out.with_suffix(".svg").write_text(picture, encoding="utf-8")


def measure_choices(seen: Seen, references: References, fusion: FusionSpec, keep: Keep) -> None:
    """What each choice is worth, with places and without: in a grid places alone say what belongs together."""
    choices: dict[str, Any] = {}
    for name, choice in CHOICES.items():
        chosen, rules = (references, fusion) if not choice else fit(seen, choice)
        choices[name] = judge(seen, chosen, rules)
        if not choice or choice.keys() & {"descriptor", "neighbors", "match"}:
            choices[f"{name}, {PLACES_OFF}"] = judge(seen, *without_places(chosen, rules))
        keep(choices=choices)
        print(json.dumps({name: choices[name]}), flush=True)


def without_places(references: References, fusion: FusionSpec) -> tuple[References, FusionSpec]:
    """The same where a place costs nothing, neither in matching nor in the score."""
    never = Scale(center=0.0, spread=1e9)
    kinds = tuple(msgspec.structs.replace(kind, place=never) for kind in references.spec.kinds)
    spec = msgspec.structs.replace(references.spec, place=0.0, kinds=kinds)
    return dataclasses.replace(references, spec=spec), msgspec.structs.replace(fusion, matching=spec)


if __name__ == "__main__":
    main()
