"""Runs `ops.to_input` on the GPU: frames to the network's normalized input."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgead.arrays import Format
from edgead.bundle.input_spec import InputSpec
from edgead.cuda.buffers import TILE, Buffer, blocks
from edgead.cuda.context import CudaContext, Stream, kernel_args
from edgead.cuda.frame_buffer import DEVICE_FRAME, FRAMES, WORD, DeviceFrames
from edgead.cuda.kernels import Kernels

LEVELS = 3  # halvings in one launch
GROUP = 16  # pixels of a row that one thread halves
_HALVING = np.dtype(  # struct Halving of resize.cu
    [
        ("source", DEVICE_FRAME),
        ("target", "u8"),
        ("height", "i4"),
        ("width", "i4"),
        ("levels", "i4"),
        ("unused", "i4"),
    ]
)
HALVINGS = np.dtype([("frames", _HALVING, FRAMES)])
SAMPLING = np.dtype(  # struct Sampling
    [
        ("frames", DEVICE_FRAME, FRAMES),
        ("tensor", "u8"),
        ("height", "i4"),
        ("width", "i4"),
        ("scale", "f4", 3),
        ("offset", "f4", 3),
        ("rows", "i4"),
        ("columns", "i4"),
        ("step_down", "i4"),
        ("step_across", "i4"),
        ("whole_height", "i4"),
        ("whole_width", "i4"),
    ]
)


class Resize:
    """Writes `tensor`, (batch, 3, height, width) float32 or float16 on the device, from frames of any sizes.

    A frame in tiles fills as many entries as it has tiles (`edgead.ops.tiles`).
    """

    def __init__(self, gpu: CudaContext, kernels: Kernels, spec: InputSpec, batch: int, *, half: bool = False) -> None:
        self._size, self._whole, self._batch, self._tiles = (spec.height, spec.width), spec.frame, batch, spec.batch
        self._halve = kernels.get("resize", "halve", HALVINGS)
        self._sample = kernels.get("resize", "sample_f16" if half else "sample_f32", SAMPLING)
        self.tensor = Buffer(gpu, batch * spec.batch * 3 * spec.height * spec.width * (2 if half else 4))
        self._scratch = Buffer(gpu)  # halved frames; grows as `FrameBuffer` does
        self._halvings, self._sampling = kernel_args(HALVINGS), kernel_args(SAMPLING)
        self._sampling["height"], self._sampling["width"] = self._size
        self._sampling["scale"], self._sampling["offset"] = spec.scale, spec.offset
        rows, columns, overlap = (1, 1, 0) if spec.tiles is None else (*spec.tiles.grid, spec.tiles.overlap)
        self._sampling["rows"], self._sampling["columns"] = rows, columns
        self._sampling["step_down"], self._sampling["step_across"] = spec.height - overlap, spec.width - overlap
        self._sampling["whole_height"], self._sampling["whole_width"] = self._whole

    def reserve(self, frames: DeviceFrames) -> None:
        """Reserve memory for such frames, so that `launch` allocates nothing."""
        self._scratch.reserve(_plan(frames, *self._whole)[1])

    @property
    def scratch(self) -> int:
        """Where that memory lies."""
        return self._scratch.address

    def launch(self, frames: DeviceFrames, stream: Stream) -> DeviceFrames:
        """Fill the tensor's first entries; gives the frames as halved, to draw a preview on while this batch lasts."""
        assert 1 <= len(frames) <= self._batch
        halved = frames.copy()
        passes, size = _plan(halved, *self._whole)
        self._scratch.reserve(size)
        for steps in passes:
            for slot, step in enumerate(steps):
                target = self._scratch.address + step.start
                task = (halved[step.index], target, step.height, step.width, step.levels, 0)
                self._halvings["frames"][slot] = task
                shape = step.height, step.width
                halved[step.index] = (target, 0, 3 * step.width, 0, 3, 1, *shape, Format.CHANNELS, 0)
            wide = max(math.ceil(step.width / (GROUP >> step.levels)) for step in steps)
            grid = blocks(max(step.height for step in steps), wide, len(steps))
            stream.launch(self._halve, grid, TILE, self._halvings)
        self._sampling["frames"][: len(halved)] = halved
        self._sampling["tensor"] = self.tensor.address
        stream.launch(self._sample, blocks(*self._size, self._tiles * len(halved)), TILE, self._sampling)
        return halved


@dataclass(frozen=True, slots=True)
class _Step:
    """What happens to one frame in one launch of `halve`."""

    index: int  # of the frame
    levels: int
    height: int  # after it
    width: int
    start: int  # in the scratch memory, bytes


def _plan(frames: DeviceFrames, height: int, width: int) -> tuple[list[list[_Step]], int]:
    """The launches that halve every frame as often as `ops.resize` does, and the bytes of scratch memory they need."""
    passes: list[list[_Step]] = []
    size = 0
    for index, (high, wide) in enumerate(zip(frames["height"].tolist(), frames["width"].tolist(), strict=True)):
        number = 0
        while levels := _halvings(high, wide, height, width):
            high, wide = high >> levels, wide >> levels
            if number == len(passes):
                passes.append([])
            passes[number].append(_Step(index, levels, high, wide, size))
            size += -(-3 * high * wide // WORD) * WORD
            number += 1
    return passes, size


def _halvings(high: int, wide: int, height: int, width: int) -> int:
    """How often a frame is still to be halved, as far as one launch can."""
    levels = 0
    while levels < LEVELS and high >> levels >= 2 * height and wide >> levels >= 2 * width:
        levels += 1
    return levels
