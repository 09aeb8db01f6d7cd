"""Reads images out of other libraries' arrays: DLPack on the host, DLPack and CUDA's array interface on a GPU.

What lies on a GPU is only described here (`DeviceImage`): an engine on that GPU reads it where it lies. Whoever made it
may still be at work on it in a stream of its own, which is waited for before it is read.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from edgead.errors import DataError
from edgead.ops.nv12 import NV12, check_nv12, nv12_to_bgr
from edgead.ops.resize import check_color
from edgead.types import ImageU8

LEGACY_STREAM = 1  # of CUDA, which all streams that are not said to be apart from it wait for
MOST_BYTES = 2**31 - 1  # from an image's first byte to its last
_HOST = (1, 3)  # kDLCPU, kDLCUDAHost
_GPU = (2, 13)  # kDLCUDA, kDLCUDAManaged
_UINT = 1  # kDLUInt
_DTYPES = {0: "int", _UINT: "uint", 2: "float", 4: "bfloat", 6: "bool"}


class Format(IntEnum):
    """How the bytes of a frame are to be read. Mirrored in cuda/kernels/frames.cuh."""

    CHANNELS = 0  # blue, green and red at equal distances
    NV12 = 1  # the following in the order of `ops.nv12.NV12`
    NV12_FULL = 2
    NV12_709 = 3
    NV12_709_FULL = 4


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """How the pixels of a frame lie in memory, in bytes from its first one."""

    height: int
    width: int
    first: int  # the first pixel's blue, or its luma
    pitch: int  # from a row to the next
    step: int  # from a pixel to the next
    plane: int  # from blue to green and from green to red; 0 for gray
    size: int  # all of it
    format: Format = Format.CHANNELS

    @property
    def chroma(self) -> int:
        """Where the rows of U, V pairs begin, of the same pitch; 0 where there are none."""
        return self.first + self.height * self.pitch if self.format is not Format.CHANNELS else 0

    def read(self, memory: NDArray[np.uint8]) -> ImageU8:
        """The frame, (H, W, 3) BGR uint8, that the `size` bytes of `memory` hold."""
        if self.format is not Format.CHANNELS:
            planes = as_strided(memory[self.first :], (3 * self.height // 2, self.width), (self.pitch, self.step))
            return nv12_to_bgr(planes, list(NV12.values())[self.format - Format.NV12])
        strides = self.pitch, self.step, self.plane
        return np.array(as_strided(memory[self.first :], (self.height, self.width, 3), strides))


@dataclass(frozen=True, slots=True, eq=False)
class DeviceImage:
    """An image that lies on a GPU."""

    address: int  # of its layout's first byte
    layout: PixelLayout
    stream: int | None  # CUDA's handle of the stream to wait for; None: it is there
    owner: object  # holds the memory

    @property
    def shape(self) -> tuple[int, int, int]:
        """That of the same image on the host: (H, W, 3)."""
        return self.layout.height, self.layout.width, 3


AnyImage: TypeAlias = "ImageU8 | DeviceImage"


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("number", ctypes.c_int32))


class _Tensor(ctypes.Structure):
    """DLTensor of dlpack.h, with which a DLManagedTensor begins."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def read_array(item: Any, color: str) -> NDArray[Any] | DeviceImage | None:
    """Another library's array as a numpy array that shares its memory, or, where it lies on a GPU, as what is known of
    it there; None for anything else.

    (C, H, W) is taken as (H, W, C) where the last axis cannot be channels. Raises DataError for what no engine reads.
    """
    kind = _device_of(item)
    if kind in _HOST:
        try:
            return _channels_last(np.from_dlpack(item))
        except Exception as error:  # of the other library
            raise _unreadable(item, error) from error
    interface = _interface(item) if kind in (*_GPU, None) else None
    if interface is not None and (kind is None or (interface.get("version", 0) >= 3 and "stream" in interface)):
        return _from_interface(interface, color, item)
    if kind is None:
        return None
    if kind not in _GPU:
        raise DataError(
            f"an image on a device of DLPack's kind {kind} is read by no engine: give it as a numpy array, as most "
            "libraries make one by .cpu() or .get()"
        )
    return _from_dlpack(item, color)


def _device_of(item: Any) -> int | None:
    """DLPack's kind of the device that an array lies on; None where it is no array of DLPack."""
    if not (hasattr(item, "__dlpack__") and hasattr(item, "__dlpack_device__")):
        return None
    try:
        return int(item.__dlpack_device__()[0])
    except Exception as error:
        raise _unreadable(item, error) from error


def _interface(item: Any) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] | None = getattr(item, "__cuda_array_interface__", None)
    except Exception as error:  # torch's raises RuntimeError where gradients are asked for
        raise _unreadable(item, error) from error
    return found


def _from_interface(interface: dict[str, Any], color: str, owner: object) -> DeviceImage:
    typestr, shape = str(interface["typestr"]), tuple(int(size) for size in interface["shape"])
    if typestr != "|u1":
        raise _wrong_type(np.dtype(typestr).name)
    if interface.get("mask") is not None:
        raise DataError("an image on a GPU cannot have a mask: give the array without it")
    strides = interface.get("strides")
    layout, low = _layout(shape, None if strides is None else tuple(int(step) for step in strides), color)
    is_told = interface.get("version", 0) >= 3 and "stream" in interface
    stream = interface["stream"] if is_told else LEGACY_STREAM
    return DeviceImage(int(interface["data"][0]) + low, layout, None if stream is None else int(stream), owner)


def _from_dlpack(item: Any, color: str) -> DeviceImage:
    """The legacy stream is made to wait for the array by who made it, and then waited for. The capsule is looked into
    and not consumed: it frees what it holds when nobody knows it any more."""
    try:
        capsule = item.__dlpack__(stream=LEGACY_STREAM)
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
        tensor = _Tensor.from_address(pointer(capsule, b"dltensor"))
    except Exception as error:
        raise _unreadable(item, error) from error
    if (tensor.code, tensor.bits, tensor.lanes) != (_UINT, 8, 1):
        raise _wrong_type(f"{_DTYPES[tensor.code]}{tensor.bits}" if tensor.code in _DTYPES else "of another type")
    shape = tuple(tensor.shape[: tensor.ndim])
    layout, low = _layout(shape, tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None, color)
    return DeviceImage(int(tensor.data or 0) + int(tensor.byte_offset) + low, layout, LEGACY_STREAM, (item, capsule))


def _layout(shape: tuple[int, ...], strides: tuple[int, ...] | None, color: str) -> tuple[PixelLayout, int]:
    """How a uint8 array lies in memory, and by how much its first byte is before its first entry."""
    check_color(color)
    if strides is None:
        strides = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
    whole, low = _span(shape, strides)
    if whole > MOST_BYTES:
        raise DataError(f"an image on a GPU spans {whole} bytes, more than {MOST_BYTES}: give a copy of the part")
    if color in NV12:
        height, width = check_nv12(shape)
        if strides[1] != 1 or strides[0] < width:
            raise DataError("the pixels of an NV12 image must lie side by side, row after row: give a contiguous copy")
        return PixelLayout(height, width, 0, strides[0], 1, 0, whole, Format(1 + list(NV12).index(color))), low
    shape, strides = _channels_last_of(shape, strides)
    if len(shape) == 2:
        shape, strides = (*shape, 1), (*strides, 0)
    if len(shape) != 3 or shape[2] not in (1, 3, 4) or 0 in shape:
        raise DataError(f"an image must have the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {shape}")
    height, width, channels = shape
    plane = strides[2] if channels > 1 else 0
    first, plane = (-low + 2 * plane, -plane) if color == "rgb" else (-low, plane)
    return PixelLayout(height, width, first, strides[0], strides[1], plane, whole), low


def _span(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """The bytes from the first to the last of an array, and the place of the first before its first entry (<= 0)."""
    ends = [(size - 1) * step for size, step in zip(shape, strides, strict=True) if size]
    low, high = sum(min(0, end) for end in ends), sum(max(0, end) for end in ends)
    return high - low + 1, low


def _channels_last(pixels: NDArray[Any]) -> NDArray[Any]:
    shape, _ = _channels_last_of(pixels.shape, pixels.strides)
    return pixels if shape == pixels.shape else np.moveaxis(pixels, 0, -1)


def _channels_last_of(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A shape and its strides with the channels last, where they are first as torch and decoders have them."""
    if len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4):
        return (*shape[1:], shape[0]), (*strides[1:], strides[0])
    return shape, strides


def _wrong_type(name: str) -> DataError:
    return DataError(f"an image on a GPU must be uint8, not {name}: convert it there, scaled to 0..255")


def _unreadable(item: Any, error: Exception) -> DataError:
    return DataError(f"the {type(item).__name__} cannot be read as an image: {error}")
