"""Fits the matching of objects to good images: the bank, its objects and slots, and what every cost is usually.

Whatever is measured of a good image is measured as if it were not in the bank, so that costs are those of a new part.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgead.bundle import FusionSpec, KindSpec, MatchingSpec, Scale, SlotSpec
from edgead.errors import DataError
from edgead.ops.descriptors import unit
from edgead.ops.fuse import image_score
from edgead.ops.matching import FARTHEST, logical_score, measure, object_map, score_objects, standardize
from edgead.ops.measuring import Measured
from edgead.ops.references import References
from edgead.ops.scene import Scene
from edgead.types import MapF32
from edgead_calibration.images import choose
from edgead_calibration.object_slots import find_slots, merge_slots
from edgead_calibration.transport import calibrate_transport

FEWEST = 4  # good images with the usual number of objects, without which nothing can be matched
COMPONENTS = 64  # principal components of boxes
SHRINKAGE = 0.2  # of the spread within kinds towards that of a sphere
SAMPLED = 1000  # boxes from which they are computed
POOLED = 10.0  # objects whose spread a kind's is mixed with
USUAL = 0.75, 0.6745  # the same of branches: some good images are seen wrongly, and must not widen them
UPPER = 0.9  # quantile of good objects' costs that says how wide they spread
NORMAL = 1.2816  # standard deviations that it lies above the median
LEAST = 0.05  # of the median: the smallest spread
PLACED = 0.01  # sides of the picture, the smallest spread of places
SIZED = 0.03  # the smallest spread of logarithms of areas
NOTABLE = 0.95  # quantile of the worst cost of good images
ALWAYS = 3.0  # standard deviations that are never notable
SURELY = 0.75 * FARTHEST  # and that always are
SELDOM = 0.05  # of the good images, in which an object too many or too few is the fault of the masks
NARROWEST = 1e-3  # the least spread of scores
UNIT = Scale(center=0.0, spread=1.0)
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class FittedMatching:
    """The bank with its spec, and what was measured of the good images as if each were new."""

    references: References
    measured: list[Measured]  # of all scenes, in their order
    banked: list[int]  # which scenes are in the bank


def fit_matching(scenes: Sequence[Scene], draft: MatchingSpec, most: int, seed: int) -> FittedMatching:
    """The matching of good images' scenes, with at most `most` of them in the bank (`choose`).

    Of `draft` everything is taken that is no number fitted here. Only scenes with the usual number of objects are
    references. Raises DataError where there are fewer than `FEWEST` of them.
    """
    usable = [index for index, one in enumerate(scenes) if _is_whole(one, draft.proposals.count)]
    if len(usable) < FEWEST:
        raise DataError(
            f"{len(usable)} of {len(scenes)} good images show {draft.proposals.count} objects and {FEWEST} must: "
            "give more good images, set limits of area (--set smallest=SHARE), or take --method csad"
        )
    keys = np.stack([scenes[index].key(draft.bank_height, draft.bank_width) for index in usable])
    kept = choose(keys.astype(np.float32), most, seed)
    banked = [usable[index] for index in kept]
    references = _references([scenes[index] for index in banked], keys[kept], draft, seed)
    place_in_bank = {index: place for place, index in enumerate(banked)}
    measured = [
        measure(one, references, (place_in_bank[index],) if index in place_in_bank else ())
        for index, one in enumerate(scenes)
    ]
    return FittedMatching(_scaled(references, measured), measured, banked)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The spec with the scales of both branches, and the readings of good images as new parts would have them."""

    spec: MatchingSpec
    scores: NDArray[np.float64]  # (N,) raw image scores
    maxima: NDArray[np.float64]  # (N,) the largest values of their maps


def fit_branches(
    fitted: FittedMatching, scenes: Sequence[Scene], fused: Sequence[MapF32], fusion: FusionSpec
) -> Judged:
    """The weight of the objects' map and the scales of both branches, from good images left out: `fused` are their maps
    without objects, (h, w) each, by whatever was fitted without them."""
    references, spec = fitted.references, fitted.references.spec
    deviations = [standardize(one, spec) for one in fitted.measured]
    maps = [
        object_map(scene, one, away, references, (fusion.height, fusion.width))
        for scene, one, away in zip(scenes, fitted.measured, deviations, strict=True)
    ]
    weight = 1 / _usual(np.array([image_score(one, fusion) for one in maps]), NARROWEST, *USUAL)[1]
    added = [one + np.float32(weight) * other for one, other in zip(fused, maps, strict=True)]
    structural = np.array([image_score(one, fusion) for one in added])
    logical = np.array([score_objects(*pair, spec) for pair in zip(deviations, fitted.measured, strict=True)])
    usual = [_usual(values, NARROWEST, *USUAL) for values in (logical, structural)]
    scales = [Scale(center=center, spread=spread) for center, spread in usual]
    spec = msgspec.structs.replace(spec, weight=float(weight), logical=scales[0], structural=scales[1])
    counts = [logical_score(*pair, spec) for pair in zip(deviations, fitted.measured, strict=True)]
    scores = np.array(counts) + np.array([scales[1].apply(value) for value in structural])
    return Judged(spec, scores, np.array([float(one.max()) for one in added]))


def _is_whole(scene: Scene, count: int) -> bool:
    """Whether a scene has the usual number of objects, none of which hides another on the grid."""
    labels = scene.labels  # of which none may be 0: where the ground is an object too
    return len(scene.places) == count == len(np.unique(labels[labels > 0]))


def _references(scenes: Sequence[Scene], keys: NDArray[np.float16], draft: MatchingSpec, seed: int) -> References:
    """The bank with its slots and kinds, and with what matching costs."""
    boxes = np.concatenate([one.boxes for one in scenes])
    mean_box, components = principal_components(boxes, seed)
    described = np.concatenate([one.described for one in scenes])
    center = described.mean(axis=0)
    away = described - center
    images = np.repeat(np.arange(len(scenes)), draft.proposals.count)
    places = np.concatenate([one.places for one in scenes])
    chosen = [images == image for image in range(len(scenes))]
    descriptors, projected = unit(away), np.asarray((boxes - mean_box) @ components.T, np.float32)

    def sides(directions: Rows) -> list[tuple[Rows, Rows, Rows]]:
        return [(descriptors[rows], directions[rows], places[rows]) for rows in chosen]

    directions = unit(projected)
    found = find_slots(sides(directions), seed)
    slots = np.concatenate(found.slots)
    kinds = merge_slots(directions, slots, images)
    weighing = weigh_components(projected, kinds[slots])
    weighed = unit(np.asarray(projected @ weighing, np.float32))
    temperature, dustbin = calibrate_transport(sides(weighed), found, draft, seed)
    of_kind = [np.isin(slots, np.flatnonzero(kinds == number)) for number in range(int(kinds.max()) + 1)]
    spec = msgspec.structs.replace(
        draft,
        place=found.place,
        area=found.area,
        temperature=temperature,
        dustbin=dustbin,
        kinds=tuple(_kind(number, places[rows]) for number, rows in enumerate(of_kind)),
        slots=tuple(_slot(int(kinds[slot]), places[slots == slot]) for slot in range(len(kinds))),
    )
    table = np.column_stack([images, slots, places]).astype(np.float32)
    labels = np.stack([one.labels for one in scenes])
    projection = np.asarray(weighing @ components, np.float32)
    return References(spec, keys, labels, table, center, away, boxes.astype(np.float16), mean_box, projection)


def principal_components(rows: Rows, seed: int) -> tuple[Rows, Rows]:
    """The mean (C,) and at most `COMPONENTS` directions (D, C) of most variance, of length 1; one at least."""
    random = np.random.default_rng(seed)
    some = rows if len(rows) <= SAMPLED else rows[random.choice(len(rows), SAMPLED, replace=False)]
    mean = some.mean(axis=0)
    away = (some - mean).astype(np.float64)
    values, vectors = np.linalg.eigh(away @ away.T)
    kept = np.flatnonzero(values >= max(1e-6 * values[-1], min(1e-12, values[-1])))[::-1][:COMPONENTS]
    directions = vectors[:, kept].T @ away
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    return mean, (directions / np.maximum(lengths, 1e-12)).astype(np.float32)


def weigh_components(projected: Rows, kinds: NDArray[np.intp]) -> Rows:
    """What makes principal components (M, D) equally wide within kinds, symmetric (D, D): how objects of one kind
    differ from one another says nothing of what is wrong or which kind one is (Fisher's discriminant analysis, the
    spread within kinds shrunk as Ledoit and Wolf do)."""
    centers = np.stack([projected[kinds == kind].mean(axis=0) for kind in range(int(kinds.max()) + 1)])
    within = (projected - centers[kinds]).astype(np.float64)
    spread = within.T @ within / len(within)
    sphere = max(float(np.trace(spread)) / len(spread), 1e-12) * np.eye(len(spread))
    values, vectors = np.linalg.eigh((1 - SHRINKAGE) * spread + SHRINKAGE * sphere)
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T, np.float32)


def _kind(number: int, places: Rows) -> KindSpec:
    area = float(np.exp(np.log(places[:, 2]).mean()))
    return KindSpec(name=f"object {number + 1}", appearance=UNIT, place=UNIT, size=UNIT, surface=UNIT, area=area)


def _slot(kind: int, places: Rows) -> SlotSpec:
    x, y = (float(value) for value in places[:, :2].mean(axis=0))
    spread = float(np.hypot(*places[:, :2].std(axis=0)))
    return SlotSpec(kind=kind, x=x, y=y, spread=spread)


def _scaled(references: References, measured: Sequence[Measured]) -> References:
    """The references with the scales of all costs, and with what counts."""
    spec = references.spec
    fields = ("appearance", "place", "size", "surface")
    rows = [  # kind, costs
        (spec.slots[slot].kind, *(float(getattr(one, field)[index]) for field in fields))
        for one in measured
        for index, slot in enumerate(one.slots)
        if slot >= 0
    ]
    table = np.array(rows)
    floors = (0.0, PLACED, SIZED, 0.0)
    columns = list(enumerate(zip(fields, floors, strict=True), start=1))
    pooled = {field: _usual(table[:, column], least) for column, (field, least) in columns}
    kinds = []
    for number, kind in enumerate(spec.kinds):
        own = table[table[:, 0] == number]
        scales = {field: _mixed(own[:, column], pooled[field], least) for column, (field, least) in columns}
        kinds.append(msgspec.structs.replace(kind, **scales))
    spec = msgspec.structs.replace(spec, kinds=tuple(kinds))
    return replace(references, spec=msgspec.structs.replace(spec, **_what_counts(spec, measured)))


def _what_counts(spec: MatchingSpec, measured: Sequence[Measured]) -> dict[str, Any]:
    """What is notable, and what an object counts that is extra or missing: as much as what is as rare among good images
    counts otherwise."""
    free = msgspec.structs.replace(spec, extra=0.0, missing=0.0)
    deviations = [standardize(one, free) for one in measured]
    worst = np.array([float(one[:3].max(initial=0)) for one in deviations])
    scores = np.array([score_objects(*pair, free) for pair in zip(deviations, measured, strict=True)])
    extra = np.array([(one.slots < 0).any() for one in measured])
    missing = np.array([len(one.missing) > 0 for one in measured])
    usual = scores[~(extra | missing)]
    scores = usual if len(usual) else scores
    return {
        "notable": min(SURELY, max(ALWAYS, float(np.quantile(worst, NOTABLE)))),
        "extra": _worth(scores, float(extra.mean())),
        "missing": _worth(scores, float(missing.mean())),
    }


def _worth(scores: NDArray[np.float64], rate: float) -> float:
    """As much as an object that looks like nothing good; where good images often show it, the score that as many of
    them exceed."""
    return FARTHEST if rate <= SELDOM else max(ALWAYS, float(np.quantile(scores, 1 - min(rate, 0.5))))


def _usual(
    values: NDArray[np.float64], least: float, upper: float = UPPER, normal: float = NORMAL
) -> tuple[float, float]:
    """The median of costs, and how wide the larger ones spread."""
    if not len(values):
        return 0.0, 1.0
    center = float(np.median(values))
    return center, max((float(np.quantile(values, upper)) - center) / normal, LEAST * abs(center), least, 1e-6)


def _mixed(values: NDArray[np.float64], pooled: tuple[float, float], least: float) -> Scale:
    """The scale of one kind's costs, the fewer they are the more that of all kinds."""
    center, spread = _usual(values, least)
    own = len(values) / (len(values) + POOLED)
    return Scale(center=own * center + (1 - own) * pooled[0], spread=own * spread + (1 - own) * pooled[1])


def members_of(references: References) -> dict[str, bytes]:
    """The members that the spec names."""
    spec = references.spec
    arrays: dict[str, NDArray[Any]] = {
        spec.bank: references.bank,
        spec.labels: references.labels,
        spec.objects: references.table,
        spec.descriptors: np.concatenate([references.center[None], references.away]).astype(np.float32),
        spec.boxes: references.raw_boxes,
        spec.projection: np.concatenate([references.mean_box[None], references.components]).astype(np.float32),
    }
    if spec.proposals.scenery is not None and references.scenery is not None:
        arrays[spec.proposals.scenery] = references.scenery
    return {name: _npy(values) for name, values in arrays.items()}


def _npy(values: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(values))
    return buffer.getvalue()
