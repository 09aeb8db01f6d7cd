"""What every edge form has beside its students: memories of good patches, and statistics of the picture as a whole.

All are fitted to good images without any training. A memory (`layers.memory_map`) of what is seen in a cell, another of
what surrounds it; both read the taps that the students read and cost a matrix product. The statistics
(`layers.image_statistics`) are of the block after them, at 1/32, which sees enough of the part at once to tell pictures
apart. Parts that lie in any direction are remembered in more of them than were seen (`methods.turning`).
`methods.joined` adds all of it to students.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgead.bundle.input_spec import InputSpec
from edgead.bundle.manifest import FusionSpec, MapSpec, ScoreSpec
from edgead.errors import UsageError
from edgead.ops.fuse import fuse, image_score
from edgead_calibration.conformal import assign_folds
from edgead_tools.backbones.efficientnet_lite import OFFSET, SCALE, EfficientNetLite
from edgead_tools.backbones.weights import WeightsFile
from edgead_tools.layers.image_statistics import (
    FittedStatistics,
    ImageStatistics,
    find_strange_pictures,
    fit_image_statistics,
    image_descriptor,
)
from edgead_tools.layers.memory_map import FittedMemory, MemoryMap, average_taps, fit_memory_map, level, pool_taps
from edgead_tools.layers.residual_map import trust
from edgead_tools.layers.standardized import Pair
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.copies import Variety, copied_batches, find_variety, varied, variety_finding
from edgead_tools.methods.lite import chunk, lite_batches
from edgead_tools.methods.turning import Turning, copies_of, find_turning, turned_batches
from edgead_tools.training.report import training_report
from edgead_tools.training.run import Run
from edgead_tools.training.session import session

STRIDE = 8  # pixels a cell of the fused map
CELLS = 1024  # of the map of an input of 256 x 256 pixels
FOLDS = 5
MOST = 8.0  # spreads from what is usual beyond which a picture is no stranger
NARROWEST = 1e-3  # the least spread of scores
LOWEST = 1.0  # spreads that the memory's map of a good picture reaches at least; usually it is two or three
UNTRAINED = frozenset({"memory", "surroundings", "whole"})  # maps that are fitted to good images, without any training

Maps = Mapping[str, NDArray[np.float32]]  # (N, h, w), by name


def score_spec(top: float, height: int, width: int) -> ScoreSpec:
    """The mean of that share of the cells, of `CELLS` at most: a finer map shows smaller defects, no larger ones."""
    return ScoreSpec(top=max(1, round(top * min(height * width, CELLS))))


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """The hyper-parameters that every edge form has beside its students."""

    memory: int = 1024  # good patches that a cell is compared with; 0 keeps none and looks at no picture as a whole
    # Whether a region, or a tile of a frame, has patches of its own: where parts lie still. YAML reads yes as true.
    places: Literal["auto", "yes", "no"] = "auto"
    # Whether turned copies are remembered: of parts that lie in any direction.
    turns: Literal["auto", "yes", "no"] = "auto"
    # Whether copies placed and lit a little differently are remembered: of few images of parts that lie still.
    varied: Literal["auto", "yes", "no"] = "auto"
    # Whether images that only strange ones resemble are believed less: bad parts among the good ones.
    doubts: Literal["yes", "no"] = "yes"
    whole: float = 0.5  # weight of the picture as a whole where images are many (`trust`); 0 counts it nowhere
    students: float = 1 / 3  # share of the students' maps in the sum with the memory's

    def __post_init__(self) -> None:
        if not 0 <= self.memory <= 65536:
            raise UsageError(f"memory is a number of patches in 0..65536, not {self.memory}")
        if not (0 <= self.whole < math.inf and 0 < self.students < 1):
            raise UsageError("whole must be at least 0 and students in (0, 1)")


class Students(nn.Module):
    """The base of networks that give the students' maps of an image and, once they have a memory, its maps too."""

    def __init__(self) -> None:
        super().__init__()
        self.memory: GoodMemory | None = None

    def remembered(self, taps: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """The memory's maps of what the trunk gives; none without a memory."""
        return {} if self.memory is None else self.memory(*memory_taps(taps))


class GoodMemory(nn.Module):
    """Taps at 1/8 and 1/16 -> maps `memory`, `surroundings` and `whole`, (B, H/16, W/16) each."""

    def __init__(
        self, nearest: MemoryMap, around: MemoryMap, context: nn.Module, statistics: ImageStatistics, highest: float
    ) -> None:
        """`nearest` is of cells, `around` of what surrounds them; `context` takes the tap at 1/16 on to 1/32, where
        pictures are described; `highest` is how high the memory's map of a good picture usually reaches."""
        super().__init__()
        self.nearest, self.around = nearest, around
        self.context, self.statistics, self.highest = context, statistics, highest

    def forward(self, fine: Tensor, coarse: Tensor) -> dict[str, Tensor]:
        memory = self.nearest(pool_taps(fine, coarse))
        whole = where_it_shows(self.statistics(self.context(coarse)), memory, self.highest)
        return {"memory": memory, "surroundings": self.around(average_taps(coarse)), "whole": whole}


def where_it_shows(whole: Tensor, memory: Tensor, highest: float) -> Tensor:
    """How strange pictures are as a whole, (B, 1, 1), laid where the memory's map (B, h, w) is high: as much as it is
    where that reaches what is usual of good pictures. A constant for all of a picture would drown what it shows of
    the defect's place."""
    return functional.hardtanh(whole, 0.0, MOST) * functional.relu(memory) / highest


class MemoryAlone(nn.Module):
    """The exported graph where there are no students: an image (B, 3, H, W) -> the maps of the memory."""

    def __init__(self, trunk: EfficientNetLite, memory: GoodMemory) -> None:
        super().__init__()
        self.trunk, self.memory = trunk, memory

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        maps: dict[str, Tensor] = self.memory(*memory_taps(self.trunk(image)))
        return maps


def memory_taps(taps: Mapping[int, Tensor]) -> Pair:
    """The taps at 1/8 and 1/16 of what a trunk gives."""
    fine, coarse = list(taps.values())[-2:]
    return fine, coarse


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """What was fitted to all good images, those to train on and then those to calibrate with."""

    memory: GoodMemory
    patches: FittedMemory
    around: FittedMemory
    whole: FittedStatistics
    weight: float  # of the picture as a whole
    turning: Turning
    varied: int = 0  # varied copies of every image
    tiles: int = 1  # of a frame

    @property
    def strange(self) -> list[int]:
        """The images that are believed less."""
        return sorted({*self.patches.strange.tolist(), *self.around.strange.tolist()})

    @property
    def images(self) -> int:
        return len(self.patches.left_out)

    @property
    def without_first(self) -> GoodMemory:
        """The memory without the images of the first fold, which statistics of pictures still know."""
        whole = self.memory
        return GoodMemory(self.patches.first, self.around.first, whole.context, whole.statistics, whole.highest)

    @property
    def out_of_fold(self) -> Maps:
        """The maps of all good images by memories and statistics without them."""
        memory = self.patches.left_out
        whole = where_it_shows(self.whole.left_out[:, None, None], memory, self.memory.highest)
        return {"memory": memory.numpy(), "surroundings": self.around.left_out.numpy(), "whole": whole.numpy()}

    def fusion(self, height: int, width: int, score: ScoreSpec) -> FusionSpec:
        """The memory alone on a grid of cells, a unit being the spread of the score over good images. What surrounds a
        cell differs more from part to part, and counts as much as the images are many (`trust`)."""
        maps = (MapSpec(name="memory"), MapSpec(name="surroundings", weight=trust(self.images)))
        both = FusionSpec(maps=maps, height=height, width=width, score=score)
        usual = {name: np.delete(rows, self.strange, axis=0) for name, rows in self.out_of_fold.items()}
        unit = 1 / deviation(usual, both)
        scaled = [msgspec.structs.replace(one, weight=unit * one.weight) for one in maps]
        return msgspec.structs.replace(both, maps=(*scaled, MapSpec(name="whole", weight=self.weight)))

    def provenance(self) -> dict[str, Any]:
        """What was found of the part."""
        nearest = self.patches.map
        regions, _, patches = nearest.patches.shape
        found = {"still": round(self.patches.still, 4), "regions": regions, "patches": patches}
        ratio = self.turning.ratio
        turned = None if ratio is None else round(ratio, 4)
        return found | {"turns": self.turning.free, "turned": turned, "varied": self.varied}

    def findings(self) -> list[dict[str, str]]:
        """What the good images say of the part, from which figures, what was chosen, and how to overrule it."""
        found, count = self.provenance(), self.images
        still, parts = found["regions"] > 1, "tiles" if self.patches.group > 1 else "regions"
        nearer = f"images left out are {found['still']:.2f} times as far from the others' patches by region as from all"
        kept = f"are held for {'each' if still else 'all'} of {found['regions']} {parts}"
        return [
            {
                "found": "the part lies still" if still else "the part moves or turns, or is a texture",
                "figures": nearer if self.patches.still != 1 else "not looked at, since options or the size decide",
                "chosen": f"{found['patches']} patches {kept if found['regions'] > 1 else 'are held for all places'}",
                "overrule": "--set places=no" if still else "--set places=yes",
            },
            self.turning.finding(copies_of(count)),
            *([] if self.turning.free or self.tiles > 1 else [variety_finding(self.varied, count, still=still)]),
            {
                "found": f"{count} {'good images' if self.tiles == 1 else 'tiles of good frames'}",
                "figures": f"the more there are, the more surroundings count: {trust(count):.0%} of all they could",
                "chosen": f"what surrounds a cell has the weight {trust(count):.2f}, "
                f"the picture as a whole {self.weight:.2f}",
                "overrule": "--set whole=0",
            },
        ]


def remember(trunk: EfficientNetLite, images: TrainingImages, run: Run, options: MemoryOptions) -> Remembered:
    """Fit the memories and the statistics of pictures to all good images."""
    context = trunk.blocks[max(trunk.taps) + 1]
    seen = _collect(trunk, context, lite_batches(images, run.device)())
    folds = make_folds(len(images.train), len(images.calibration), images.tiles, images.groups)
    count, size, tiles = options.memory, images.count, images.tiles
    turning = find_turning(_answer(options.turns), trunk, images, seen.cells, folds[-1], run.device)
    if turning.free:
        batches = turned_batches(images, copies_of(size), run.seed, run.device, chunk(tiles))
        seen = seen.followed_by(_collect(trunk, context, batches))
    doubts = options.doubts == "yes" and tiles == 1
    divided = [torch.arange(half, size, 2) for half in range(2)] if images.groups else []
    suspects = find_strange_pictures(seen.vectors, divided or folds, images=size) if doubts else None
    fit = functools.partial(
        fit_memory_map, count=count, folds=folds, images=size, seed=run.seed, tiles=tiles, doubts=doubts,
        divided=divided, suspects=suspects,
    )  # fmt: skip
    variety = Variety(0, _answer(options.places))
    if not turning.free and tiles == 1:
        variety = find_variety(_answer(options.varied), variety.places, seen.cells, count, folds, run.seed)
    if variety.copies:
        batches = copied_batches(images, variety.copies, varied, run.seed, run.device, chunk(tiles))
        seen = seen.followed_by(_collect(trunk, context, batches))
    patches = fit(seen.cells, places=variety.places)
    if variety.still is not None:
        patches = replace(patches, still=variety.still)
    still = patches.map.layout.regions > 1
    around = fit(seen.around, places=still)
    strange = torch.cat([patches.strange, around.strange])
    pictures = fit_image_statistics(seen.vectors, folds, patches.group, images=size, without=strange)
    highest = max(LOWEST, level(patches.left_out))
    memory = GoodMemory(patches.map, around.map, context, pictures.statistics, highest).to(run.device).eval()
    return Remembered(memory, patches, around, pictures, options.whole * trust(size), turning, variety.copies, tiles)


def _answer(option: str) -> bool | None:
    """Yes or no as an option has it; None where that is to be found out."""
    return {"auto": None, "yes": True, "no": False}[option]


def make_folds(train: int, calibration: int, tiles: int = 1, groups: Sequence[int] = ()) -> list[Tensor]:
    """Indices of images that are left out together: those to calibrate with, which students have not seen, first; or
    where frames are `groups` of one part each (`TrainingImages`), whole groups. The tiles of a frame stay together."""
    if groups:
        dealt = torch.from_numpy(assign_folds(len(groups), FOLDS, groups)).repeat_interleave(tiles)
        return [torch.nonzero(dealt == fold)[:, 0] for fold in range(int(dealt.max()) + 1)]
    dealt = torch.from_numpy(assign_folds(train // tiles, FOLDS - 1)).repeat_interleave(tiles)
    rest = [torch.nonzero(dealt == fold)[:, 0] for fold in range(int(dealt.max()) + 1)]
    return [torch.arange(train, train + calibration), *rest]


def without_students(
    trunk: EfficientNetLite, images: TrainingImages, run: Run, options: MemoryOptions, weights: WeightsFile, top: float
) -> Trained:
    """A network without any training: the memory and the statistics of pictures alone. Raises UsageError for a memory
    of nothing."""
    if not options.memory:
        raise UsageError("a budget of 0 trains nothing, and memory=0 remembers nothing: give one of them")
    start = time.monotonic()
    with session(run.device, run.threads):
        remembered = remember(trunk, images, run, options)
        height, width = (side // STRIDE for side in images.size)
        fusion = remembered.fusion(height, width, score_spec(top, height, width))
    network = MemoryAlone(trunk, remembered.memory).cpu().eval()
    report = training_report([], [weights]) | {"seconds": round(time.monotonic() - start, 1)}
    report |= {"memory": remembered.provenance(), "findings": remembered.findings()}
    return Trained(
        network=network,
        input=input_spec(images.size),
        fusion=fusion,
        out_of_fold=remembered.out_of_fold,
        untrained=UNTRAINED,
        group=remembered.patches.group,
        strange=frozenset(remembered.strange),
        report=report,
    )


@torch.no_grad()
def read_maps(network: Callable[[Tensor], Mapping[str, Tensor]], batches: Iterable[Tensor]) -> Maps:
    """The network's maps of all images, by name."""
    found: dict[str, list[NDArray[np.float32]]] = {}
    for batch in batches:
        for name, tensor in network(batch).items():
            found.setdefault(name, []).append(tensor.float().cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def scores_of(maps: Maps, fusion: FusionSpec) -> NDArray[np.float64]:
    """The raw score of every image."""
    names = [one.name for one in fusion.maps]
    rows = ({name: maps[name][index] for name in names} for index in range(len(maps[names[0]])))
    return np.array([image_score(fuse(row, fusion), fusion) for row in rows])


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What is remembered of good images: cells and what surrounds them, (N, C, h, w) in FP16, 135 kB a picture of 256
    pixels; and the pictures' vectors (N, V)."""

    cells: Tensor
    around: Tensor
    vectors: Tensor

    def followed_by(self, other: _Seen) -> _Seen:
        pairs = zip((self.cells, self.around, self.vectors), (other.cells, other.around, other.vectors), strict=True)
        return _Seen(*(torch.cat(pair) for pair in pairs))


@torch.no_grad()
def _collect(trunk: EfficientNetLite, context: nn.Module, batches: Iterable[Tensor]) -> _Seen:
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for batch in batches:
        fine, coarse = memory_taps(trunk(batch))
        cells, around = pool_taps(fine, coarse).half(), average_taps(coarse).half()
        parts.append((cells.cpu(), around.cpu(), image_descriptor(context(coarse)).cpu()))
    return _Seen(*(torch.cat(side) for side in zip(*parts, strict=True)))


def deviation(maps: Maps, fusion: FusionSpec) -> float:
    """The spread of good images' scores."""
    return max(NARROWEST, float(scores_of(maps, fusion).std()))


def input_spec(size: tuple[int, int]) -> InputSpec:
    """How the trunk takes its images."""
    return InputSpec(height=size[0], width=size[1], scale=(SCALE,) * 3, offset=(OFFSET,) * 3)
