"""Allocates memory once: on the device, and in pairs of a pinned host array and device memory of the same size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgead.cuda.context import CudaContext, Stream

_ALIGNMENT = 256  # bytes; where an array of a block begins


class Buffer:
    """Device memory. It grows only when `reserve` asks for more than ever before."""

    def __init__(self, gpu: CudaContext, size: int = 0) -> None:
        self._gpu = gpu
        self._memory: Any = None
        self.size = 0
        gpu.on_close(self._free)
        self.reserve(size)

    @property
    def address(self) -> int:
        return int(self._memory)

    def reserve(self, size: int) -> None:
        """Hold at least `size` bytes; the contents are lost when that takes a new allocation."""
        if size <= self.size and self._memory is not None:
            return
        self._free()
        self._memory = self._gpu.allocate(size)
        self.size = size

    def _free(self) -> None:
        if self._memory is not None:
            self._memory.free()  # waits for whatever still uses it
            self._memory = None


class HostDeviceBuffer:
    """A pinned array `host` of the host and memory of the same size on the device."""

    def __init__(self, gpu: CudaContext, shape: Sequence[int], dtype: DTypeLike) -> None:
        self.host: NDArray[Any] = gpu.pinned(shape, dtype)
        gpu.on_close(self.host.base.free)  # type: ignore[union-attr]
        self._buffer = Buffer(gpu, self.host.nbytes)

    @property
    def address(self) -> int:
        return self._buffer.address

    def upload(self, stream: Stream, count: int | None = None) -> None:
        """Send the first `count` entries, or all."""
        stream.upload(self.address, self.host[:count])

    def download(self, stream: Stream, count: int | None = None) -> None:
        """Fetch the first `count` entries, or all; they are there after `stream.synchronize()`."""
        stream.download(self.host[:count], self.address)


Layout = dict[str, tuple[tuple[int, ...], DTypeLike]]  # the shape and dtype of each array by its name


class ResultBlock:
    """Arrays of a batch's results in one piece of pinned memory and one of the device, fetched by one copy."""

    def __init__(self, gpu: CudaContext, layout: Layout) -> None:
        sizes = [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in layout.values()]
        starts = np.cumsum([0, *(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes)]).tolist()
        self._memory = HostDeviceBuffer(gpu, (max(starts[-1], 1),), np.uint8)
        self._starts = dict(zip(layout, starts, strict=False))
        self.host: dict[str, NDArray[Any]] = {
            name: self._memory.host[start : start + size].view(dtype).reshape(shape)
            for (name, (shape, dtype)), start, size in zip(layout.items(), starts, sizes, strict=False)
        }

    def address(self, name: str) -> int:
        """Where an array lies on the device."""
        return self._memory.address + int(self._starts[name])

    def span(self, first: str, last: str) -> tuple[int, int]:
        """The address of `first`, and how many 32-bit words there are to the end of `last`, which comes after it."""
        start, end = self.address(first), self.address(last) + self.host[last].nbytes
        return start, (end - start) // 4

    def download(self, stream: Stream) -> None:
        """Fetch all of them; they are in `host` after `stream.synchronize()`."""
        self._memory.download(stream)


def blocks(height: int, width: int, frames: int) -> tuple[int, int, int]:
    """The grid of blocks of TILE threads that covers `frames` planes."""
    across, down, _ = TILE
    return math.ceil(width / across), math.ceil(height / down), frames


TILE = (32, 8, 1)  # threads of a block: a warp reads along a row
