"""TensorRT for tests on a machine without a GPU: the interface that its versions 10.3 to 11 share, on ONNX Runtime.

A network is the ONNX file that was parsed, an engine that file behind a header. Engines run in the streams of the
emulated driver (EMULATED_DRIVER names its library), as late as it lets them; building and deserializing need no driver.
What the real one would crash on or leave undefined is told to the driver, whose test then fails.

FAKE_TENSORRT_VERSION is the version it pretends to be. FAKE_TENSORRT names what shall go wrong, several by commas:
- `crash`: deserializing ends the process with SIGSEGV
- `refuse`: no engine is built
- `fp32`: every layer of an engine says it runs in FP32
- `off`: engines give values that are 0.25 too large; `off:FP16`, `off:Int8`: only those with such layers; `off@2`:
  only in batches of 2
- `fail`: nothing is executed
- `null:Builder`, `null:Runtime`, `null:context`: the factory raises TypeError, as the bindings do for a null pointer
- `raise:shape`, `raise:profile`: the call raises RuntimeError
- `null:timings`: there is no timing cache
"""

from __future__ import annotations

from tensorrt._basics import (
    BuilderFlag,
    DataType,
    DeviceType,
    Dims,
    ExecutionContextAllocationStrategy,
    ILogger,
    LayerInformationFormat,
    LayerType,
    Logger,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    ProfilingVerbosity,
    TensorIOMode,
    version,
)
from tensorrt._building import Builder, IHostMemory, IProgressMonitor, ITimingCache
from tensorrt._networks import OnnxParser
from tensorrt._running import EngineInspector, ICudaEngine, IExecutionContext, Runtime

__all__ = [
    "Builder",
    "BuilderFlag",
    "DataType",
    "DeviceType",
    "Dims",
    "EngineInspector",
    "ExecutionContextAllocationStrategy",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "IProgressMonitor",
    "ITimingCache",
    "LayerInformationFormat",
    "LayerType",
    "Logger",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "ProfilingVerbosity",
    "Runtime",
    "TensorIOMode",
]


def __getattr__(name: str) -> str:
    if name == "__version__":
        return version()
    raise AttributeError(f"module 'tensorrt' has no attribute '{name}'")
