"""TensorRT for RTX for tests on a machine without a GPU: the TensorRT of emulator/packages, and what RTX alone has.

Kernels are compiled on the device when a context is made: `compiled` lists them, and a runtime cache knows those of
earlier starts. What a capture cannot hold is told to the driver: an engine that allocates by itself, and kernels that
are specialized when they first run.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any

import tensorrt as _base
from tensorrt import *  # noqa: F403
from tensorrt._running import IExecutionContext, _status

BuilderFlag = IntEnum("BuilderFlag", {**_base.BuilderFlag.__members__, "REQUIRE_USER_ALLOCATION": 22})
ComputeCapability = IntEnum("ComputeCapability", {"SM75": 75, "SM86": 86, "SM87": 87, "SM89": 89, "SM120": 120})
compiled: list[str] = []  # the kernels that were compiled in this process


class DynamicShapesKernelSpecializationStrategy(Enum):
    LAZY = 0
    EAGER = 1
    NONE = 2


class IRuntimeCache:
    """Of compiled kernels."""

    def __init__(self) -> None:
        self.known: set[str] = set()

    def serialize(self) -> bytes:
        return " ".join(["kernels", _base.__version__, *sorted(self.known), ""]).encode()

    def deserialize(self, blob: bytes) -> bool:
        words = bytes(blob).decode(errors="replace").split()
        if words[:2] != ["kernels", _base.__version__]:
            return False
        self.known.update(words[2:])
        return True


class IRuntimeConfig:
    """How a context works."""

    def __init__(self) -> None:
        self.dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY
        self.strategy = _base.ExecutionContextAllocationStrategy.STATIC
        self.cache = IRuntimeCache()

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache()

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        self.cache = cache
        return True


class Context(IExecutionContext):
    """One that no capture holds unless all it needs is there."""

    config: IRuntimeConfig

    def execute_async_v3(self, stream_handle: int) -> bool:
        if _status(stream_handle):
            if not self.engine._header["flags"] >> BuilderFlag.REQUIRE_USER_ALLOCATION & 1:
                return self._misused("captured although it allocates by itself")
            eager = DynamicShapesKernelSpecializationStrategy.EAGER
            if self.config.dynamic_shapes_kernel_specialization_strategy is not eager:
                return self._misused("captured although it may compile kernels")
        return super().execute_async_v3(stream_handle)


class ICudaEngine(_base.ICudaEngine):
    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig()

    def create_execution_context(self, config: IRuntimeConfig) -> Context | None:  # type: ignore[override]
        for layer in self._header["layers"]:
            name = layer["Name"].replace(" ", "_")
            if name not in config.cache.known:
                compiled.append(name)
                config.cache.known.add(name)
        made = super().create_execution_context(config.strategy, Context)
        if made is not None:
            made.config = config
        return made


class Runtime(_base.Runtime):
    engine = ICudaEngine


def __getattr__(name: str) -> Any:
    return getattr(_base, name)
