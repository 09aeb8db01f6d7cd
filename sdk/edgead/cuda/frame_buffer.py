"""Holds frames in device memory, in the layouts that cameras and decoders give."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgead.cuda.buffers import Buffer
from edgead.cuda.context import CudaContext, Stream
from edgead.errors import DataError

FRAMES = 32  # the most frames of one batch, as in resize.cu
DEVICE_FRAME = np.dtype(  # struct DeviceFrame of frames.cuh
    [
        ("pixels", "u8"),
        ("chroma", "u8"),
        ("pitch", "i4"),
        ("chroma_pitch", "i4"),
        ("top", "i4"),
        ("left", "i4"),
        ("height", "i4"),
        ("width", "i4"),
        ("format", "i4"),
        ("unused", "i4"),
    ]
)
DeviceFrames = NDArray[Any]  # (n,) of DEVICE_FRAME
ALIGNMENT = 256  # bytes; where a frame begins
_MOST_KNOWN = 64  # arrangements that are remembered: frames of ever new sizes must not fill the memory
_NUMBERS = itertools.count()


class Format(IntEnum):
    """How a frame's pixels lie in memory."""

    BGR = 0  # (H, W, 3)
    GRAY = 1  # (H, W), becomes three equal channels
    NV12 = 2  # (3 H / 2, W), luma above rows of U, V pairs; BT.601 in limited range, as cv2.COLOR_YUV2BGR_NV12


@dataclass(frozen=True, slots=True, eq=False)
class StagedFrames:
    """Where images of certain shapes lie in pinned memory, and on the device."""

    number: int  # no other has it, of any buffer: its places stay what they are
    frames: DeviceFrames
    places: list[NDArray[np.uint8]]  # in pinned memory, one for each image, of its shape
    memory: NDArray[np.uint8]  # all of them


class FrameBuffer:
    """A batch of up to `count` frames of any sizes: uploaded in one copy, described by `frames`.

    Host and device memory grow with the first batch that needs more than any before it, never otherwise. The GPU of a
    Jetson reads them where they are staged: its memory is the host's.
    """

    def __init__(self, gpu: CudaContext, count: int) -> None:
        if not 1 <= count <= FRAMES:
            raise ValueError(f"a batch has 1 to {FRAMES} frames, not {count}")
        self._most, self._gpu = count, gpu
        self._memory: NDArray[np.uint8] | None = None
        self._known: dict[Hashable, StagedFrames] = {}  # by format and shapes, as the memory lies now
        self._staged: StagedFrames | None = None
        self._buffer = None if gpu.is_integrated else Buffer(gpu)
        self._sent = gpu.event()
        gpu.on_close(self._free)

    def upload(self, images: Sequence[NDArray[np.uint8]], stream: Stream, format: Format = Format.BGR) -> DeviceFrames:
        """The uploaded frames, valid until the next upload; the images may be changed at once.

        Raises DataError for an image that is not of that format.
        """
        self._sent.synchronize()  # the last batch has left the pinned memory
        staged = self.stage(images, format)
        self.send(stream)
        self._sent.record(stream)
        return staged.frames

    def stage(self, images: Sequence[NDArray[np.uint8]], format: Format = Format.BGR) -> StagedFrames:
        """Copy the images into pinned memory, from which `send` uploads them; what was sent must have arrived.

        The frames are described as they will lie on the device. Raises DataError for an image of another format.
        """
        key = (format, *[(image.shape, image.dtype) for image in images])
        staged = self._known.get(key)
        if staged is None:
            staged = self._arrange(images, format)
            self._known[key] = staged
        for place, image in zip(staged.places, images, strict=True):
            place[...] = image
        self._staged = staged
        return staged

    def send(self, stream: Stream) -> None:
        """Upload what is staged, in one copy; nothing where the GPU reads it there."""
        assert self._staged is not None
        if self._buffer is not None:
            stream.upload(self._buffer.address, self._staged.memory)

    def _arrange(self, images: Sequence[NDArray[np.uint8]], format: Format) -> StagedFrames:
        """Places for images of these shapes."""
        assert 1 <= len(images) <= self._most
        pitches = [_pitch(image, format) for image in images]
        sizes = [len(image) * pitch for image, pitch in zip(images, pitches, strict=True)]
        starts = [0, *itertools.accumulate(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)]
        memory = self._reserve(starts[-1])
        base = self._gpu.mapped_address(memory) if self._buffer is None else self._buffer.address
        frames, places = np.zeros(len(images), DEVICE_FRAME), []
        for index, (image, pitch, size) in enumerate(zip(images, pitches, sizes, strict=True)):
            rows = memory[starts[index] : starts[index] + size].reshape(len(image), pitch)
            places.append(rows[:, : image[0].size].reshape(image.shape))
            height = 2 * len(image) // 3 if format is Format.NV12 else len(image)
            address = base + starts[index]
            chroma = address + height * pitch if format is Format.NV12 else 0
            frames[index] = (address, chroma, pitch, pitch, 0, 0, height, image.shape[1], format, 0)
        return StagedFrames(next(_NUMBERS), frames, places, memory[: starts[-1]])

    def _reserve(self, size: int) -> NDArray[np.uint8]:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        if self._memory is None or self._memory.size < size:
            self._known.clear()
            self._free()
            self._memory = self._gpu.pinned((size,), np.uint8, mapped=self._buffer is None)
            if self._buffer is not None:
                self._buffer.reserve(size)
        return self._memory

    def _free(self) -> None:
        if self._memory is not None:
            self._memory.base.free()  # type: ignore[union-attr]
            self._memory = None


def _pitch(image: NDArray[np.uint8], format: Format) -> int:
    """Bytes from a row to the next: a multiple of 4, so that the kernel may read words."""
    channels = 3 if format is Format.BGR else 1
    shape = image.shape[:2] if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3) else ()
    halves = format is Format.NV12
    if (
        image.dtype != np.uint8
        or not shape
        or 0 in shape
        or image.ndim != (3 if channels == 3 else 2)
        or (halves and (shape[0] % 3 or shape[1] % 2 or shape[0] // 3 * 2 % 2))
    ):
        raise DataError(f"a {format.name} frame cannot have the shape {image.shape} and the type {image.dtype}")
    return -(-channels * int(shape[1]) // 4) * 4


def region(frames: DeviceFrames, top: int, left: int, height: int, width: int) -> DeviceFrames:
    """The same frames, each reduced to that region of it; raises DataError where it leaves a frame."""
    reduced: DeviceFrames = frames.copy()
    inside = (top + height <= frames["height"]) & (left + width <= frames["width"])
    if min(top, left) < 0 or min(height, width) < 1 or not inside.all():
        raise DataError(f"a region of {width}x{height} at ({left}, {top}) leaves the frame")
    reduced["top"] += top
    reduced["left"] += left
    reduced["height"], reduced["width"] = height, width
    return reduced
