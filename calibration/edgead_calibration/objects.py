"""Fits proposals and matching to good images, from what the network gives of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgead.bundle import FusionSpec, MatchingSpec, ProposalSpec
from edgead.ops import COMPONENTS, fuse
from edgead.ops.everything import OWN
from edgead.ops.proposals import find_pieces, separate
from edgead.ops.scene import SPECK, Scene, remove_scenery, see, stand_out
from edgead.types import ImageU8, MapF32
from edgead_calibration.matching import Judged, fit_branches, fit_matching, members_of
from edgead_calibration.object_limits import AGREED
from edgead_calibration.object_proposals import FittedProposals, PackedMask, fit_limits, fit_proposals

Outputs = Mapping[str, MapF32]


@dataclass(frozen=True, slots=True, eq=False)
class FittedObjects:
    """What the bundle gets, and how good images would be judged as new parts."""

    fusion: FusionSpec
    members: dict[str, bytes]
    scores: NDArray[np.float64]  # (N,)
    maxima: NDArray[np.float64]
    report: dict[str, Any]
    findings: list[dict[str, str]]


class Seen(Protocol):
    """One good image: its masks, of which it is not known yet which are objects, and its features, read once."""

    @property
    def masks(self) -> list[PackedMask]: ...

    @property
    def levels(self) -> Sequence[NDArray[Any]]: ...


@dataclass(frozen=True, slots=True, eq=False)
class SeenImage:
    """One whose features are kept meanwhile."""

    masks: list[PackedMask]
    levels: tuple[NDArray[np.float16], ...]


def look(image: ImageU8, outputs: Outputs, draft: MatchingSpec) -> SeenImage:
    """What stands out in a good image, and its features."""
    masks = [PackedMask.of(mask) for mask in stand_out(image, outputs[COMPONENTS], draft.proposals)]
    return SeenImage(masks, tuple(outputs[name].astype(np.float16) for name in draft.features))


def fit_objects(
    seen: Sequence[Seen], maps: Iterable[Outputs], fusion: FusionSpec, most: int, seed: int
) -> FittedObjects:
    """The fusion with its matching fitted, of which `fusion` has the draft. `maps` are those that it names, of every
    image by what was fitted without it.

    At most `most` images are in the bank. Raises DataError where good images have no objects in common.
    """
    draft = fusion.matching
    assert draft is not None  # the caller chose it
    proposals = _proposals(seen, draft.proposals)
    draft = msgspec.structs.replace(draft, proposals=proposals.spec, counted=proposals.share >= AGREED)
    bank = draft.bank_height, draft.bank_width
    scenes = [scene_of(one, proposals, draft).reduced(*bank) for one in seen]
    fitted = fit_matching(scenes, draft, most, seed)
    fused = [fuse(one, fusion) for one in maps]
    judged = fit_branches(fitted, scenes, fused, fusion)
    members = members_of(replace(fitted.references, spec=judged.spec, scenery=proposals.scenery))
    return FittedObjects(
        msgspec.structs.replace(fusion, matching=judged.spec),
        members,
        judged.scores,
        judged.maxima,
        _report(judged, len(fitted.banked), proposals.share),
        [_finding(judged.spec, proposals.share, len(seen))],
    )


def _proposals(seen: Sequence[Seen], draft: ProposalSpec) -> FittedProposals:
    if draft.source in OWN:
        return fit_proposals([one.masks for one in seen], draft)
    separated = (separate([packed.mask for packed in one.masks], 0.0, 1.0) for one in seen)
    return fit_limits([[proposal.area for proposal in each] for each in separated], draft)


def scene_of(one: Seen, proposals: FittedProposals, draft: MatchingSpec) -> Scene:
    masks = [packed.mask for packed in one.masks]
    if proposals.scenery is not None:
        masks = [remove_scenery(mask, proposals.scenery) for mask in masks]
    if draft.proposals.source in OWN:
        masks = find_pieces(masks, SPECK, draft.proposals.gap, draft.proposals.bridge)
    levels = dict(zip(draft.features, (level.astype(np.float32) for level in one.levels), strict=True))
    return see(masks, levels, draft)


def _report(judged: Judged, banked: int, share: float) -> dict[str, Any]:
    spec = judged.spec
    return {
        "images": banked,
        "objects": len(spec.slots),
        "kinds": {kind.name: sum(slot.kind == index for slot in spec.slots) for index, kind in enumerate(spec.kinds)},
        "share": round(share, 4),
        "limits": [spec.proposals.smallest, spec.proposals.largest],
        "gap": spec.proposals.gap,
        "bridge": spec.proposals.bridge,
        "place": round(spec.place, 3),
        "area": round(spec.area, 3),
        "temperature": spec.temperature,
        "dustbin": spec.dustbin,
    }


def _finding(spec: MatchingSpec, share: float, count: int) -> dict[str, str]:
    """How many objects a good part has, and what to do where good images do not agree."""
    found = {
        "found": f"good parts have {len(spec.slots)} objects of {len(spec.kinds)} kinds",
        "figures": f"{share:.0%} of {count} good images show as many",
        "chosen": f"objects are {spec.proposals.smallest:.2%} to {spec.proposals.largest:.2%} of the picture",
        "overrule": "--set smallest=SHARE --set largest=SHARE",
    }
    if share < AGREED:
        found["figures"] += f", and {AGREED:.0%} should"
        found["chosen"] += (
            "; what differs among them is named, and not counted in the score: more are found where parts lie further "
            "apart, else --method csad counts them"
        )
    return found
