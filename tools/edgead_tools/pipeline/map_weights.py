"""Chooses what each map of a network counts in the fusion, by labeled defects.

What is normal stays what good images say: the maps themselves and the thresholds are fitted to these alone. Defects
only say which of the maps see them. Other weights are taken where they order defects above good parts better also on
defects and good parts that they were not chosen by: both are halved, each half chooses, and the other half tells.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgead.bundle import FusionSpec
from edgead.engines.base import CpuEngine
from edgead.images import read_image
from edgead.ops import fuse, image_score
from edgead.reader import Reader
from edgead.types import MapF32
from edgead_tools.data import Sample
from edgead_tools.evaluation.metrics import image_auroc
from edgead_tools.methods import Trained
from edgead_tools.pipeline.images import BuildImages

LEAST = 8  # defects that say anything
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the weight of a map: none is ever left out, defects of other kinds will come
MARGIN = 0.005  # of the mean AUROC of both halves, below which the weights stay

Maps = Mapping[str, MapF32]  # (h, w) each, of one image


@dataclass(frozen=True, slots=True)
class MapWeights:
    """The fusion with weights chosen by defects, or as it was, and what either achieves where it was not chosen."""

    fusion: FusionSpec
    factors: dict[str, float]  # of each map's weight
    auroc: tuple[float, float]  # as it was, and as chosen, on the halves that did not choose
    defects: int

    @property
    def changed(self) -> bool:
        """Whether the weights are others."""
        return any(factor != 1 for factor in self.factors.values())

    def __str__(self) -> str:
        chosen = ", ".join(f"{name} {factor:g} times" for name, factor in self.factors.items())
        before, after = self.auroc
        figures = f"image AUROC {before:.3f} as it was, {after:.3f} as chosen, on the half that did not choose"
        return (
            f"weights of the maps by {self.defects} labeled defects: {chosen if self.changed else 'kept'} ({figures})"
        )


def can_weigh(fusion: FusionSpec) -> bool:
    """Whether there are several maps that are summed, and nothing else judges."""
    return len(fusion.maps) > 1 and fusion.combine == "sum" and fusion.components is None and fusion.matching is None


def weigh(
    reader: Reader, trained: Trained, images: BuildImages, defects: Sequence[Sample], mask: MapF32 | None
) -> MapWeights | None:
    """The weights of a draft's maps by labeled defects; None where there is nothing to choose, or to choose by."""
    fusion, engine = reader.source.manifest.fusion, reader.engine
    spec = reader.source.manifest.input
    if len(defects) < LEAST or not can_weigh(fusion) or spec.tiles is not None or not isinstance(engine, CpuEngine):
        return None
    names = [part.name for part in fusion.maps]
    if set(names) <= trained.out_of_fold.keys():
        count = len(trained.out_of_fold[names[0]])
        good: list[Maps] = [{name: trained.out_of_fold[name][row] for name in names} for row in range(count)]
    else:
        good = [engine.outputs_of(image)[1] for image in images.rows(images.parts.held_out)]
    bad = [engine.outputs_of(read_image(one.path, bits=spec.bits))[1] for one in defects]
    return choose(fusion, good, bad, [one.label for one in defects], mask)


def choose(
    fusion: FusionSpec, good: Sequence[Maps], bad: Sequence[Maps], kinds: Sequence[str], mask: MapF32 | None = None
) -> MapWeights:
    """The weights by the maps of good images and of defects of those kinds; each kind counts the same."""
    names = [part.name for part in fusion.maps]
    candidates = sorted(
        (one for one in itertools.product(FACTORS, repeat=len(names)) if 1.0 in one),
        key=lambda one: (sum(abs(np.log2(factor)) for factor in one), one),
    )  # the nearest to what is there first, which wins where several are as good
    scores = {one: (_scores(_weighted(fusion, one), good, mask), _scores(_weighted(fusion, one), bad, mask))
              for one in candidates}  # fmt: skip
    halves = _halves(len(good), kinds)
    plain = (1.0,) * len(names)
    before, after = [], []
    for mine, other in (halves, halves[::-1]):
        best = max(candidates, key=lambda one: _auroc(scores[one], mine, kinds))
        before.append(_auroc(scores[plain], other, kinds))
        after.append(_auroc(scores[best], other, kinds))
    everything = np.arange(len(good)), np.arange(len(bad))
    better = np.mean(after) - np.mean(before) >= MARGIN
    chosen = max(candidates, key=lambda one: _auroc(scores[one], everything, kinds)) if better else plain
    told = (round(float(np.mean(before)), 4), round(float(np.mean(after)), 4))
    return MapWeights(_weighted(fusion, chosen), dict(zip(names, chosen, strict=True)), told, len(bad))


def _weighted(fusion: FusionSpec, factors: Sequence[float]) -> FusionSpec:
    maps = tuple(
        msgspec.structs.replace(part, weight=part.weight * factor)
        for part, factor in zip(fusion.maps, factors, strict=True)
    )
    return msgspec.structs.replace(fusion, maps=maps)


def _scores(fusion: FusionSpec, maps: Sequence[Maps], mask: MapF32 | None) -> NDArray[np.float64]:
    return np.array([image_score(fuse(one, fusion, mask), fusion) for one in maps])


Half = tuple[NDArray[np.intp], NDArray[np.intp]]  # rows of good images, and of defects


def _halves(good: int, kinds: Sequence[str]) -> tuple[Half, Half]:
    """Every second good image, and every second defect of each kind."""
    seen: dict[str, int] = {}
    sides = []
    for kind in kinds:
        sides.append(seen.get(kind, 0) % 2)
        seen[kind] = seen.get(kind, 0) + 1
    side = np.array(sides)
    rows = np.arange(good)
    return (rows[::2], np.flatnonzero(side == 0)), (rows[1::2], np.flatnonzero(side == 1))


def _auroc(scores: tuple[NDArray[np.float64], NDArray[np.float64]], half: Half, kinds: Sequence[str]) -> float:
    """The mean over the kinds of the AUROC of their defects against good images."""
    good, bad = scores[0][half[0]], scores[1]
    found = []
    for kind in dict.fromkeys(kinds):
        mine = bad[[row for row in half[1] if kinds[row] == kind]]
        if len(mine):
            labels = np.r_[np.zeros(len(good), np.bool_), np.ones(len(mine), np.bool_)]
            found.append(image_auroc(np.r_[good, mine], labels))
    return float(np.mean(found))
