"""An engine that is ready to run: one execution context for each of its batch sizes, in buffers that never move."""

from __future__ import annotations

import math
from collections import deque
from functools import partial
from typing import Any

from edgead.cuda.buffers import Buffer
from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.fuse import DeviceMap
from edgead.cuda.graph import Replay
from edgead.errors import EngineError
from edgead.tensorrt.library import Library
from edgead.tensorrt.metadata import Port, Prepared

INPUT = "image"
_BYTES = {"int8": 1, "fp16": 2, "fp32": 4}
_MOST_BYTES = 8  # of one entry of any type


class Session:
    """Runs batches in one stream: the first of a size as it is, later ones as a CUDA graph where that is possible.

    It ends with its GPU: graphs and contexts first, then the engine and its runtime; the logger outlives them.
    """

    def __init__(self, gpu: CudaContext, library: Library, prepared: Prepared, stream: Stream, image: int) -> None:
        """`image` is where the input lies, large enough for the largest batch. The stream is waited for.

        Raises EngineError where the engine cannot be loaded, with the library's words.
        """
        self.batches = prepared.metadata.batches
        self._title, self._stream = library.title, stream
        self._complaints: deque[str] = deque(maxlen=3)  # the last ones
        self._logger = library.logger(self._hear)
        self._contexts: list[Any] = []
        self._runtime: Any = library.module.Runtime(self._logger)
        gpu.on_close(self._forget)
        # no context and no engine is held by a local variable, which an error would keep alive beyond the GPU's end
        self._engine: Any = self._had(self._runtime.deserialize_cuda_engine(prepared.engine))
        for index, batch in enumerate(self.batches):
            self._contexts.append(self._had(self._engine.create_execution_context()))
            self._had(self._contexts[-1].set_optimization_profile_async(index, stream.handle))
            for port in prepared.metadata.ports:
                if port.is_input:
                    self._had(self._contexts[-1].set_input_shape(port.name, (batch, *port.shape[1:])))
        outputs = [port for port in prepared.metadata.ports if not port.is_input]
        self._outputs = {port.name: self._made(gpu, port) for port in outputs}
        for index in range(len(self.batches)):
            self._had(self._contexts[index].set_tensor_address(INPUT, image))
            for name, output in self._outputs.items():
                self._had(self._contexts[index].set_tensor_address(name, output.address))
        stream.synchronize()
        self._runs = [
            Replay(gpu, stream, partial(self._execute, index), f"{self._title} on batches of {batch}")
            for index, batch in enumerate(self.batches)
        ]

    def output(self, name: str) -> DeviceMap:
        """Where an output lies, (batch, ..., height, width) for the largest batch."""
        return self._outputs[name]

    def enqueue(self, index: int) -> None:
        """Put a batch of `batches[index]` into the stream; raises EngineError where the library refuses."""
        self._runs[index]()

    def _execute(self, index: int) -> None:
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
            raise EngineError(f"{self._title}: {'; '.join(self._complaints) or 'it gives no reason'}")
        return value

    def _hear(self, severity: str, message: str) -> None:
        if severity in ("ERROR", "INTERNAL_ERROR"):
            self._complaints.append(" ".join(message.split()))

    def _forget(self) -> None:
        self._contexts.clear()
        self._engine = None
        self._runtime = None
