"""Fits how objects are proposed: what of the picture is scenery, which pieces belong together, and limits of area."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edgead.bundle import ProposalSpec
from edgead.ops.proposals import find_pieces
from edgead.ops.scene import SPECK, remove_scenery
from edgead.types import Mask
from edgead_calibration.object_limits import AGREED, Limits, choose_limits

GAPS = (1 / 128, 1 / 64, 3 / 128, 1 / 32)  # sides of the picture
BRIDGES = (1 / 128, 1 / 64, 3 / 128, 1 / 32)
GAIN = 0.01  # of the good images that must agree more before a wider gap or bridge is taken
USUAL = 0.5  # of the good images show scenery where it is
AROUND = 0.02  # sides of the picture by which scenery reaches beyond what is seen of it


@dataclass(frozen=True, slots=True, eq=False)
class PackedMask:
    """A mask in an eighth of its memory."""

    bits: NDArray[np.uint8]
    shape: tuple[int, int]

    @classmethod
    def of(cls, mask: Mask) -> PackedMask:
        """The mask (H, W), packed."""
        return cls(np.packbits(mask), (mask.shape[0], mask.shape[1]))

    @property
    def mask(self) -> Mask:
        """(H, W)."""
        return np.unpackbits(self.bits, count=self.shape[0] * self.shape[1]).astype(np.bool_).reshape(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class FittedProposals:
    """The spec with everything fitted, and the scenery, if any."""

    spec: ProposalSpec
    scenery: Mask | None
    share: float  # of the good images that show the usual number of objects

    @property
    def agreed(self) -> bool:
        """Whether enough good images show the usual number."""
        return self.share >= AGREED


def fit_scenery(masks: Sequence[PackedMask]) -> Mask | None:
    """Where good pictures usually show something at their rim or all across them, which is no object: the frame of a
    tray, the edge of a table. None where they show nothing of the kind."""
    seen, count = np.zeros(masks[0].shape, np.float32), 0
    for packed in masks:
        mask = packed.mask
        rest = mask.copy()
        for piece in find_pieces([mask], 0.0):
            rest &= ~piece
        seen += rest
        count += 1
    usual = seen > USUAL * count
    if not usual.any():
        return None
    reach = max(1, round(AROUND * min(usual.shape)))
    return cv2.dilate(usual.view(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0


def fit_proposals(images: Sequence[Sequence[PackedMask]], draft: ProposalSpec) -> FittedProposals:
    """Scenery, gap, bridge, limits of area and the usual number of objects, from what stands out in every good image.

    `images` has one mask an image for the source `ground`, and one for every class for `classes`. Raises DataError
    where nothing stands out.
    """
    scenery = fit_scenery([one for (one,) in images]) if draft.source == "ground" else None
    cleared = [
        [one if scenery is None else PackedMask.of(remove_scenery(one.mask, scenery)) for one in masks]
        for masks in images
    ]
    limits, gap, bridge = _limits_of(cleared), 0.0, 0.0
    for wider in GAPS:
        found = _limits_of(cleared, wider)
        if found.count == limits.count and found.share >= limits.share + GAIN:
            limits, gap = found, wider
    for wider in BRIDGES:
        found = _limits_of(cleared, gap, wider)
        if found.count == limits.count and found.share >= limits.share + GAIN:
            limits, bridge = found, wider
    return FittedProposals(
        msgspec.structs.replace(
            draft,
            **_limits(limits, draft),
            gap=gap,
            bridge=bridge,
            scenery=None if scenery is None else "matching/scenery.npy",
        ),
        scenery,
        limits.share,
    )


def fit_limits(images: Sequence[Sequence[float]], draft: ProposalSpec) -> FittedProposals:
    """Limits of area and the usual number of objects alone, from the areas of every image's masks."""
    limits = choose_limits(images)
    spec = msgspec.structs.replace(draft, **_limits(limits, draft))
    return FittedProposals(spec, None, limits.share)


def _limits(limits: Limits, draft: ProposalSpec) -> dict[str, float]:
    """The fields of the limits; those that the draft sets stay."""
    return {
        "count": limits.count,
        "smallest": draft.smallest or limits.smallest,
        "largest": draft.largest if draft.largest < 1 else limits.largest,
    }


def _limits_of(images: Sequence[Sequence[PackedMask]], gap: float = 0.0, bridge: float = 0.0) -> Limits:
    pieces = (find_pieces((one.mask for one in masks), SPECK, gap, bridge) for masks in images)
    return choose_limits([[float(piece.mean()) for piece in each] for each in pieces])
