"""Puts into words what is missing, extra, moved or changed among the objects of a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgead.bundle.matching import KindSpec, MatchingSpec
from edgead.ops.descriptors import box_of
from edgead.ops.measuring import Measured
from edgead.ops.places import third_in_words
from edgead.ops.references import References
from edgead.ops.scene import Scene
from edgead.types import Change, Mask, ObjectFinding

FIXED = 0.08  # sides of the picture: an object whose place spreads less than this has a fixed one
APPEARANCE, PLACE = 0, 1  # rows of the deviations
Deviations = NDArray[np.float32]  # (4, M): appearance, place, size and surface


def find_objects(
    scene: Scene, measured: Measured, deviations: Deviations, references: References
) -> tuple[ObjectFinding, ...]:
    """What is missing, extra, moved or changed, the strongest first."""
    spec = references.spec
    found = [_missing(slot, references) for slot in measured.missing]
    for index, slot in enumerate(measured.slots):
        mask, size = scene.masks[index], float(deviations[:3, index].max())
        if slot < 0:
            found.append(_finding("extra", spec.kinds[measured.closest[index]], mask, spec.extra))
        elif size > spec.notable:
            moved = _moved(index, measured, deviations, spec)
            kind = spec.slots[slot].kind if moved is None else moved
            found.append(_finding("changed" if moved is None else "moved", spec.kinds[kind], mask, size))
    return tuple(sorted(found, key=lambda one: -one.size))


def _moved(index: int, measured: Measured, deviations: Deviations, spec: MatchingSpec) -> int | None:
    """The kind of an object that lies elsewhere than good ones; None for one that differs in another way.

    It may be matched as what it is, and be far away. Or it may be matched by its place with what should lie there: then
    it has moved if it looks like a good object of another kind of which one is missed, or if each of two looks more
    like what should lie in the other's place.
    """
    kind = spec.slots[int(measured.slots[index])].kind
    if deviations[PLACE, index] > spec.notable and deviations[PLACE, index] >= deviations[APPEARANCE, index]:
        return int(kind)
    closest = int(measured.closest[index])
    if closest == kind:
        return None
    there = [other for other, slot in enumerate(measured.slots) if slot >= 0 and spec.slots[slot].kind == closest]
    better = measured.fits[index] < deviations[APPEARANCE, index]
    if better and any(int(measured.closest[other]) == kind for other in there):
        return closest
    if measured.fits[index] > spec.notable:
        return None
    if any(spec.slots[slot].kind == closest for slot in measured.missing):
        return closest
    strange = any(deviations[APPEARANCE, other] > spec.notable for other in there)  # what lies in its place
    return closest if strange else None


def _missing(slot: int, references: References) -> ObjectFinding:
    spec = references.spec
    one = spec.slots[slot]
    place = third_in_words(one.x, one.y) if one.spread < FIXED else ""
    box = _shares(references.mask_of(slot))
    return ObjectFinding("missing", spec.kinds[one.kind].name, place, *box, spec.missing)


def _finding(change: Change, kind: KindSpec, mask: Mask, size: float) -> ObjectFinding:
    left, top, width, height = _shares(mask)
    place = third_in_words(left + width / 2, top + height / 2)
    return ObjectFinding(change, kind.name, place, left, top, width, height, size)


def _shares(mask: Mask) -> tuple[float, float, float, float]:
    """Left, top, width and height of a mask's box, in shares of the picture."""
    rows, columns = mask.shape
    left, top, right, bottom = box_of(mask)
    return left / columns, top / rows, (right - left) / columns, (bottom - top) / rows
