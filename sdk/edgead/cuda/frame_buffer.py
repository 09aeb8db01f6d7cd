"""Holds frames in device memory, in the layouts that cameras, decoders and other libraries give.

A frame gets there in one of four ways: it is copied into pinned memory and uploaded with the rest of its batch; it lies
in memory that the GPU copies from by itself (`PinnedBlocks`); on a Jetson, whose GPU has the host's memory, it is read
where it lies; or it lies on the GPU already (`edgead.arrays.DeviceImage`), and is copied there.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.arrays import AnyImage, DeviceImage, PixelLayout
from edgead.cuda.buffers import Buffer
from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.pinned_blocks import PinnedBlocks
from edgead.errors import DataError
from edgead.frame_pool import block_of

FRAMES = 32  # the most frames of one batch, as in resize.cu
DEVICE_FRAME = np.dtype(  # struct DeviceFrame of frames.cuh
    [
        ("pixels", "u8"),
        ("chroma", "u8"),
        ("pitch", "i4"),
        ("chroma_pitch", "i4"),
        ("step", "i4"),
        ("plane", "i4"),
        ("height", "i4"),
        ("width", "i4"),
        ("format", "i4"),
        ("unused", "i4"),
    ]
)
DeviceFrames = NDArray[Any]  # (n,) of DEVICE_FRAME
ALIGNMENT = 256  # bytes; where a frame begins
WORD = 16  # bytes that the kernel reads at once
_MOST_KNOWN = 64  # arrangements that are remembered: frames of ever new sizes must not fill the memory
_NUMBERS = itertools.count()
_STAGED, _COPIED, _IN_PLACE = "staged", "copied", "in place"  # how a picture gets to the device


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """How one picture of a batch gets to the device."""

    layout: PixelLayout
    way: str
    address: int = 0  # where the GPU reads it, in place


@dataclass(frozen=True, slots=True, eq=False)
class StagedFrames:
    """Where pictures of certain shapes lie in pinned memory, and on the device."""

    number: int  # no other has it, of any buffer: its places stay what they are
    frames: DeviceFrames
    places: list[NDArray[np.uint8] | None]  # in pinned memory, of a picture's shape; None for one that is not staged
    memory: NDArray[np.uint8]  # all that is staged, which comes first in the buffer
    targets: list[int]  # where the others are copied to, in their order
    is_apart: bool  # whether there are such: they come from ever other places, so that no graph can have them


class FrameBuffer:
    """A batch of up to `count` frames of any sizes, described by `frames`.

    Host and device memory grow with the first batch that needs more than any before it, never otherwise.
    """

    def __init__(self, gpu: CudaContext, count: int, blocks: PinnedBlocks | None = None) -> None:
        """`blocks` are shared by the buffers of an engine; without them every frame of the host is copied."""
        if not 1 <= count <= FRAMES:
            raise ValueError(f"a batch has 1 to {FRAMES} frames, not {count}")
        self._most, self._gpu, self._blocks = count, gpu, blocks
        self._memory: NDArray[np.uint8] | None = None
        self._known: dict[Hashable, StagedFrames] = {}  # by what is to be arranged, as the memory lies now
        self._staged: StagedFrames | None = None
        self._apart: list[AnyImage] = []  # the batch's pictures that are not staged
        self._buffer = None if gpu.is_integrated else Buffer(gpu)
        self._sent = gpu.event()
        gpu.on_close(self._free)

    def upload(self, images: Sequence[AnyImage], stream: Stream) -> DeviceFrames:
        """The uploaded frames, valid until the next upload; images of the host may be changed at once.

        Raises DataError for an image that is none.
        """
        self._sent.synchronize()  # the last batch has left the pinned memory
        staged = self.stage(images)
        self.send(stream)
        self._sent.record(stream)
        return staged.frames

    def stage(self, images: Sequence[AnyImage]) -> StagedFrames:
        """Copy images of the host into pinned memory where they are not in such; what was sent must have arrived.

        The frames are described as they will lie on the device after `send`. What is on its way to a device image is
        waited for. Raises DataError for an image that is none.
        """
        ways = [self._way(image, len(images)) for image in images]
        key = tuple(ways)
        staged = self._known.get(key)
        if staged is None:
            staged = self._arrange([_item(image, way) for image, way in zip(images, ways, strict=True)])
            self._known[key] = staged
        self._apart = []
        for place, image, way in zip(staged.places, images, ways, strict=True):
            if place is not None and not isinstance(image, DeviceImage):
                place[...] = image
            elif way[0] == _COPIED:
                self._apart.append(image)
        self._staged = staged
        return staged

    def _way(self, image: AnyImage, count: int) -> tuple[Any, ...]:
        """How an image gets to the device, with all that its place there depends on."""
        if isinstance(image, DeviceImage):
            return _COPIED, image.layout
        block = None if self._blocks is None else block_of(image)
        if block is not None and self._blocks is not None and image.flags.c_contiguous and image.ndim == 3:
            address = self._blocks.address(block)
            if address == 0:
                return _COPIED, image.shape
            if address is not None and count == 1:  # of several each order would have a graph of its own
                return _IN_PLACE, image.shape, address + image.ctypes.data - block.memory.ctypes.data
        return _STAGED, image.shape, image.dtype.str

    def send(self, stream: Stream) -> None:
        """Upload what is staged, in one copy (nothing where the GPU reads it there), and copy the others."""
        assert self._staged is not None
        if self._buffer is not None and self._staged.memory.size:
            stream.upload(self._buffer.address, self._staged.memory)
        for image, target in zip(self._apart, self._staged.targets, strict=True):
            if isinstance(image, DeviceImage):
                stream.copy(target, image.address, image.layout.size)
            else:
                stream.upload(target, image)

    def _arrange(self, items: Sequence[_Item]) -> StagedFrames:
        """Places for such pictures: first those that are staged, in one piece."""
        assert 1 <= len(items) <= self._most
        order = sorted(range(len(items)), key=lambda index: items[index].way != _STAGED)
        sizes = [0 if items[at].way == _IN_PLACE else _aligned(items[at].layout.size, ALIGNMENT) for at in order]
        starts = dict(zip(order, itertools.accumulate(sizes, initial=0), strict=False))
        staged = sum(size for at, size in zip(order, sizes, strict=True) if items[at].way == _STAGED)
        memory = self._reserve(sum(sizes))
        base = self._gpu.mapped_address(memory) if self._buffer is None else self._buffer.address
        frames, places, targets = np.zeros(len(items), DEVICE_FRAME), list[NDArray[np.uint8] | None](), list[int]()
        for index, item in enumerate(items):
            layout = item.layout
            start = item.address if item.way == _IN_PLACE else base + starts[index]
            chroma = start + layout.chroma if layout.chroma else 0
            size = layout.height, layout.width
            frames[index] = (
                *(start + layout.first, chroma, layout.pitch, layout.pitch, layout.step, layout.plane),
                *(*size, layout.format, 0),
            )
            if item.way == _STAGED:
                rows = memory[starts[index] : starts[index] + layout.size].reshape(layout.height, layout.pitch)
                places.append(rows[:, : 3 * layout.width].reshape(*size, 3))
            else:
                places.append(None)
                targets += [start] if item.way == _COPIED else []
        return StagedFrames(next(_NUMBERS), frames, places, memory[:staged], targets, bool(targets))

    def _reserve(self, size: int) -> NDArray[np.uint8]:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        if self._memory is None or self._memory.size < size:
            self._known.clear()
            self._free()
            self._memory = self._gpu.pinned((max(size, 1),), np.uint8, mapped=self._buffer is None)
            if self._buffer is not None:
                self._buffer.reserve(size)
        return self._memory

    def _free(self) -> None:
        if self._memory is not None:
            self._memory.base.free()  # type: ignore[union-attr]
            self._memory = None


def _item(image: AnyImage, way: tuple[Any, ...]) -> _Item:
    """Raises DataError for an image of the host that is none."""
    if isinstance(image, DeviceImage):
        return _Item(image.layout, _COPIED)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise DataError(f"a BGR frame cannot have the shape {image.shape} and the type {image.dtype}")
    height, width, _ = image.shape
    pitch = _aligned(3 * width, WORD) if way[0] == _STAGED else 3 * width
    layout = PixelLayout(height, width, 0, pitch, 3, 1, height * pitch)
    return _Item(layout, way[0], way[2] if way[0] == _IN_PLACE else 0)


def _aligned(size: int, to: int) -> int:
    return -(-size // to) * to
