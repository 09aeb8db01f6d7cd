"""What every part of the library shares: enumerations, shapes, loggers, and how a misuse is told."""

from __future__ import annotations

import ctypes
import os
from enum import Enum, IntEnum
from functools import cache
from typing import Any


def version() -> str:
    """What it pretends to be."""
    return os.environ.get("FAKE_TENSORRT_VERSION", "10.3.0.26")


def faults() -> list[str]:
    """What FAKE_TENSORRT asks for."""
    return os.environ.get("FAKE_TENSORRT", "").split(",")


@cache
def _opened(path: str) -> ctypes.CDLL:
    return ctypes.CDLL(path)


def driver() -> ctypes.CDLL:
    """The emulated driver, without which nothing runs."""
    path = os.environ.get("EMULATED_DRIVER")
    if path is None:
        raise RuntimeError("CUDA initialization failure with error: 35")
    return _opened(path)


def factory(name: str) -> None:
    """What the bindings raise where the library makes nothing (`null:NAME`)."""
    if f"null:{name}" in faults():
        raise TypeError(f"pybind11::init(): factory function returned nullptr ({name})")


def raising(name: str) -> None:
    """What the bindings raise for a call that the library throws in (`raise:NAME`)."""
    if f"raise:{name}" in faults():
        raise RuntimeError(f"{name} failed")


def wrong(what: str) -> None:
    """A program must not do that."""
    driver().emulator_refuse(what.encode())


class Severity(Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger:
    """To be subclassed with `log(severity, msg)`; as with any bound class, its constructor must be called."""

    Severity = Severity
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def __init__(self) -> None:
        self._is_made = True

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError


class Logger(ILogger):
    """Writes to standard error."""

    def __init__(self, min_severity: Severity = Severity.WARNING) -> None:
        super().__init__()
        self.min_severity = min_severity

    def log(self, severity: Severity, msg: str) -> None:
        if severity.value <= self.min_severity.value:
            os.write(2, f"[TRT] [{severity.name[0]}] {msg}\n".encode())


def checked(logger: Any) -> ILogger:
    """A logger that may be used."""
    if not isinstance(logger, ILogger) or not hasattr(logger, "_is_made"):
        raise TypeError("an ILogger whose __init__ was called is needed")
    return logger


class Dims(tuple):
    """A shape; -1 where it is open."""

    __slots__ = ()

    def __new__(cls, shape: Any = ()) -> Dims:
        return super().__new__(cls, (int(size) for size in shape))


class DataType(Enum):
    FLOAT = "float32"
    HALF = "float16"
    INT8 = "int8"
    INT32 = "int32"
    BOOL = "bool"
    UINT8 = "uint8"
    INT64 = "int64"


class TensorIOMode(IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1
    PREFER_JIT_PYTHON_PLUGINS = 2
    PREFER_AOT_PYTHON_PLUGINS = 3


class ProfilingVerbosity(IntEnum):
    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class LayerInformationFormat(IntEnum):
    ONELINE = 0
    JSON = 1


class MemoryPoolType(IntEnum):
    WORKSPACE = 0
    DLA_MANAGED_SRAM = 1
    DLA_LOCAL_DRAM = 2
    DLA_GLOBAL_DRAM = 3
    TACTIC_DRAM = 4
    TACTIC_SHARED_MEMORY = 5


class ExecutionContextAllocationStrategy(Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class DeviceType(IntEnum):
    GPU = 0
    DLA = 1


class BuilderFlag(IntEnum):
    """Those of all versions; there are none for precisions."""

    DEBUG = 2
    GPU_FALLBACK = 3
    REFIT = 4
    DISABLE_TIMING_CACHE = 5
    TF32 = 7
    SPARSE_WEIGHTS = 8
    DIRECT_IO = 11
    VERSION_COMPATIBLE = 12
    EXCLUDE_LEAN_RUNTIME = 13
    STRIP_PLAN = 17
    WEIGHT_STREAMING = 19


LayerType = IntEnum(
    "LayerType",
    "CONVOLUTION CAST ACTIVATION POOLING LRN SCALE SOFTMAX DECONVOLUTION CONCATENATION ELEMENTWISE PLUGIN UNARY "
    "PADDING SHUFFLE REDUCE TOPK GATHER MATRIX_MULTIPLY RAGGED_SOFTMAX CONSTANT IDENTITY PLUGIN_V2 SLICE SHAPE "
    "PARAMETRIC_RELU RESIZE TRIP_LIMIT RECURRENCE ITERATOR LOOP_OUTPUT SELECT FILL QUANTIZE DEQUANTIZE CONDITION "
    "CONDITIONAL_INPUT CONDITIONAL_OUTPUT SCATTER EINSUM ASSERTION ONE_HOT NON_ZERO GRID_SAMPLE NMS REVERSE_SEQUENCE "
    "NORMALIZATION",
    start=0,
)
