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
from edgead.cuda.context import CudaContext, Stream, kernel_args
from edgead.cuda.kernels import Kernels
from edgead.errors import EngineError
from edgead.ops.tiles import tile_cells
from edgead.types import MapF32

MAPS = 16  # as in fuse.cu
THREADS = (1024, 1, 1)
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
BLURRING = np.dtype(  # struct Blurring
    [
        ("maps", "u8"),
        ("out", "u8"),
        ("weights", "u8"),
        ("mask", "u8"),
        ("radius", "i4"),
        ("is_vertical", "i4"),
        ("height", "i4"),
        ("width", "i4"),
    ]
)
SCORING = np.dtype([("maps", "u8"), ("scores", "u8"), ("cells", "i4"), ("top", "i4")])  # struct Scoring


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
        self._combine = kernels.get("fuse", "combine", COMBINATION)
        self._blur = kernels.get("fuse", "blur", BLURRING)
        top = min(spec.score.top, spec.height * spec.width)
        self._score = kernels.get("fuse", "largest" if top == 1 else "mean_of_top", SCORING)
        covered = _sent(gpu, mask, stream) if mask is not None else 0
        self._combination = kernel_args(COMBINATION)
        for index, part in enumerate(spec.maps):
            source, scale, offset = outputs[part.name], part.weight * part.scale, part.weight * part.offset
            entry = (source.address, source.height, source.width, source.half, scale, offset, 0)
            self._combination["maps"][index] = entry
        kind = covered if spec.sigma == 0 else 0, len(spec.maps), spec.combine == "product"
        rest = (*kind, *size, *_tiles(frames, size))
        for name, value in zip(COMBINATION.names[2:], rest, strict=True):  # type: ignore[index]
            self._combination[name] = value
        self._combination["out"] = self._maps
        self._blurrings = []
        if spec.sigma > 0:
            radius = math.ceil(3 * spec.sigma)
            kernel = cv2.getGaussianKernel(2 * radius + 1, spec.sigma, cv2.CV_32F).ravel()
            weights, between = _sent(gpu, np.asarray(kernel, np.float32), stream), Buffer(gpu, self.maps.nbytes)
            here, there = self._maps, between.address
            across = np.array((here, there, weights, 0, radius, False, *size), BLURRING)
            down = np.array((there, here, weights, covered, radius, True, *size), BLURRING)
            self._blurrings = [across, down]
        self._scoring = np.array((self._maps, results.address("scores"), spec.height * spec.width, top), SCORING)

    def launch(self, count: int, stream: Stream) -> None:
        """Fuse the first `count` frames; maps and scores stay on the device."""
        assert 1 <= count <= len(self.maps)
        grid = blocks(*self._size, count)
        stream.launch(self._combine, grid, TILE, self._combination)
        for blurring in self._blurrings:
            stream.launch(self._blur, grid, TILE, blurring)
        stream.launch(self._score, (count, 1, 1), THREADS, self._scoring)

    def address(self, index: int) -> int:
        """Where the fused map of a frame lies on the device, for `Overlay`."""
        height, width = self._size
        return self._maps + 4 * index * height * width


def _tiles(frames: InputSpec | None, size: tuple[int, int]) -> tuple[int, ...]:
    """Rows and columns of tiles, the cells of one, and those from one to the next, in a frame's grid of `size`."""
    if frames is None or frames.tiles is None:
        return (1, 1, *size, *size)
    high, wide = tile_cells(frames, *size)
    overlap = high * frames.tiles.overlap // frames.height, wide * frames.tiles.overlap // frames.width
    return (*frames.tiles.grid, high, wide, high - overlap[0], wide - overlap[1])


def _sent(gpu: CudaContext, values: MapF32, stream: Stream) -> int:
    """The address of a copy on the device."""
    mirror = HostDeviceBuffer(gpu, values.shape, np.float32)
    mirror.host[...] = values
    mirror.upload(stream)
    stream.synchronize()
    return mirror.address
