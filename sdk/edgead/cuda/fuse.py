"""Runs `ops.fuse` and `ops.image_score` on the GPU: the network's maps to one map and one raw score a frame."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from edgead.bundle.input_spec import InputSpec
from edgead.bundle.manifest import FusionSpec
from edgead.cuda.buffers import TILE, Buffer, HostDeviceBuffer, Layout, ResultBlock, blocks
from edgead.cuda.context import CudaContext, Kernel, KernelArgs, Shape, Stream, kernel_args
from edgead.cuda.kernels import Kernels
from edgead.errors import EngineError
from edgead.ops.tiles import tile_cells
from edgead.types import MapF32

MAPS = 16  # as in fuse.cu
SMALL = 4096  # cells; larger maps take several kernels
SLICE = 4096  # cells that a block scores, at least
SLICES = 32  # blocks that score a frame, at most
THREADS = (1024, 1, 1)
BLUR_TILE, BLUR_THREADS = 32, (256, 1, 1)  # cells of a block in each direction, and its threads
NEAR, FAR = 24, 160  # cells that the kernels of blur.cu reach
_MAP = np.dtype(  # struct Map of fuse.cu
    [
        ("values", "u8"),
        ("height", "i4"),
        ("width", "i4"),
        ("is_half", "i4"),
        ("scale", "f4"),
        ("offset", "f4"),
        ("unused", "i4"),
    ]
)
COMBINATION = np.dtype(  # struct Combination
    [
        ("maps", _MAP, MAPS),
        ("out", "u8"),
        ("mask", "u8"),
        ("count", "i4"),
        ("is_product", "i4"),
        ("height", "i4"),
        ("width", "i4"),
        ("rows", "i4"),
        ("columns", "i4"),
        ("tile_height", "i4"),
        ("tile_width", "i4"),
        ("step_down", "i4"),
        ("step_across", "i4"),
    ]
)
BLURRING = np.dtype(  # struct Blurring of blur.cu
    [
        ("maps", "u8"),
        ("out", "u8"),
        ("weights", "u8"),
        ("mask", "u8"),
        ("scores", "u8"),
        ("selections", "u8"),
        ("radius", "i4"),
        ("height", "i4"),
        ("width", "i4"),
        ("unused", "i4"),
    ]
)
SCORING = np.dtype(  # struct Scoring
    [
        ("maps", "u8"),
        ("scores", "u8"),
        ("selections", "u8"),
        ("cells", "i4"),
        ("top", "i4"),
        ("known", "i4"),
        ("unused", "i4"),
    ]
)
FUSING = np.dtype(  # struct Fusing
    [("combination", COMBINATION), ("weights", "u8"), ("scores", "u8"), ("radius", "i4"), ("top", "i4")]
)
SELECTION = 8464  # bytes of struct Selection
Step = tuple[Kernel, tuple[int, int], Shape, KernelArgs]  # a launch: the grid of one frame, a block, its arguments


@dataclass(frozen=True, slots=True)
class DeviceMap:
    """One output of the network where the network writes it: (batch, height, width) float32 or float16."""

    address: int
    height: int
    width: int
    half: bool = False


class Fuse:
    """Gives `maps`, (batch, height, width) float32, and `scores`, (batch,) float64, in a block of results."""

    @staticmethod
    def layout(spec: FusionSpec, batch: int) -> Layout:
        """What it needs of a `ResultBlock`."""
        return {"maps": ((batch, spec.height, spec.width), np.float32), "scores": ((batch,), np.float64)}

    def __init__(
        self,
        gpu: CudaContext,
        kernels: Kernels,
        spec: FusionSpec,
        batch: int,
        outputs: Mapping[str, DeviceMap],
        stream: Stream,
        results: ResultBlock,
        mask: MapF32 | None = None,
        frames: InputSpec | None = None,
    ) -> None:
        """`outputs` are the network's, by name; `results` has what `layout` asks for; `mask` is `ops.load_mask`'s, and
        `frames` says how they are cut; None: they are whole.

        The stream is waited for.
        """
        if len(spec.maps) > MAPS:
            raise EngineError(f"the CUDA kernels fuse {MAPS} maps, not {len(spec.maps)}: use --engine onnx")
        size = self._size = (spec.height, spec.width)
        self.maps, self.scores = results.host["maps"], results.host["scores"]
        self._maps = results.address("maps")
        top, cells = min(spec.score.top, spec.height * spec.width), spec.height * spec.width
        covered = _sent(gpu, mask, stream) if mask is not None else 0
        combination = kernel_args(COMBINATION)
        for index, part in enumerate(spec.maps):
            source, scale, offset = outputs[part.name], part.weight * part.scale, part.weight * part.offset
            entry = (source.address, source.height, source.width, source.half, scale, offset, 0)
            combination["maps"][index] = entry
        rest = (covered, len(spec.maps), spec.combine == "product", *size, *_tiles(frames, size))
        for name, value in zip(COMBINATION.names[2:], rest, strict=True):  # type: ignore[index]
            combination[name] = value
        combination["out"] = self._maps
        radius = math.ceil(3 * spec.sigma)
        weights = _sent(gpu, _gaussian(spec.sigma, radius), stream) if radius else 0
        args = np.array((combination, weights, results.address("scores"), radius, top), FUSING)
        self._steps: list[Step]
        if cells <= SMALL:
            self._steps = [(kernels.get("fuse", "fuse_small", FUSING), (1, 1), THREADS, args)]
        elif radius > FAR:
            raise EngineError(f"the CUDA kernels smooth by {FAR // 3} cells at most, not {spec.sigma:g}: use the CPU")
        else:
            self._steps = _steps_of_large(gpu, kernels, args, batch, stream)

    def launch(self, count: int, stream: Stream) -> None:
        """Fuse the first `count` frames; maps and scores stay on the device."""
        assert 1 <= count <= len(self.maps)
        for kernel, grid, block, args in self._steps:
            stream.launch(kernel, (*grid, count), block, args)


def _steps_of_large(gpu: CudaContext, kernels: Kernels, task: KernelArgs, batch: int, stream: Stream) -> list[Step]:
    """The launches for larger maps than a block holds; `task` is what `fuse_small` would be given."""
    combination, radius, top, scores = task["combination"].copy(), int(task["radius"]), int(task["top"]), task["scores"]
    size, maps = (int(combination["height"]), int(combination["width"])), int(combination["out"])
    selections = Buffer(gpu, batch * SELECTION)
    stream.zero(selections.address, selections.size // 4)
    stream.synchronize()
    steps: list[Step] = [(kernels.get("fuse", "combine", COMBINATION), blocks(*size, 1)[:2], TILE, combination)]
    names = ["largest"] if top == 1 else ["find_top", "find_top", "find_top", "sum_of_top"]
    if radius:
        between, scored = Buffer(gpu, 4 * batch * math.prod(size)), scores if top == 1 else 0
        places = between.address, maps, task["weights"], combination["mask"], scored, selections.address
        args = np.array((*places, radius, *size, 0), BLURRING)
        combination["out"], combination["mask"] = between.address, 0  # what is blurred is masked
        kernel = kernels.get("blur", "blur_near" if radius <= NEAR else "blur_far", BLURRING)
        tiles = math.ceil(size[1] / BLUR_TILE), math.ceil(size[0] / BLUR_TILE)
        steps.append((kernel, tiles, BLUR_THREADS, args))
        names = [] if scored else names
    cells = math.prod(size)
    slices = min(SLICES, math.ceil(cells / SLICE))
    for name, known in zip(names, (0, 11, 22, 32), strict=False):
        args = np.array((maps, scores, selections.address, cells, top, known, 0), SCORING)
        steps.append((kernels.get("fuse", name, SCORING), (slices, 1), THREADS, args))
    return steps


def _tiles(frames: InputSpec | None, size: tuple[int, int]) -> tuple[int, ...]:
    """Rows and columns of tiles, the cells of one, and those from one to the next, in a frame's grid of `size`."""
    if frames is None or frames.tiles is None:
        return (1, 1, *size, *size)
    high, wide = tile_cells(frames, *size)
    overlap = high * frames.tiles.overlap // frames.height, wide * frames.tiles.overlap // frames.width
    return (*frames.tiles.grid, high, wide, high - overlap[0], wide - overlap[1])


def _gaussian(sigma: float, radius: int) -> MapF32:
    """The weights that cv2.GaussianBlur takes."""
    return np.asarray(cv2.getGaussianKernel(2 * radius + 1, sigma, cv2.CV_32F), np.float32).ravel()


def _sent(gpu: CudaContext, values: MapF32, stream: Stream) -> int:
    """The address of a copy on the device."""
    mirror = HostDeviceBuffer(gpu, values.shape, np.float32)
    mirror.host[...] = values
    mirror.upload(stream)
    stream.synchronize()
    return mirror.address
