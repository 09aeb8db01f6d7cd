"""Matches the objects of a picture with those of good images, and says what differs (SAM-LAD).

The nearest good images are found by their features. Objects are matched with those of each (OMM), and what the matches
say together gives every object its slot: one of the objects that every good picture has. What has no slot is extra, a
slot that has no object is missing. An object with a slot is measured against the good objects of its kind: how it
looks, where it lies, how large it is, and its features at each place (AMM). Every cost counts in standard deviations of
what objects of good images cost that were left out, so that all kinds share one scale.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.bundle.manifest import FusionSpec
from edgead.bundle.matching import MatchingSpec
from edgead.ops.descriptors import Vectors, align_map, box_of, unit
from edgead.ops.everything import Finder
from edgead.ops.findings import FIXED, find_objects
from edgead.ops.fuse import image_score, upsample
from edgead.ops.measuring import Measured, mahalanobis
from edgead.ops.references import References
from edgead.ops.scene import Scene, find_masks, see
from edgead.ops.transport import Pairs, assign, match_hungarian, match_sinkhorn
from edgead.types import Branches, ImageU8, MapF32

COUNTED = (1.0, 0.5)  # what the objects that differ most count in the score
FARTHEST = 8.0  # standard deviations beyond which an object looks, lies or measures like nothing good, however far
NEAREST = 3  # good objects of a kind whose mean distance says how strange one looks or lies
CROWD = 5  # good objects of a kind that the features of one are measured against


def score_pairs(
    one: tuple[Vectors, Vectors, Vectors], other: tuple[Vectors, Vectors, Vectors], place: float, area: float
) -> NDArray[np.float32]:
    """How much objects belong together, (M, N): the mean cosine of descriptors and of boxes, less what the distance of
    their places and the ratio of their areas cost. Each side has descriptors and boxes of length 1, and places (., 3).
    """
    (described, boxes, places), (others, other_boxes, other_places) = one, other
    alike = (described @ others.T + boxes @ other_boxes.T) / 2
    apart = np.linalg.norm(places[:, None, :2] - other_places[None, :, :2], axis=2)
    ratio = np.abs(np.log(places[:, None, 2] / other_places[None, :, 2]))
    return np.asarray(alike - place * apart - area * ratio, np.float32)


def measure(scene: Scene, references: References, without: Collection[int] = ()) -> Measured:
    """What is measured of a scene; as if the good images `without` were none."""
    spec = references.spec
    described, boxes = references.project(scene)
    directions = unit(boxes)
    images = references.nearest(scene, without)
    slots = _slots(described, directions, scene.places, references, images)
    usable = ~np.isin(references.images, list(without))
    closest = np.array([_closest(one, references, usable) for one in directions], np.intp)
    _fill_alike(slots, closest, scene.places, spec)
    missing = tuple(slot for slot in range(len(spec.slots)) if slot not in slots)
    count = len(scene.places)
    costs = np.zeros((4, count), np.float32)
    maps: list[MapF32] = []
    fits = np.zeros(count, np.float32)
    for index in range(count):
        distances = np.linalg.norm(references.directions - directions[index], axis=1)
        alike = np.sort(distances[usable & (references.kinds == closest[index])])
        fits[index] = spec.kinds[closest[index]].appearance.apply(float(alike[:NEAREST].mean()))
        kind = spec.slots[slots[index]].kind if slots[index] >= 0 else closest[index]
        mine = np.flatnonzero(usable & (references.kinds == kind))
        near = mine[np.argsort(distances[mine], kind="stable")[:CROWD]]
        costs[0, index] = distances[near[:NEAREST]].mean()
        apart = np.linalg.norm(references.places[mine, :2] - scene.places[index, :2], axis=1)
        costs[1, index] = np.sort(apart)[:NEAREST].mean()
        costs[2, index] = abs(np.log(scene.places[index, 2] / spec.kinds[kind].area))
        maps.append(_measure_surface(scene, index, references, near, images, slots[index]))
        costs[3, index] = maps[-1].mean()
    appearance, place, size, surface = costs
    return Measured(slots, missing, appearance, place, size, surface, maps, closest, fits)


def _slots(
    described: Vectors, directions: Vectors, places: Vectors, references: References, images: Sequence[int]
) -> NDArray[np.intp]:
    """The slot of every object, -1 for none: the one to one assignment that most of the images' matches speak for."""
    spec = references.spec
    votes = np.zeros((len(described), len(spec.slots)))
    for image in images:
        rows = references.objects_of(image)
        other = references.descriptors[rows], references.directions[rows], references.places[rows]
        scores = score_pairs((described, directions, places), other, spec.place, spec.area)
        for query, row in match(scores, spec):
            votes[query, references.slots[rows[row]]] += 1 + 1e-3 * float(scores[query, row])
    found = np.full(len(described), -1, np.intp)
    for query, slot in assign(-votes):
        if votes[query, slot] > 0:
            found[query] = slot
    _fill(found, places, spec)
    return found


def _closest(direction: Vectors, references: References, usable: NDArray[np.bool_]) -> int:
    """The kind of the good object that looks most like one."""
    alike = np.where(usable, references.directions @ direction, -np.inf)
    return int(references.kinds[alike.argmax()])


def _fill_alike(slots: NDArray[np.intp], closest: NDArray[np.intp], places: Vectors, spec: MatchingSpec) -> None:
    """Give what was matched with nothing the nearest free slot of the kind it looks like: it is not extra while one of
    its kind is missing."""
    for query in np.flatnonzero(slots < 0):
        x, y = places[query, :2]
        free = [
            (float(np.hypot(x - one.x, y - one.y)), slot)
            for slot, one in enumerate(spec.slots)
            if one.kind == closest[query] and slot not in slots
        ]
        if free:
            slots[query] = min(free)[1]


def _fill(slots: NDArray[np.intp], places: Vectors, spec: MatchingSpec) -> None:
    """Give what was matched with nothing the slot in whose fixed place it lies: it looks like nothing good there."""
    free = [slot for slot, one in enumerate(spec.slots) if one.spread < FIXED and slot not in slots]
    for query in np.flatnonzero(slots < 0):
        apart = [
            np.hypot(places[query, 0] - spec.slots[slot].x, places[query, 1] - spec.slots[slot].y) for slot in free
        ]
        if apart and min(apart) < FIXED:
            slots[query] = free.pop(int(np.argmin(apart)))


def match(scores: NDArray[np.float32], spec: MatchingSpec) -> Pairs:
    """The pairs that belong together by their scores (M, N)."""
    if spec.match == "hungarian":
        return match_hungarian(scores, spec.dustbin)
    tempered = np.asarray(scores / np.float32(spec.temperature), np.float32)
    return match_sinkhorn(tempered, spec.dustbin / spec.temperature, spec.iterations)


def _measure_surface(
    scene: Scene, index: int, references: References, near: NDArray[np.intp], images: Sequence[int], slot: int
) -> MapF32:
    """The distance of an object's features from its counterparts', over its box, (height, width) of the box."""
    spec = references.spec
    box = box_of(scene.masks[index])
    if spec.measure == "literal":
        return _measure_literally(scene, box, references, images)
    channels = len(scene.boxes[index]) // spec.box**2
    query = scene.boxes[index].reshape(channels, -1).T
    counterparts = references.raw_boxes[near].astype(np.float32).reshape(len(near), channels, -1).transpose(0, 2, 1)
    return align_map(mahalanobis(query, counterparts).reshape(spec.box, spec.box), box)


def _measure_literally(
    scene: Scene, box: tuple[int, int, int, int], references: References, images: Sequence[int]
) -> MapF32:
    """The distance of the features in a box from those of the images at the same places, on the bank's grid, brought
    to the box's own cells."""
    spec = references.spec
    left, top, right, bottom = box
    rows = slice(top * spec.bank_height // spec.height, -(-bottom * spec.bank_height // spec.height))
    columns = slice(left * spec.bank_width // spec.width, -(-right * spec.bank_width // spec.width))
    inside = scene.features(spec.bank_height, spec.bank_width)[:, rows, columns]
    others = np.stack([references.features(image)[:, rows, columns] for image in images])
    counterparts = others.reshape(len(images), len(inside), -1).transpose(0, 2, 1)
    found = mahalanobis(inside.reshape(len(inside), -1).T, counterparts).reshape(inside.shape[1:])
    return align_map(found, box)


def judge_objects(
    image: ImageU8, outputs: Mapping[str, MapF32], fused: MapF32, fusion: FusionSpec, references: References,
    mask: MapF32 | None = None, finder: Finder | None = None,
) -> tuple[MapF32, float, Branches]:  # fmt: skip
    """The map with the objects' added, the raw image score, and its branches.

    `image` (H, W, 3) BGR uint8 is the frame at the network's size, `outputs` are the graph's of it, without a batch,
    and `fused` is their fused map. `mask` is what the map is judged in; objects are judged in the whole frame.
    """
    spec = references.spec
    scene = see(find_masks(image, outputs, spec.proposals, references.scenery, finder), outputs, spec)
    return judge_scene(scene, measure(scene, references), fused, fusion, references, mask)


def judge_scene(
    scene: Scene, measured: Measured, fused: MapF32, fusion: FusionSpec, references: References,
    mask: MapF32 | None = None,
) -> tuple[MapF32, float, Branches]:  # fmt: skip
    """What `judge_objects` gives, of a scene that was measured."""
    spec = references.spec
    deviations = standardize(measured, spec)
    differing = object_map(scene, measured, deviations, references, fused.shape)
    anomaly_map = fused + np.float32(spec.weight) * (differing if mask is None else differing * mask)
    logical = logical_score(deviations, measured, spec)
    structural = spec.structural.apply(image_score(anomaly_map, fusion))
    found = find_objects(scene, measured, deviations, references)
    return anomaly_map, logical + structural, Branches(logical, structural, scene.labels, (), found)


def standardize(measured: Measured, spec: MatchingSpec) -> NDArray[np.float32]:
    """The costs of every object in standard deviations of its kind, (4, M): appearance, place, size, surface."""
    found = np.zeros((4, len(measured.slots)), np.float32)
    for index, slot in enumerate(measured.slots):
        kind = spec.kinds[spec.slots[slot].kind if slot >= 0 else measured.closest[index]]
        costs = measured.appearance, measured.place, measured.size, measured.surface
        scales = kind.appearance, kind.place, kind.size, kind.surface
        found[:, index] = [scale.apply(float(cost[index])) for cost, scale in zip(costs, scales, strict=True)]
    return np.minimum(found, np.float32(FARTHEST))


def logical_score(deviations: NDArray[np.float32], measured: Measured, spec: MatchingSpec) -> float:
    """What differs, in spreads of good images; 0 where objects are not found reliably enough to count."""
    return spec.logical.apply(score_objects(deviations, measured, spec)) if spec.counted else 0.0


def score_objects(deviations: NDArray[np.float32], measured: Measured, spec: MatchingSpec) -> float:
    """What differs: what each object counts that is extra or missing, and the worst costs of the others."""
    extra = int((measured.slots < 0).sum())
    worst = np.sort(deviations[:3, measured.slots >= 0].max(axis=0, initial=0))[::-1][: len(COUNTED)]
    return spec.extra * extra + spec.missing * len(measured.missing) + float(worst @ COUNTED[: len(worst)])


def object_map(
    scene: Scene, measured: Measured, deviations: NDArray[np.float32], references: References, grid: tuple[int, ...]
) -> MapF32:
    """What differs, in standard deviations, on a grid (h, w): matched, unmatched and missing objects, smoothed."""
    found = upsample(_on_features(scene, measured, deviations, references), grid[0], grid[1])
    sigma = references.spec.sigma
    return np.asarray(cv2.GaussianBlur(found, (0, 0), sigma), np.float32) if sigma else found


def _on_features(scene: Scene, measured: Measured, deviations: NDArray[np.float32], references: References) -> MapF32:
    """The same on the grid of the features."""
    spec = references.spec
    found = np.zeros((spec.height, spec.width), np.float32)
    for index, slot in enumerate(measured.slots):
        if slot >= 0 and spec.light:
            continue
        kind = spec.kinds[spec.slots[slot].kind if slot >= 0 else measured.closest[index]]
        left, top, right, bottom = box_of(scene.masks[index])
        away = (measured.maps[index] - kind.surface.center) / np.float32(kind.surface.spread)
        away = np.minimum(away, np.float32(FARTHEST))
        least = float(deviations[:3, index].max()) if slot >= 0 else spec.extra
        if slot < 0 or least > spec.notable:
            away = np.maximum(away, np.float32(least))
        inside = scene.masks[index, top:bottom, left:right]
        region = found[top:bottom, left:right]
        np.copyto(region, np.maximum(region, away), where=inside)
    for slot in measured.missing:
        found[references.mask_of(slot)] = spec.missing
    return found
