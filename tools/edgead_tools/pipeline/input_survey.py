"""Finds out which size of defect is found at which input: whole frames, or tiles of ever finer grids.

A memory without training is fitted to some good frames at each input, defects of known size are planted in others at
the resolution of the camera, and the size found in 90 % of cases is read from hits and misses
(edgead_calibration.detection). A defect is found where the score exceeds that of every good frame that was looked at.
Only tiles that a defect touches are run again, so that a survey takes seconds.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgead.bundle import InputSpec, TileSpec
from edgead.config import BuildConfig
from edgead.config.build import AUTO
from edgead.errors import DataError
from edgead.ops import cut_tiles, fuse_batch, image_score, normalize, resize
from edgead.progress import Reporter
from edgead.types import ImageU8, MapF32
from edgead_calibration.detection import fit_hits
from edgead_calibration.images import evenly_spaced
from edgead_tools.data import DecodedImages
from edgead_tools.data.defects import plant_defect
from edgead_tools.data.samples import Sample
from edgead_tools.methods import Method, Trained, TrainingImages
from edgead_tools.methods.memory import MemoryOptions
from edgead_tools.pipeline.detection import KINDS
from edgead_tools.pipeline.tiling import of_frames, tile_input, tile_spec
from edgead_tools.training.run import Run

LEARNED = 16  # good frames that are learned from, at most
LEARNED_TILES = 128  # tiles of them
MEMORY = 256  # good patches, at most: it is compared with itself at other inputs alone
LOOKED_AT = 6  # good frames that defects are planted in
EACH = 10  # defects in each of them
SIZES = 3.0, 0.05  # of planted defects: pixels, and the share of the frame's shorter side
CONTRASTS = 25.0, 80.0  # gray levels: fainter ones would tell more of contrast than of size
MOST_TILES = 64  # of a grid that is looked at
SHRUNK = 4.0  # times: of frames that lose more it is said what tiles would find
AS_GOOD = 1.2  # times the smallest size found, which a cheaper input may need
FEWEST = 4  # frames
AT_ONCE = 16  # tiles

Progress = Callable[[int, int], None]
Maps = dict[str, MapF32]


@dataclasses.dataclass(frozen=True, slots=True)
class InputFinding:
    """What one input finds, and what it costs."""

    columns: int  # of tiles
    rows: int
    shrunk: float  # times that a frame is made smaller
    size: float | None  # pixels of the frame: of defects, nine in ten of that size are found; None: of no planted size
    found: float  # share of all planted defects
    milliseconds: float  # of the network without training on a frame, here, in the framework that trains

    @property
    def tiles(self) -> int:
        return self.columns * self.rows

    def in_words(self) -> str:
        """One sentence for the log of a build."""
        what = "whole frames" if self.tiles == 1 else f"{self.columns}x{self.rows} tiles"
        finds = (
            f"nine in ten defects of {self.size:.0f} pixels are found"
            if self.size is not None
            else f"no planted size is found in nine of ten cases, {self.found:.0%} of all are"
        )
        cost = f"the network runs on {self.tiles} inputs a frame" if self.tiles > 1 else "the network runs once a frame"
        return f"{what}, shrunk {self.shrunk:.1f}-fold: {finds}; {cost}, about {self.milliseconds:.0f} ms here"


def find_tiles(
    config: BuildConfig,
    method: Method,
    samples: Sequence[Sample],
    size: tuple[int, int],
    run: Run,
    decoded: DecodedImages,
    reporter: Reporter,
) -> tuple[TileSpec | None, dict[str, Any]]:
    """The tiles of a build's frames, and the record of a survey where there was one.

    Without a grid a survey says what others would find, where frames are shrunk more than `SHRUNK` times and something
    is trained; with `tiles: auto` it decides. Images that cannot be read have no say.
    """
    decides = config.tiles == AUTO
    if config.tile_grid is not None or not (decides or (run.trains and _is_shrunk(method, samples, size, decoded))):
        return tile_spec(config.tile_grid, config.tile_overlap, size), {}
    samples = _readable(samples, decoded)
    if len(samples) < FEWEST:  # the check of all images says that there are too few
        return None, {}
    with reporter.stage("looking which defects are found at which input") as on_progress:
        found = survey_inputs(method, samples, decoded, size, config.tile_overlap, run, on_progress)
    for one in found:
        reporter.say(one.in_words())
    best = choose_input(found)
    chosen = (best.rows, best.columns) if decides else (1, 1)
    if decides and best.tiles > 1:
        reporter.say(f"frames are cut into {best.columns}x{best.rows} tiles; --tiles {best.columns}x{best.rows} or "
                     "another grid overrules it")  # fmt: skip
    elif not decides and best.tiles > 1:
        reporter.say(f"frames stay whole; --tiles {best.columns}x{best.rows} would find the smaller ones")
    return tile_spec(chosen, config.tile_overlap, size), provenance(found, chosen)


def _readable(samples: Sequence[Sample], decoded: DecodedImages) -> list[Sample]:
    """As many of the samples as a survey looks at, spread evenly, that can be read."""
    found = []
    for sample in evenly_spaced(samples, LEARNED + LOOKED_AT):
        with suppress(DataError):  # the check of all images says so
            decoded.frame(sample)
            found.append(sample)
    return found


def _is_shrunk(method: Method, samples: Sequence[Sample], size: tuple[int, int], decoded: DecodedImages) -> bool:
    """Whether frames lose so much that the method, which needs no training for it, is worth a survey."""
    if not method.memory or method.segments:
        return False
    for sample in samples:
        with suppress(DataError):  # the check of all images says so
            frame = decoded.frame(sample).shape
            return bool(max(frame[0] / size[0], frame[1] / size[1]) > SHRUNK)
    return False


def choose_input(findings: Sequence[InputFinding]) -> InputFinding:
    """The cheapest input that finds defects about as small as any does; where none does, the one that finds most."""
    sizes = [one.size for one in findings if one.size is not None]
    if not sizes:
        return max(findings, key=lambda one: (one.found, -one.tiles))
    enough = [one for one in findings if one.size is not None and one.size <= AS_GOOD * min(sizes)]
    return min(enough, key=lambda one: one.tiles)


def grids(frame: tuple[int, int], size: tuple[int, int], overlap: int) -> list[tuple[int, int]]:
    """The grids (rows, columns) worth looking at for frames and tiles of those sizes (height, width): one tile, then
    such that frames are shrunk half as much each, down to the camera's pixels or `MOST_TILES`."""
    found: list[tuple[int, int]] = []
    shrunk = 1.0
    while shrunk < 2 * max(side / whole for side, whole in zip(frame, size, strict=True)):
        grid = tuple(
            max(1, math.ceil((side / shrunk - overlap) / (tile - overlap)))
            for side, tile in zip(frame, size, strict=True)
        )
        if math.prod(grid) <= MOST_TILES:
            found.append((grid[0], grid[1]))
            shrunk *= 2
        else:
            shrunk += 1
    return list(dict.fromkeys([(1, 1), *reversed(found)]))


def survey_inputs(
    method: Method, samples: Sequence[Sample], decoded: DecodedImages, size: tuple[int, int], overlap: int, run: Run,
    on_progress: Progress,
) -> list[InputFinding]:  # fmt: skip
    """What whole frames and every grid find; `samples` are good, at least two of them."""
    looked_at = evenly_spaced(samples, min(LOOKED_AT, len(samples) // 2))
    rest = [one for one in samples if one not in set(looked_at)]
    learned = evenly_spaced(rest, LEARNED)
    first = decoded.frame(looked_at[0])
    frame = first.shape[0], first.shape[1]
    specs = [tile_input(size, tile_spec(grid, overlap, size)) for grid in grids(frame, size, overlap)]
    total = len(specs) + len(looked_at)
    canvases = _read(learned, decoded, specs)
    inputs = []
    for done, (spec, frames) in enumerate(zip(specs, canvases, strict=True), start=1):
        inputs.append(_Surveyed(_without_training(method, spec, frames, run), run.device))
        on_progress(done, total)
    random = np.random.default_rng(run.seed)
    for done, sample in enumerate(looked_at, start=len(specs) + 1):
        image = decoded.frame(sample)
        for one in inputs:
            one.look(image)
        for index in range(EACH):
            largest = max(2 * SIZES[0], SIZES[1] * min(image.shape[:2]))
            pixels, contrast = (
                float(np.exp(random.uniform(*np.log(ends)))) for ends in ((SIZES[0], largest), CONTRASTS)
            )
            spoiled, _ = plant_defect(image, KINDS[index % len(KINDS)], pixels, contrast, random)
            for one in inputs:
                one.plant(spoiled, pixels)
        on_progress(done, total)
    return [one.finding(frame) for one in inputs]


def _read(samples: Sequence[Sample], decoded: DecodedImages, specs: Sequence[InputSpec]) -> list[list[ImageU8]]:
    """The samples at the size of every input, each read once."""
    found: list[list[ImageU8]] = [[] for _ in specs]
    for sample in samples:
        image = decoded.frame(sample)
        for frames, spec in zip(found, specs, strict=True):
            frames.append(resize(image, *spec.frame))
    return found


def _without_training(method: Method, spec: InputSpec, frames: Sequence[ImageU8], run: Run) -> Trained:
    """What the method is without training, at an input; all tiles share one memory."""
    tiles = [tile for frame in frames for tile in cut_tiles(frame, spec)]
    taken = evenly_spaced(tiles, LEARNED_TILES)
    held = max(1, len(taken) // 8)
    order = np.random.default_rng(run.seed).permutation(len(taken))
    rows = np.stack([taken[index] for index in order])
    plain = run.untrained()
    if isinstance(method, MemoryOptions):
        method = dataclasses.replace(method, memory=min(method.memory, MEMORY))
    return of_frames(method.train(TrainingImages(rows[held:], rows[:held]), plain), spec.tiles)


class _Surveyed:
    """One input under survey: its network, and what it made of good frames and of planted defects."""

    def __init__(self, trained: Trained, device: str) -> None:
        self._trained, self._device = trained, device
        self._spec, self._fusion = trained.input, trained.fusion
        self._network = trained.network.to(device)
        self._good: list[float] = []
        self._times: list[float] = []
        self._sizes: list[float] = []
        self._scores: list[float] = []
        self._tiles: list[ImageU8] = []
        self._maps: Maps = {}

    def look(self, image: ImageU8) -> None:
        """Take in a good frame, in which defects are planted next."""
        self._tiles = self._tiles_of(image)
        start = time.perf_counter()
        self._maps = self._run(self._tiles)
        self._times.append(time.perf_counter() - start)
        self._good.append(self._score(self._maps))

    def plant(self, image: ImageU8, size: float) -> None:
        """Take in the same frame with a defect."""
        tiles = self._tiles_of(image)
        changed = [index for index, tile in enumerate(tiles) if not np.array_equal(tile, self._tiles[index])]
        maps = {name: values.copy() for name, values in self._maps.items()}
        for name, values in self._run([tiles[index] for index in changed]).items() if changed else ():
            maps[name][changed] = values
        self._sizes.append(size)
        self._scores.append(self._score(maps))

    def finding(self, frame: tuple[int, int]) -> InputFinding:
        hits = [score > max(self._good) for score in self._scores]
        tiles = self._spec.tiles or TileSpec(rows=1, columns=2, overlap=0)
        return InputFinding(
            columns=1 if self._spec.tiles is None else tiles.columns,
            rows=tiles.rows,
            shrunk=max(side / whole for side, whole in zip(frame, self._spec.frame, strict=True)),
            size=fit_hits(self._sizes, hits).a90,
            found=float(np.mean(hits)),
            milliseconds=1e3 * float(np.median(self._times)),
        )

    def _tiles_of(self, image: ImageU8) -> list[ImageU8]:
        return cut_tiles(resize(image, *self._spec.frame), self._spec)

    def _score(self, maps: Maps) -> float:
        return image_score(fuse_batch(maps, self._spec, self._fusion), self._fusion)

    @torch.inference_mode()
    def _run(self, tiles: Sequence[ImageU8]) -> Maps:
        """The network's maps of tiles, (n, h, w) by name."""
        found = [
            {name: values.float().cpu().numpy() for name, values in self._network(batch).items()}
            for batch in self._batches(tiles)
        ]
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    def _batches(self, tiles: Sequence[ImageU8]) -> Iterator[torch.Tensor]:
        for start in range(0, len(tiles), AT_ONCE):
            some = tiles[start : start + AT_ONCE]
            batch: NDArray[np.float32] = np.empty((len(some), 3, self._spec.height, self._spec.width), np.float32)
            for tile, out in zip(some, batch, strict=True):
                normalize(tile, self._spec, out)
            yield torch.from_numpy(np.ascontiguousarray(batch[:, ::-1])).to(self._device)  # the network takes RGB


def provenance(findings: Sequence[InputFinding], chosen: tuple[int, int]) -> dict[str, Any]:
    """What a bundle records of a survey; `chosen` is the grid (rows, columns) that was taken."""
    return {"inputs": [dataclasses.asdict(one) for one in findings], "chosen": list(chosen)}
