"""Wraps pycuda: a GPU's primary context, and the streams, events and modules made in it.

The primary context is the one that TensorRT and ONNX Runtime use too. It is pushed and popped around each use, so that
any thread may use it, one at a time, and nothing stays behind on a thread that ends.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from traceback import clear_frames
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgead.errors import AbsentError, EngineError, UsageError

NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
MEMORY = Path("/proc/meminfo")
Shape = tuple[int, int, int]
KernelArgs = NDArray[Any]  # (), the argument of a kernel: a numpy struct laid out as the one in the kernel's file


def load_driver() -> Any:
    """`pycuda.driver`, initialized, with a GPU to use; raises AbsentError naming what is missing and how to get it."""
    try:
        import pycuda.driver as driver
    except ModuleNotFoundError as error:
        raise AbsentError(f"{error.name} is not installed: pip install 'edgead[tensorrt]'") from error
    except ImportError as error:
        raise AbsentError(
            f"pycuda does not find NVIDIA's driver ({error}): install it; start a container with --gpus all, on a "
            "Jetson with --runtime nvidia"
        ) from error
    try:
        driver.init()
    except driver.Error as error:
        raise AbsentError(f"NVIDIA's driver finds no GPU to use ({error}): see what nvidia-smi says") from error
    if driver.Device.count() == 0:
        raise AbsentError("NVIDIA's driver finds no GPU: pass one to the container, or unset CUDA_VISIBLE_DEVICES")
    return driver


def count_gpus() -> int:
    """How many GPUs the driver shows; raises AbsentError where there is none."""
    return int(load_driver().Device.count())


class CudaContext:
    """A GPU whose primary context is retained until `close`, which gives back everything made in it, newest first.

    All else stands inside `with gpu.current():`. One thread at a time.
    """

    def __init__(self, ordinal: int = 0) -> None:
        """`ordinal` is the GPU's number, as the driver counts those it shows (`CUDA_VISIBLE_DEVICES`).

        Raises AbsentError where there is no pycuda, no driver or no GPU, UsageError for a number that none has,
        EngineError where it cannot be used.
        """
        self._driver = load_driver()
        count = self._driver.Device.count()
        if not 0 <= ordinal < count:
            numbers = "0" if count == 1 else f"0 to {count - 1}"
            raise UsageError(
                f"there is no GPU {ordinal}: those of this machine are numbered {numbers}; see `edgead doctor`"
            )
        self.ordinal = ordinal
        try:
            device = self._driver.Device(ordinal)
            self.name: str = device.name()
            major, minor = device.compute_capability()
            self.is_integrated = bool(device.get_attribute(self._driver.device_attribute.INTEGRATED))
            self._context: Any = device.retain_primary_context()
        except self._driver.Error as error:
            raise EngineError(f"GPU {ordinal} cannot be used: {error}") from error
        self.capability: int = 10 * major + minor  # 87 is a Jetson Orin
        self.driver_version: int = self._driver.get_driver_version()  # 13000 is CUDA 13.0
        self._made = ExitStack()

    @contextmanager
    def current(self) -> Iterator[None]:
        """The context is this thread's current one inside; what fails there is an EngineError."""
        if self._context is None:
            raise EngineError("the GPU is closed: make a new Detector")
        try:
            self._context.push()
            try:
                yield
            except BaseException as error:
                clear_frames(error.__traceback__)  # else it holds things of the GPU until after the context's end
                raise
            finally:
                self._driver.Context.pop()
        except self._driver.Error as error:
            raise EngineError(f"{self.name} failed: {error}") from error

    def on_close(self, release: Callable[[], object]) -> None:
        """Have `release` called by `close`, before that of everything older."""

        def quietly() -> None:
            with suppress(self._driver.Error):  # after a fault of the GPU nothing can be freed, and all of it is
                release()

        self._made.callback(quietly)

    def free_memory(self) -> int:
        """Bytes of free device memory; on a Jetson it is the host's, of which the driver does not count file caches."""
        free, _ = self._driver.mem_get_info()
        return max(int(free), _host_memory()) if self.is_integrated else int(free)

    def allocate(self, size: int) -> Any:
        """`size` bytes of device memory as pycuda gives it: `int` is its address, `free` gives it back."""
        return self._driver.mem_alloc(max(size, 1))

    def pinned(self, shape: Sequence[int], dtype: DTypeLike, *, mapped: bool = False) -> NDArray[Any]:
        """An array of the host that the GPU copies from and to by itself; its `base.free` gives it back.

        A `mapped` one kernels can read, at its `mapped_address`: without loss where host and GPU share their memory.
        """
        flags = self._driver.host_alloc_flags.DEVICEMAP if mapped else 0
        array: NDArray[Any] = self._driver.pagelocked_empty(tuple(shape), dtype, "C", flags)
        return array

    def mapped_address(self, array: NDArray[Any]) -> int:
        """Where kernels read a mapped array."""
        return int(array.base.get_device_pointer())  # type: ignore[union-attr]

    def stream(self) -> Stream:
        return Stream(self, self._driver)

    def event(self) -> Event:
        return Event(self, self._driver)

    def load(self, code: bytes) -> Module:
        return Module(self, self._driver.module_from_buffer(code))

    def close(self) -> None:
        """Wait for the GPU, give everything back, and release the context; again does nothing."""
        if self._context is None:
            return
        with self.current():
            with suppress(self._driver.Error):
                self._driver.Context.synchronize()
            self._made.close()
        releasing = threading.Thread(target=self._release)
        try:
            releasing.start()
        except RuntimeError:  # the interpreter shuts down, and starts no thread any more: nothing follows on this one
            self._release()
        else:
            releasing.join()
        self._context = None

    def _release(self) -> None:
        """On a thread of its own: pycuda leaves the context that it releases current on the thread that does it."""
        with suppress(self._driver.Error):
            self._context.push()
            self._context.detach()


class Stream:
    """Work that the GPU does in order. `handle` is the CUstream, for TensorRT.

    It does not wait for the legacy default stream: where another library uses that, a capture would fail (error 906).
    """

    def __init__(self, gpu: CudaContext, driver: Any) -> None:
        self._driver = driver
        self._stream = driver.Stream(NON_BLOCKING)
        self.handle: int = self._stream.handle
        gpu.on_close(self._forget)

    def upload(self, address: int, source: NDArray[Any]) -> None:
        """Copy a pinned array to the device; it must stay as it is until the copy is done."""
        self._driver.memcpy_htod_async(address, source, self._stream)

    def download(self, target: NDArray[Any], address: int) -> None:
        """Copy from the device into a pinned array, which is filled after `synchronize`."""
        self._driver.memcpy_dtoh_async(target, address, self._stream)

    def copy(self, target: int, source: int, size: int) -> None:
        """Copy bytes within the device."""
        self._driver.memcpy_dtod_async(target, source, size, self._stream)

    def zero(self, address: int, words: int) -> None:
        """Set so many 32-bit words to 0."""
        self._driver.memset_d32_async(address, 0, words, self._stream)

    def launch(self, kernel: Kernel, grid: Shape, block: Shape, args: KernelArgs) -> None:
        """Run a kernel; its arguments are copied at once."""
        kernel.function.prepared_async_call(grid, block, self._stream, args.tobytes())

    def wait_for(self, event: Event) -> None:
        """Have what follows in this stream wait for an event in another."""
        self._stream.wait_for_event(event.event)

    def synchronize(self) -> None:
        """Wait until all of it is done."""
        self._stream.synchronize()

    def _forget(self) -> None:
        self._stream = None


class Event:
    """A point in a stream, to wait for or to take the time of."""

    def __init__(self, gpu: CudaContext, driver: Any) -> None:
        self.event = driver.Event()
        gpu.on_close(self._forget)

    def record(self, stream: Stream) -> None:
        self.event.record(stream._stream)

    def synchronize(self) -> None:
        """Wait until the stream has come here; an event that was never recorded does not wait."""
        self.event.synchronize()

    def ms_since(self, earlier: Event) -> float:
        """Milliseconds of the GPU between two events that were both reached."""
        return float(self.event.time_since(earlier.event))

    def _forget(self) -> None:
        self.event = None


class Module:
    """A compiled file of kernels."""

    def __init__(self, gpu: CudaContext, module: Any) -> None:
        self._gpu, self._module = gpu, module
        gpu.on_close(self._forget)

    def kernel(self, name: str, args: np.dtype[Any]) -> Kernel:
        """The kernel of that name, launched with arguments of the dtype `args`."""
        return Kernel(self._gpu, self._module.get_function(name), args)

    def _forget(self) -> None:
        self._module = None


class Kernel:
    """One kernel; it keeps its module loaded."""

    def __init__(self, gpu: CudaContext, function: Any, args: np.dtype[Any]) -> None:
        self.function = function
        self.function.prepare(f"{args.itemsize}s")
        gpu.on_close(self._forget)

    def _forget(self) -> None:
        self.function = None


def _host_memory() -> int:
    """Bytes of the host's memory that programs can still have; 0 where the system does not tell."""
    with suppress(OSError):
        found = re.search(r"MemAvailable:\s+(\d+) kB", MEMORY.read_text())
        return 1024 * int(found.group(1)) if found else 0
    return 0


def kernel_args(dtype: np.dtype[Any]) -> KernelArgs:
    """Zeroed arguments of a kernel."""
    return np.zeros((), dtype)
