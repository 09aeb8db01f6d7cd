"""As much of `pycuda.driver` as edgead uses, on a libcuda.so.1 of one's choice: real pycuda takes minutes to build.

tests/integration/test_pycuda.py runs the same tests with the real one on the same driver, which keeps this one honest.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import suppress
from types import ModuleType
from typing import Any

import numpy as np


class Error(Exception):
    """What pycuda raises for a status that is not success."""


class _Holder:
    """Releases a handle once; outside a current context it would leak, which the driver counts."""

    def __init__(self, call: Any, handle: ctypes.c_void_p, release: str) -> None:
        self._call, self._handle, self._release = call, handle, release

    def __int__(self) -> int:
        return int(self._handle.value or 0)

    def free(self) -> None:
        if self._release:
            release, self._release = self._release, ""
            self._call(release, self._handle)

    def __del__(self) -> None:
        with suppress(Error):
            self.free()


def stand_in(library: ctypes.CDLL) -> ModuleType:
    """A module `pycuda.driver` on that library."""

    def call(function: str, *arguments: object) -> None:
        status = getattr(library, function)(*arguments)
        if status:
            raise Error(f"{function.partition('_')[0]} failed: {status}")

    def size(value: int) -> ctypes.c_size_t:
        return ctypes.c_size_t(value)

    def pointer(address: int) -> ctypes.c_void_p:
        return ctypes.c_void_p(int(address))

    class Context:
        """Pushed contexts replace each other, as pycuda's do: the driver's stack has one at the most."""

        stacks = threading.local()

        def __init__(self, handle: ctypes.c_void_p, ordinal: int) -> None:
            self._handle, self._ordinal, self._valid = handle, ordinal, True

        @classmethod
        def _stack(cls) -> list[Context]:
            if not hasattr(cls.stacks, "value"):
                cls.stacks.value = []
            return cls.stacks.value

        def push(self) -> None:
            assert self._valid
            if self._stack():
                call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
            call("cuCtxPushCurrent_v2", self._handle)
            self._stack().append(self)

        @classmethod
        def pop(cls) -> None:
            if not cls._stack():
                raise Error("cannot pop non-current context")
            call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
            cls._stack().pop()
            if cls._stack():
                call("cuCtxPushCurrent_v2", cls._stack()[-1]._handle)

        def detach(self) -> None:
            assert self._valid
            assert self._stack()[-1] is self, "pycuda would leak it"
            call("cuDevicePrimaryCtxRelease_v2", self._ordinal)
            self._stack().pop()
            self._valid = False

        @staticmethod
        def synchronize() -> None:
            call("cuCtxSynchronize")

    class Device:
        def __init__(self, ordinal: int) -> None:
            call("cuDeviceGet", ctypes.byref(ctypes.c_int()), ordinal)
            self._ordinal = ordinal

        @staticmethod
        def count() -> int:
            count = ctypes.c_int()
            call("cuDeviceGetCount", ctypes.byref(count))
            return count.value

        def name(self) -> str:
            name = ctypes.create_string_buffer(256)
            call("cuDeviceGetName", name, 256, self._ordinal)
            return name.value.decode()

        def compute_capability(self) -> tuple[int, int]:
            numbers = ctypes.c_int(), ctypes.c_int()
            call("cuDeviceComputeCapability", *map(ctypes.byref, numbers), self._ordinal)
            return numbers[0].value, numbers[1].value

        def get_attribute(self, attribute: int) -> int:
            value = ctypes.c_int()
            call("cuDeviceGetAttribute", ctypes.byref(value), attribute, self._ordinal)
            return value.value

        def retain_primary_context(self) -> Context:
            handle = ctypes.c_void_p()
            call("cuDevicePrimaryCtxRetain", ctypes.byref(handle), self._ordinal)
            return Context(handle, self._ordinal)

    def holder(make: str, release: str, *arguments: object) -> _Holder:
        handle = ctypes.c_void_p()
        call(make, ctypes.byref(handle), *arguments)
        return _Holder(call, handle, release)

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            self._holder = holder("cuStreamCreate", "cuStreamDestroy_v2", flags)
            self.handle = int(self._holder)

        def synchronize(self) -> None:
            call("cuStreamSynchronize", pointer(self.handle))

        def wait_for_event(self, event: Event) -> None:
            call("cuStreamWaitEvent", pointer(self.handle), pointer(int(event._holder)), 0)

    class Event:
        def __init__(self) -> None:
            self._holder = holder("cuEventCreate", "cuEventDestroy_v2", 0)

        def record(self, stream: Stream) -> None:
            call("cuEventRecord", pointer(int(self._holder)), pointer(stream.handle))

        def synchronize(self) -> None:
            call("cuEventSynchronize", pointer(int(self._holder)))

        def time_since(self, earlier: Event) -> float:
            ms = ctypes.c_float()
            handles = pointer(int(earlier._holder)), pointer(int(self._holder))
            call("cuEventElapsedTime_v2", ctypes.byref(ms), *handles)
            return ms.value

    class Function:
        def __init__(self, handle: ctypes.c_void_p) -> None:
            self._handle, self._size_format = handle, ""

        def prepare(self, size_format: str) -> None:
            self._size_format = size_format

        def prepared_async_call(self, grid: Any, block: Any, stream: Stream, record: bytes) -> None:
            assert f"{len(record)}s" == self._size_format
            length, buffer = size(len(record)), ctypes.create_string_buffer(record, len(record))
            places = [1, ctypes.addressof(buffer), 2, ctypes.addressof(length), 0]  # CU_LAUNCH_PARAM_*
            extra = (ctypes.c_void_p * 5)(*places)
            call("cuLaunchKernel", self._handle, *grid, *block, 0, pointer(stream.handle), None, extra)

    class Module:
        def __init__(self, image: bytes) -> None:
            self._holder = holder("cuModuleLoadDataEx", "cuModuleUnload", image, 0, None, None)

        def get_function(self, name: str) -> Function:
            handle = ctypes.c_void_p()
            call("cuModuleGetFunction", ctypes.byref(handle), pointer(int(self._holder)), name.encode())
            return Function(handle)

    class PagelockedHostAllocation(_Holder):
        def get_device_pointer(self) -> int:
            address = ctypes.c_void_p()
            call("cuMemHostGetDevicePointer_v2", ctypes.byref(address), self._handle, 0)
            return int(address.value or 0)

    class host_alloc_flags:
        DEVICEMAP = 2

    def pagelocked_empty(shape: tuple[int, ...], dtype: Any, order: str = "C", mem_flags: int = 0) -> np.ndarray:
        assert order == "C"
        kind, handle = np.dtype(dtype), ctypes.c_void_p()
        call("cuMemHostAlloc", ctypes.byref(handle), size(int(np.prod(shape)) * kind.itemsize), mem_flags)
        memory = PagelockedHostAllocation(call, handle, "cuMemFreeHost")
        interface = {"shape": tuple(shape), "typestr": kind.str, "data": (int(memory), False), "version": 3}
        memory.__array_interface__ = interface  # type: ignore[attr-defined]
        return np.asarray(memory)

    def memcpy_htod_async(to: int, array: np.ndarray, stream: Stream) -> None:
        places = pointer(to), pointer(array.ctypes.data)
        call("cuMemcpyHtoDAsync_v2", *places, size(array.nbytes), pointer(stream.handle))

    def memcpy_dtoh_async(array: np.ndarray, source: int, stream: Stream) -> None:
        places = pointer(array.ctypes.data), pointer(source)
        call("cuMemcpyDtoHAsync_v2", *places, size(array.nbytes), pointer(stream.handle))

    def memcpy_dtod_async(to: int, source: int, count: int, stream: Stream) -> None:
        call("cuMemcpyDtoDAsync_v2", pointer(to), pointer(source), size(count), pointer(stream.handle))

    def memset_d32_async(to: int, value: int, count: int, stream: Stream) -> None:
        call("cuMemsetD32Async", pointer(to), value, size(count), pointer(stream.handle))

    def get_driver_version() -> int:
        version = ctypes.c_int()
        call("cuDriverGetVersion", ctypes.byref(version))
        return version.value

    def mem_get_info() -> tuple[int, int]:
        numbers = ctypes.c_size_t(), ctypes.c_size_t()
        call("cuMemGetInfo_v2", *map(ctypes.byref, numbers))
        return numbers[0].value, numbers[1].value

    class device_attribute:
        INTEGRATED = 18

    module = ModuleType("pycuda.driver")
    copies = (memcpy_htod_async, memcpy_dtoh_async, memcpy_dtod_async, memset_d32_async)
    for named in (
        Error,
        Context,
        Device,
        Stream,
        Event,
        device_attribute,
        host_alloc_flags,
        get_driver_version,
        mem_get_info,
        pagelocked_empty,
        *copies,
    ):
        setattr(module, named.__name__, named)
    module.init = lambda: call("cuInit", 0)  # type: ignore[attr-defined]
    module.mem_alloc = lambda count: holder("cuMemAlloc_v2", "cuMemFree_v2", size(count))  # type: ignore[attr-defined]
    module.module_from_buffer = Module  # type: ignore[attr-defined]
    return module
