"""Holds frames in device memory, in the layouts that cameras and decoders give."""

from __future__ import annotations

from collections.abc import Sequence
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


class Format(IntEnum):
    """How a frame's pixels lie in memory."""

    BGR = 0  # (H, W, 3)
    GRAY = 1  # (H, W), becomes three equal channels
    NV12 = 2  # (3 H / 2, W), luma above rows of U, V pairs; BT.601 in limited range, as cv2.COLOR_YUV2BGR_NV12


class FrameBuffer:
    """A batch of up to `count` frames of any sizes: uploaded in one copy, described by `frames`.

    Host and device memory grow with the first batch that needs more than any before it, never otherwise.
    """

    def __init__(self, gpu: CudaContext, count: int) -> None:
        if not 1 <= count <= FRAMES:
            raise ValueError(f"a batch has 1 to {FRAMES} frames, not {count}")
        self.frames: DeviceFrames = np.zeros(count, DEVICE_FRAME)
        self._gpu = gpu
        self._staged: NDArray[np.uint8] | None = None
        self._size = 0  # bytes of it that are in use
        self.generation = 0  # of the memory: another one is another place, here and on the device
        self._buffer = Buffer(gpu)
        self._sent = gpu.event()
        gpu.on_close(self._free)

    def upload(self, images: Sequence[NDArray[np.uint8]], stream: Stream, format: Format = Format.BGR) -> DeviceFrames:
        """The uploaded frames, valid until the next upload; the images may be changed at once.

        Raises DataError for an image that is not of that format.
        """
        self._sent.synchronize()  # the last batch has left the pinned memory
        frames = self.stage(images, format)
        self.send(stream)
        self._sent.record(stream)
        return frames

    def stage(self, images: Sequence[NDArray[np.uint8]], format: Format = Format.BGR) -> DeviceFrames:
        """Copy the images into pinned memory, from which `send` uploads them; what was sent must have arrived.

        The frames are described as they will lie on the device. Raises DataError for an image of another format.
        """
        assert 1 <= len(images) <= len(self.frames)
        pitches = [_pitch(image, format) for image in images]
        sizes = [len(image) * pitch for image, pitch in zip(images, pitches, strict=True)]
        starts = np.cumsum([0, *(-(-size // ALIGNMENT) * ALIGNMENT for size in sizes)]).tolist()
        staged = self._reserve(starts[-1])
        for index, (image, pitch, size) in enumerate(zip(images, pitches, sizes, strict=True)):
            start = starts[index]
            rows = staged[start : start + size].reshape(len(image), pitch)
            np.copyto(rows[:, : image[0].size].reshape(image.shape), image)
            height = 2 * len(image) // 3 if format is Format.NV12 else len(image)
            address = self._buffer.address + start
            chroma = address + height * pitch if format is Format.NV12 else 0
            self.frames[index] = (address, chroma, pitch, pitch, 0, 0, height, image.shape[1], format, 0)
        self._size = starts[-1]
        return self.frames[: len(images)]

    def send(self, stream: Stream) -> None:
        """Upload what is staged, in one copy."""
        assert self._staged is not None
        stream.upload(self._buffer.address, self._staged[: self._size])

    def _reserve(self, size: int) -> NDArray[np.uint8]:
        if self._staged is None or self._staged.size < size:
            self._free()
            self._staged = self._gpu.pinned((size,), np.uint8)
            self._buffer.reserve(size)
            self.generation += 1
        return self._staged

    def _free(self) -> None:
        if self._staged is not None:
            self._staged.base.free()  # type: ignore[union-attr]
            self._staged = None


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
