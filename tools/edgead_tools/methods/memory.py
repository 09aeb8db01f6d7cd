"""What every edge form has beside its students: a memory of good patches, and statistics of the picture as a whole.

Both are fitted to good images without any training. The memory (`layers.memory_map`) reads the taps that the students
read and costs a matrix product; the statistics (`layers.image_statistics`) are of the block after them, at 1/32, which
sees enough of the part at once to tell pictures apart. A small student cannot follow parts that differ from one
another, which a memory holds; and it finds what is small and lies still a little better. So both are summed.

How much each counts is decided by good images alone: a map is divided by the spread of its score over good images, the
memory's over images of other folds, and the students get a third of the sum (`students`). Anomalies planted into
images that neither has seen can only take the students out, where with them fewer are found: students were trained on
such anomalies, and planted ones promise too much of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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
from edgead_calibration.images import evenly_spaced
from edgead_tools.backbones.efficientnet_lite import OFFSET, SCALE, EfficientNetLite
from edgead_tools.backbones.weights import WeightsFile
from edgead_tools.data.anomalies import Anomalies, default_textures
from edgead_tools.evaluation.metrics import image_auroc
from edgead_tools.layers.image_statistics import (
    FittedStatistics,
    ImageStatistics,
    fit_image_statistics,
    image_descriptor,
)
from edgead_tools.layers.memory_map import FittedMemory, MemoryMap, fit_memory_map, level, pool_taps
from edgead_tools.layers.residual_map import trust
from edgead_tools.layers.standardized import Pair
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.lite import chunk, lite_batches, lite_tensor
from edgead_tools.training.report import training_report
from edgead_tools.training.run import Run
from edgead_tools.training.session import session

STRIDE = 8  # pixels a cell of the fused map
PLANTED = 40  # good images at most in which anomalies are planted
EACH = 2  # anomalies in each of them
TOLERATED = 0.01  # of AUROC on planted anomalies, that students may cost before they are left out
FOLDS = 5
MOST = 8.0  # spreads from what is usual beyond which a picture is no stranger
NARROWEST = 1e-3  # the least spread of scores
UNTRAINED = frozenset({"memory", "whole"})  # maps that are fitted to good images, without any training

Maps = Mapping[str, NDArray[np.float32]]  # (N, h, w), by name


@dataclass(frozen=True, slots=True)
class MemoryOptions:
    """The hyper-parameters that every edge form has beside its students."""

    memory: int = 1024  # good patches that a cell is compared with; 0 keeps none and looks at no picture as a whole
    # Whether a region, or a tile of a frame, has patches of its own: where parts lie still. YAML reads yes as true.
    places: Literal["auto", "yes", "no"] | bool = "auto"
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
    """Taps at 1/8 and 1/16 -> maps `memory` and `whole`, (B, H/16, W/16) both."""

    def __init__(self, nearest: MemoryMap, context: nn.Module, statistics: ImageStatistics, highest: float) -> None:
        """`context` takes the tap at 1/16 on to 1/32, where pictures are described; `highest` is how high the memory's
        map of a good picture usually reaches."""
        super().__init__()
        self.nearest, self.context, self.statistics, self.highest = nearest, context, statistics, highest

    def forward(self, fine: Tensor, coarse: Tensor) -> dict[str, Tensor]:
        memory = self.nearest(fine, coarse)
        whole = self.statistics(self.context(coarse))
        return {"memory": memory, "whole": where_it_shows(whole, memory, self.highest)}


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
    whole: FittedStatistics
    weight: float  # of the picture as a whole
    tiles: int = 1  # of a frame

    @property
    def out_of_fold(self) -> Maps:
        """The maps of all good images by memories and statistics without them."""
        memory = self.patches.left_out
        whole = where_it_shows(self.whole.left_out[:, None, None], memory, self.memory.highest)
        return {"memory": memory.numpy(), "whole": whole.numpy()}

    def fusion(self, height: int, width: int, score: ScoreSpec) -> FusionSpec:
        """The memory alone on a grid of cells, a unit being the spread of the score over good images."""
        one = FusionSpec(maps=(MapSpec(name="memory"),), height=height, width=width, score=score)
        maps = (
            MapSpec(name="memory", weight=1 / _deviation(self.out_of_fold, one)),
            MapSpec(name="whole", weight=self.weight),
        )
        return msgspec.structs.replace(one, maps=maps)

    def provenance(self) -> dict[str, Any]:
        """What was found of the part."""
        nearest = self.patches.map
        regions, _, patches = nearest.patches.shape
        return {"still": round(self.patches.still, 4), "regions": regions, "patches": patches}

    def findings(self) -> list[dict[str, str]]:
        """What the good images say of the part, from which figures, what was chosen, and how to overrule it."""
        found, count = self.provenance(), len(self.patches.left_out)
        still, parts = found["regions"] > 1, "tiles" if self.patches.group > 1 else "regions"
        nearer = f"images left out are {found['still']:.2f} times as far from the others' patches by region as from all"
        kept = "are held for each" if still else "are held for all"
        return [
            {
                "found": "the part lies still" if still else "the part moves or turns, or is a texture",
                "figures": nearer if self.patches.still != 1 else "not looked at, since options or the size decide",
                "chosen": f"{found['patches']} patches {kept} of {found['regions']} {parts}",
                "overrule": "--set places=no" if still else "--set places=yes",
            },
            {
                "found": f"{count} {'good images' if self.tiles == 1 else 'tiles of good frames'}",
                "figures": f"trusted by {trust(count):.0%} against what is assumed without them",
                "chosen": f"the picture as a whole has the weight {self.weight:.2f}",
                "overrule": "--set whole=0",
            },
        ]


def remember(trunk: EfficientNetLite, images: TrainingImages, run: Run, options: MemoryOptions) -> Remembered:
    """Fit the memory and the statistics of pictures to all good images."""
    context = trunk.blocks[max(trunk.taps) + 1]
    cells, vectors = _collect(trunk, context, lite_batches(images, run.device)())
    folds = make_folds(len(images.train), len(images.calibration), images.tiles)
    places = {"auto": None, "yes": True, "no": False}.get(str(options.places), bool(options.places))
    patches = fit_memory_map(cells, options.memory, folds, places=places, seed=run.seed, tiles=images.tiles)
    pictures = fit_image_statistics(vectors, folds, patches.group)
    highest = max(NARROWEST, level(patches.left_out))
    memory = GoodMemory(patches.map, context, pictures.statistics, highest).to(run.device).eval()
    return Remembered(memory, patches, pictures, options.whole * trust(len(vectors)), images.tiles)


def make_folds(train: int, calibration: int, tiles: int = 1) -> list[Tensor]:
    """Indices of images that are left out together: those to calibrate with, which students have not seen, first. The
    tiles of a frame stay together."""
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
        fusion = remembered.fusion(height, width, ScoreSpec(top=max(1, round(top * height * width))))
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
        report=report,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Students and memory together."""

    network: nn.Module  # to be exported; without the students where they are of no help
    fusion: FusionSpec
    out_of_fold: Maps  # good images' maps, as `Trained` has them
    report: dict[str, Any]  # how it came about, as `Trained.report` has it
    group: int = 1  # as `Trained` has it


def add_memory(
    network: Students, trunk: EfficientNetLite, students: FusionSpec, maps: Maps, images: TrainingImages, run: Run,
    options: MemoryOptions,
) -> Joined:  # fmt: skip
    """Give the network a memory; `students` fuses its students' maps and `maps` are these of good images out of fold.
    Where students are of no help the fusion names none of them."""
    if not options.memory:
        return Joined(network, students, maps, {})
    remembered = remember(trunk, images, run, options)
    alone = remembered.fusion(students.height, students.width, students.score)
    both = _weighted(students, options.students / _deviation(maps, students), alone, 1 - options.students)
    found = _planted_aurocs(network, trunk, (alone, both), remembered, images, run)
    network.memory = remembered.memory
    planted = {"memory": round(found[0], 4), "both": round(found[1], 4)}
    helps = found[1] >= found[0] - TOLERATED
    report: dict[str, Any] = {"memory": remembered.provenance() | {"planted_auroc": planted, "students": helps}}
    report["findings"] = [*remembered.findings(), _of_students(planted, options.students, helps=helps)]
    if helps:
        return Joined(network, both, {**maps, **remembered.out_of_fold}, report, remembered.patches.group)
    memory = MemoryAlone(trunk, remembered.memory).eval()
    return Joined(memory, alone, remembered.out_of_fold, report, remembered.patches.group)


def _of_students(planted: Mapping[str, float], share: float, *, helps: bool) -> dict[str, str]:
    return {
        "found": f"students are of {'help' if helps else 'no help'} beside the memory",
        "figures": f"AUROC of planted anomalies {planted['both']:.3f} with them, {planted['memory']:.3f} without",
        "chosen": f"their share of the score is {share:.2f}" if helps else "they are left out",
        "overrule": "--set students=SHARE" if helps else "--set memory=0 for students alone",
    }


def _weighted(fusion: FusionSpec, weight: float, alone: FusionSpec, share: float) -> FusionSpec:
    """The sum of both; the picture as a whole counts as it does alone."""
    students = [msgspec.structs.replace(one, weight=weight * one.weight) for one in fusion.maps]
    memory, whole = alone.maps
    maps = (*students, msgspec.structs.replace(memory, weight=share * memory.weight), whole)
    return msgspec.structs.replace(fusion, maps=maps)


def _planted_aurocs(
    network: Students, trunk: EfficientNetLite, fusions: Iterable[FusionSpec], remembered: Remembered,
    images: TrainingImages, run: Run,
) -> list[float]:  # fmt: skip
    """The AUROC of each fusion on anomalies planted into images to calibrate with, by a memory without them."""
    tiles, count = images.tiles, len(images.calibration) // images.tiles
    frames = evenly_spaced(range(count), max(1, PLANTED // tiles))
    good = np.concatenate([images.calibration[tiles * frame : tiles * (frame + 1)] for frame in frames])
    anomalies = Anomalies(default_textures(images.train, run.textures), 1.0, kinds=("perlin", "crack", "blob"))
    random = np.random.default_rng(run.seed)
    several = [good[start : start + tiles] for start in range(0, len(good), tiles) for _ in range(EACH)]
    damaged = np.stack([anomalies.draw(image, random)[0] for frame in several for image in frame])
    memory = remembered.memory
    first = GoodMemory(remembered.patches.first, memory.context, memory.statistics, memory.highest).to(run.device)

    def maps(batch: Tensor) -> dict[str, Tensor]:
        return {**network(batch), **first(*memory_taps(trunk(batch)))}

    pictures = np.concatenate([good, damaged])
    size = chunk(tiles)
    batches = (lite_tensor(pictures[start : start + size], run.device) for start in range(0, len(pictures), size))
    seen = read_maps(maps, batches)
    bad = np.arange(len(pictures)) >= len(good)
    return [image_auroc(_scores(seen, fusion), bad) for fusion in fusions]


@torch.no_grad()
def read_maps(network: Callable[[Tensor], Mapping[str, Tensor]], batches: Iterable[Tensor]) -> Maps:
    """The network's maps of all images, by name."""
    found: dict[str, list[NDArray[np.float32]]] = {}
    for batch in batches:
        for name, tensor in network(batch).items():
            found.setdefault(name, []).append(tensor.float().cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _scores(maps: Maps, fusion: FusionSpec) -> NDArray[np.float64]:
    """The raw score of every image."""
    names = [one.name for one in fusion.maps]
    rows = ({name: maps[name][index] for name in names} for index in range(len(maps[names[0]])))
    return np.array([image_score(fuse(row, fusion), fusion) for row in rows])


@torch.no_grad()
def _collect(trunk: EfficientNetLite, context: nn.Module, batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Pooled taps (N, C, h, w) in FP16, a picture being 78 kB at 256 pixels, and the vectors (N, V) of pictures."""
    cells, vectors = [], []
    for batch in batches:
        fine, coarse = memory_taps(trunk(batch))
        cells.append(pool_taps(fine, coarse).half().cpu())
        vectors.append(image_descriptor(context(coarse)).cpu())
    return torch.cat(cells), torch.cat(vectors)


def _deviation(maps: Maps, fusion: FusionSpec) -> float:
    """The spread of good images' scores."""
    return max(NARROWEST, float(_scores(maps, fusion).std()))


def input_spec(size: tuple[int, int]) -> InputSpec:
    """How the trunk takes its images."""
    return InputSpec(height=size[0], width=size[1], scale=(SCALE,) * 3, offset=(OFFSET,) * 3)
