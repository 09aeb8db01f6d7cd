"""Arrays on an (emulated) GPU as other libraries show them, without those libraries."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from edgead.arrays import _Tensor
from edgead.cuda.buffers import HostDeviceBuffer
from edgead.cuda.context import CudaContext, Stream

CUDA = 2  # kDLCUDA


class Upload:
    """Bytes that are on their way to the GPU in a stream of their maker's."""

    def __init__(self, gpu: CudaContext, stream: Stream, memory: np.ndarray) -> None:
        self.mirror = HostDeviceBuffer(gpu, (memory.size,), np.uint8)
        self.mirror.host[...] = memory.ravel()
        self.mirror.upload(stream)
        self.gpu, self.stream, self.address = gpu, stream, self.mirror.address

    def finish(self) -> None:
        with self.gpu.current():
            self.stream.synchronize()


class CudaArray:
    """As cupy and numba show theirs: version 3 of the interface, with the stream to wait for."""

    def __init__(self, upload: Upload, shape: tuple[int, ...], strides: tuple[int, ...] | None = None, **other: Any):
        self._upload = upload
        self.__cuda_array_interface__ = {
            "shape": shape,
            "strides": strides,
            "typestr": "|u1",
            "data": (upload.address, False),
            "version": 3,
            "stream": upload.stream.handle,
        } | other


class DlpackArray:
    """As PyNvVideoCodec shows its frames: DLPack alone, whose stream must be a number."""

    def __init__(
        self,
        upload: Upload,
        shape: tuple[int, ...],
        strides: tuple[int, ...] | None = None,
        *,
        dtype: str = "uint8",
        kind: int = CUDA,
    ) -> None:
        self._upload, self._shape, self._strides, self._dtype, self._kind = upload, shape, strides, dtype, kind
        self.asked: list[int] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._kind, 0

    def __dlpack__(self, stream: int) -> Any:
        """The stream that was asked for waits for the upload; here the host does, which is as good."""
        self.asked.append(int(stream))
        assert stream != 0
        self._upload.finish()
        span = 1 + sum((size - 1) * step for size, step in zip(self._shape, self._strides or (), strict=False))
        memory = np.zeros(max(span, int(np.prod(self._shape))), self._dtype)
        shown = memory[: np.prod(self._shape)].reshape(self._shape)
        if self._strides is not None:
            shown = as_strided(memory, self._shape, self._strides)
        capsule = shown.__dlpack__()
        pointer = ctypes.pythonapi.PyCapsule_GetPointer
        pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
        tensor = _Tensor.from_address(pointer(capsule, b"dltensor"))
        tensor.data, tensor.device.kind = self._upload.address, self._kind
        return capsule


class TorchTensor(DlpackArray):
    """As torch shows a tensor on a GPU: DLPack, and version 2 of the interface, which says nothing of a stream."""

    def __init__(self, upload: Upload, shape: tuple[int, ...], strides: tuple[int, ...] | None = None) -> None:
        super().__init__(upload, shape, strides)
        interface = {"shape": shape, "strides": strides, "typestr": "|u1", "data": (upload.address, False)}
        self.__cuda_array_interface__ = interface | {"version": 2}


class CodecImage(CudaArray, DlpackArray):
    """As nvImageCodec shows its images: both, DLPack only once, and numpy's interface with an address of the GPU."""

    def __init__(self, upload: Upload, shape: tuple[int, ...]) -> None:
        DlpackArray.__init__(self, upload, shape)
        CudaArray.__init__(self, upload, shape)
        self.__array_interface__ = {"shape": shape, "typestr": "|u1", "data": (upload.address, False), "version": 3}

    def __dlpack__(self, stream: int) -> Any:
        if self.asked:
            raise RuntimeError("it can be consumed only once")
        return super().__dlpack__(stream)
