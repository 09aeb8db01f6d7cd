"""The hyper-parameters that both presets of SAM-LAD have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgead.bundle import KindSpec, MatchingSpec, ProposalSpec, SlotSpec
from edgead.errors import UsageError
from edgead_calibration.matching import UNIT


@dataclass(frozen=True, slots=True)
class MatchingOptions:
    """How objects are proposed, described, matched and measured."""

    bank: int = 200  # good images at most that objects are matched with, the most unlike one another
    neighbors: int = 5  # of them that a picture is matched with (k)
    descriptor: Literal["gated", "gmp", "gap", "literal"] = "gated"
    match: Literal["sinkhorn", "hungarian"] = "sinkhorn"
    measure: Literal["aligned", "literal"] = "aligned"  # positions that are compared: in the objects' boxes, or as seen
    box: int = 6  # cells a side of an object's box
    upsample: Literal[1, 2, 4, 8] = 4  # grid of objects' features, against 1/16 of the picture
    iterations: int = 50  # of Sinkhorn's algorithm
    light: bool = False  # whether the map shows unmatched objects alone
    smallest: float = 0.0  # area of an object, share of the picture; 0: found from good images
    largest: float = 0.0

    def __post_init__(self) -> None:
        if not 4 <= self.bank <= 100_000:
            raise UsageError(f"bank is a number of images in 4..100000, not {self.bank}")
        if not 1 <= self.neighbors <= 16 or not 1 <= self.box <= 32 or not 1 <= self.iterations <= 1000:
            raise UsageError("neighbors, box and iterations must lie in 1..16, 1..32 and 1..1000")
        if not (0 <= self.smallest <= 1 and 0 <= self.largest <= 1 and math.isfinite(self.smallest + self.largest)):
            raise UsageError("smallest and largest are shares of the picture in 0..1")
        if self.largest and self.smallest >= self.largest:
            raise UsageError(f"smallest must be below largest, and {self.smallest:g} is not below {self.largest:g}")


def draft_matching(
    proposals: ProposalSpec, features: Sequence[str], grid: tuple[int, int], bank: tuple[int, int], how: MatchingOptions
) -> MatchingSpec:
    """The spec with what is chosen; every number that is fitted is a stand-in."""
    nothing = KindSpec(name="object", appearance=UNIT, place=UNIT, size=UNIT, surface=UNIT, area=1.0)
    return MatchingSpec(
        proposals=proposals,
        features=tuple(features),
        height=grid[0],
        width=grid[1],
        descriptor=how.descriptor,
        box=how.box,
        bank_height=bank[0],
        bank_width=bank[1],
        neighbors=how.neighbors,
        match=how.match,
        measure=how.measure,
        iterations=how.iterations,
        temperature=1.0,
        dustbin=0.0,
        place=0.0,
        area=0.0,
        notable=1.0,
        extra=1.0,
        missing=1.0,
        weight=1.0,
        kinds=(nothing,),
        slots=(SlotSpec(kind=0, x=0.5, y=0.5, spread=1.0),),
        logical=UNIT,
        structural=UNIT,
        light=how.light,
    )
