"""An engine that is ready to run: one execution context for each of its batch sizes, in buffers that never move."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from edgead.cuda.buffers import Buffer
from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.fuse import DeviceMap
from edgead.errors import EngineError
from edgead.tensorrt.library import Library, Messages
from edgead.tensorrt.metadata import Port, Prepared

INPUT = "image"
_BYTES = {"int8": 1, "fp16": 2, "fp32": 4}
_MOST_BYTES = 8  # of one entry of any type


class Session:
    """Runs batches in one stream.

    The contexts share one scratch memory, since they run one after the other. It ends with its GPU: graphs and
    contexts first, then the engine and its runtime; the logger outlives them.
    """

    def __init__(
        self,
        gpu: CudaContext,
        library: Library,
        prepared: Prepared,
        stream: Stream,
        image: int,
        compiled: bytes = b"",
    ) -> None:
        """`image` is where the input lies, large enough for the largest batch; `compiled` is what an earlier session
        gave (`compiled`). The stream is waited for.

        Raises EngineError where the engine cannot be loaded, with the library's words.
        """
        self.batches = prepared.metadata.batches
        self._library, self._stream = library, stream
        self._messages = Messages(most=3)
        self._logger = library.logger(self._messages.add)
        self._contexts: list[Any] = []
        self._engine: Any = None
        self._runtime: Any = None
        self._earlier = compiled
        self._kernels: Any = None  # of TensorRT for RTX
        gpu.on_close(self._forget)
        with library.translated(self._messages):
            self._load(gpu, prepared)
            outputs = [port for port in prepared.metadata.ports if not port.is_input]
            self._outputs = {port.name: self._made(gpu, port) for port in outputs}
            for index in range(len(self.batches)):
                self._had(self._contexts[index].set_tensor_address(INPUT, image))
                for name, output in self._outputs.items():
                    self._had(self._contexts[index].set_tensor_address(name, output.address))
        stream.synchronize()

    def _load(self, gpu: CudaContext, prepared: Prepared) -> None:
        """Make the runtime, the engine and its contexts.

        None of them is held by a local variable, which an error would keep alive beyond the GPU's end.
        """
        self._runtime = self._library.module.Runtime(self._logger)
        self._engine = self._had(self._runtime.deserialize_cuda_engine(prepared.engine))
        scratch = Buffer(gpu, self._engine.device_memory_size_v2)  # the largest that any batch size needs
        for index, batch in enumerate(self.batches):
            self._contexts.append(self._had(self._context()))
            self._contexts[-1].set_device_memory(scratch.address, scratch.size)
            self._had(self._contexts[-1].set_optimization_profile_async(index, self._stream.handle))
            for port in prepared.metadata.ports:
                if port.is_input:
                    self._had(self._contexts[-1].set_input_shape(port.name, (batch, *port.shape[1:])))

    def _context(self) -> Any:
        """An execution context whose scratch memory is given to it.

        TensorRT for RTX compiles kernels on the device: all of them here, not at a later frame, and those that it finds
        in its cache not at all.
        """
        trt = self._library.module
        managed = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if not self._library.is_rtx:
            return self._engine.create_execution_context(managed)
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(managed)
        eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        config.dynamic_shapes_kernel_specialization_strategy = eager
        with suppress(Exception):  # of its bindings; without a cache it takes longer
            if self._kernels is None:
                self._kernels = config.create_runtime_cache()
                if self._earlier:
                    self._kernels.deserialize(self._earlier)  # refused where it is of another driver or GPU
            config.set_runtime_cache(self._kernels)
        return self._engine.create_execution_context(config)

    def compiled(self) -> bytes:
        """The kernels that TensorRT for RTX has compiled here, for the next session; none of TensorRT itself."""
        with suppress(Exception):  # of its bindings
            return b"" if self._kernels is None else bytes(self._kernels.serialize())
        return b""

    def output(self, name: str) -> DeviceMap:
        """Where an output lies, (batch, ..., height, width) for the largest batch."""
        return self._outputs[name]

    def enqueue(self, index: int) -> None:
        """Put a batch of `batches[index]` into the stream; raises EngineError where the library refuses.

        The first of a size must not be recorded as a CUDA graph: the library allocates then.
        """
        with self._library.translated(self._messages):
            self._had(self._contexts[index].execute_async_v3(self._stream.handle))

    def _made(self, gpu: CudaContext, port: Port) -> DeviceMap:
        """Memory for an output at the largest batch, whose shape the context tells."""
        largest = self.batches.index(max(self.batches))
        shape = tuple(self._contexts[largest].get_tensor_shape(port.name))
        memory = Buffer(gpu, math.prod(shape) * _BYTES.get(port.dtype, _MOST_BYTES))
        height, width = (1, 1, *shape)[-2:]
        return DeviceMap(memory.address, height, width, half=port.dtype == "fp16")

    def _had(self, value: Any) -> Any:
        """What the library gave; nothing or False is an error."""
        if value is None or value is False:
            raise EngineError(f"{self._library.title}: {self._messages}")
        return value

    def _forget(self) -> None:
        self._contexts.clear()
        self._kernels = None
        self._engine = None
        self._runtime = None
