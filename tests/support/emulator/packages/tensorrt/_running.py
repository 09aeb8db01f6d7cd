"""From an engine's file to work in a stream of the emulated driver, done by ONNX Runtime."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import json
import os
import signal
import sys
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorrt._basics import (
    DataType,
    Dims,
    ExecutionContextAllocationStrategy,
    ILogger,
    LayerInformationFormat,
    TensorIOMode,
    checked,
    driver,
    factory,
    faults,
    raising,
    version,
    wrong,
)
from tensorrt._building import MAGIC

HEAD = len(MAGIC) + 8
SCRATCH = 256  # bytes of device memory that a context works in, its own or given to it


def _status(stream_handle: int) -> int:
    """Whether a stream is captured."""
    status = ctypes.c_int()
    driver().cuStreamIsCapturing(ctypes.c_void_p(stream_handle), ctypes.byref(status))
    return status.value


class Runtime:
    engine: type[ICudaEngine] | None = None  # what it makes, where that is not the class below

    def __init__(self, logger: ILogger) -> None:
        self._logger = checked(logger)
        factory("Runtime")

    def deserialize_cuda_engine(self, serialized_engine: Any) -> ICudaEngine | None:
        if "crash" in faults():
            os.kill(os.getpid(), signal.SIGSEGV)
        raw = bytes(serialized_engine)
        try:
            if not raw.startswith(MAGIC):
                raise ValueError("the magic tag does not match")
            length = int.from_bytes(raw[len(MAGIC) : HEAD], "little")
            header, network = json.loads(raw[HEAD : HEAD + length]), raw[HEAD + length :]
            if header["version"] != version():
                raise ValueError(f"built by version {header['version']}, this is {version()}")
            if hashlib.sha256(network).hexdigest() != header["digest"]:
                raise ValueError("its weights are damaged")
        except (ValueError, KeyError) as error:
            self._logger.log(ILogger.ERROR, f"IRuntime::deserializeCudaEngine: Error Code 1: {error}")
            return None
        return (self.engine or ICudaEngine)(self, header, network)


class ICudaEngine:
    """It keeps its runtime, as a context keeps its engine."""

    def __init__(self, runtime: Runtime, header: dict[str, Any], network: bytes) -> None:
        self._runtime, self._header, self._network = runtime, header, network
        self._tensors = {name: (is_input, kind, shape) for name, is_input, kind, shape in header["tensors"]}

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    @property
    def num_layers(self) -> int:
        return len(self._header["layers"])

    @property
    def num_optimization_profiles(self) -> int:
        return max(1, len(self._header["profiles"]))

    @property
    def device_memory_size_v2(self) -> int:
        return SCRATCH

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        if name not in self._tensors:
            return TensorIOMode.NONE
        return TensorIOMode.INPUT if self._tensors[name][0] else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType(self._tensors[name][1])

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self._tensors[name][2])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        return [Dims(shape) for shape in self._header["profiles"][profile_index][name]]

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)

    def create_execution_context(
        self,
        strategy: ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy.STATIC,
        kind: type[IExecutionContext] | None = None,
    ) -> Any:
        factory("context")
        kind = kind or IExecutionContext
        if strategy is ExecutionContextAllocationStrategy.USER_MANAGED:
            return kind(self, None)
        scratch = ctypes.c_void_p()
        if driver().cuMemAlloc_v2(ctypes.byref(scratch), ctypes.c_size_t(SCRATCH)):
            self._runtime._logger.log(ILogger.ERROR, "createExecutionContext: CUDA failed")
            return None
        return kind(self, scratch)


class EngineInspector:
    def __init__(self, engine: ICudaEngine) -> None:
        self._header = engine._header
        self.execution_context: IExecutionContext | None = None

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        assert format == LayerInformationFormat.JSON
        layers = self._header["layers"]
        shown = layers if self._header["is_detailed"] else [layer["Name"] for layer in layers]
        return json.dumps({"Layers": shown, "Bindings": [name for name, *_ in self._header["tensors"]]})


class IExecutionContext:
    """It holds device memory from its making to its end, both of which need a current context, unless it is given."""

    def __init__(self, engine: ICudaEngine, scratch: ctypes.c_void_p | None) -> None:
        import onnxruntime as ort

        self._scratch = scratch  # its own
        self._given = (0 if scratch is None else int(scratch.value or 0), SCRATCH)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        if "Int8" in json.dumps(engine._header["layers"]):  # node by node: fused, some processors saturate
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.engine = engine
        self._session = ort.InferenceSession(engine._network, options, providers=["CPUExecutionProvider"])
        self._profile = 0  # as the first context of an engine has it
        self._shapes: dict[str, Dims] = {}
        self._addresses: dict[str, int] = {}
        self._is_warm = False  # the first run after a change allocates, which no capture allows
        self.pending = 0  # runs in a stream that have not happened

    @property
    def active_optimization_profile(self) -> int:
        return self._profile

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        if not 0 <= profile_index < self.engine.num_optimization_profiles:
            return self._refused(f"there is no optimization profile {profile_index}")
        if not self._may_use(stream_handle):
            return False
        self._profile, self._shapes, self._is_warm = profile_index, {}, False
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        if self._scratch is not None:
            self._misused("given memory although it has its own")
        self._given, self._is_warm = (int(memory), int(size)), False

    def set_input_shape(self, name: str, shape: Any) -> bool:
        raising("shape")
        if self.engine.get_tensor_mode(name) is not TensorIOMode.INPUT:
            return self._refused(f"{name} is no input")
        least, _, most = self.engine.get_tensor_profile_shape(name, self._profile)
        sizes = Dims(shape)
        fits = len(sizes) == len(least) and all(a <= b <= c for a, b, c in zip(least, sizes, most, strict=True))
        if not fits:
            return self._refused(f"{name}: {sizes} is not within [{least}, {most}] of profile {self._profile}")
        self._shapes[name], self._is_warm = sizes, False
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        _, _, shape = self.engine._tensors[name]
        batch = next(iter(self._shapes.values()), (-1,))[0]
        return Dims(batch if place == 0 and size == -1 else size for place, size in enumerate(shape))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self.engine._tensors:
            return self._refused(f"there is no tensor {name}")
        self._addresses[name], self._is_warm = int(memory), False
        return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def execute_async_v3(self, stream_handle: int) -> bool:
        if "fail" in faults():
            return self._refused("told to fail")
        if not self._may_use(stream_handle):
            return False
        names = list(self.engine._tensors)
        if len(self._shapes) != sum(one[0] for one in self.engine._tensors.values()):
            return self._misused("executed without the shape of an input")
        address, size = self._given
        if size < SCRATCH or not driver().emulator_holds(ctypes.c_void_p(address), ctypes.c_size_t(size)):
            return self._misused("executed without the device memory it needs")
        tensors = {}
        for name in names:
            kind, shape = np.dtype(self.engine.get_tensor_dtype(name).value), self.get_tensor_shape(name)
            size = int(np.prod(shape)) * kind.itemsize
            address = self._addresses.get(name, 0)
            if not driver().emulator_holds(ctypes.c_void_p(address), ctypes.c_size_t(size)):
                return self._misused(f"the address of {name} is not set, or its buffer is too small")
            tensors[name] = (address, tuple(shape), kind)
        is_captured = bool(_status(stream_handle))
        if is_captured and not self._is_warm:
            return self._misused("captured before a first run with these shapes and addresses")
        key = next(_keys)
        _runs[key] = _Run(weakref.ref(self), tensors, is_captured=is_captured)
        if driver().cuLaunchHostFunc(ctypes.c_void_p(stream_handle), _run, ctypes.c_void_p(key)):
            del _runs[key]
            return self._refused("CUDA failed")
        self.pending += not is_captured
        self._is_warm = True
        return True

    def _may_use(self, stream_handle: int) -> bool:
        if not driver().emulator_depth():
            return self._misused("used without a current context")
        if not driver().emulator_is_stream(ctypes.c_void_p(int(stream_handle))):
            return self._misused("given something that is no stream")
        return True

    def _misused(self, what: str) -> bool:
        wrong(f"TensorRT: {what}")
        return self._refused(what)

    def _refused(self, what: str) -> bool:
        self.engine._runtime._logger.log(ILogger.ERROR, f"IExecutionContext: Error Code 3: {what}")
        return False

    def execute(self, tensors: dict[str, tuple[int, tuple[int, ...], np.dtype[Any]]]) -> None:
        """In the stream: read the inputs where they lie, and write the outputs."""
        is_input = {name: self.engine.get_tensor_mode(name) is TensorIOMode.INPUT for name in tensors}
        feeds = {name: np.array(_seen(*tensors[name])) for name in tensors if is_input[name]}
        names = [name for name in tensors if not is_input[name]]
        shift = 0.25 if self._is_off(len(next(iter(feeds.values())))) else 0
        for name, values in zip(names, self._session.run(names, feeds), strict=True):
            _seen(*tensors[name])[...] = values + values.dtype.type(shift)

    def _is_off(self, batch: int) -> bool:
        layers = json.dumps(self.engine._header["layers"])
        told = [fault for fault in faults() if fault.startswith("off")]
        return any(one in ("off", f"off@{batch}") or (one[3:4] == ":" and one[4:] in layers) for one in told)

    def __del__(self) -> None:
        if sys.is_finalizing():
            return
        if self.pending:
            wrong("a TensorRT context ends while it is at work")
        if self._scratch is not None:
            driver().cuMemFree_v2(self._scratch)


@dataclass
class _Run:
    context: weakref.ref[IExecutionContext]
    tensors: dict[str, tuple[int, tuple[int, ...], np.dtype[Any]]]
    is_captured: bool


_keys = itertools.count(1)
_runs: dict[int, _Run] = {}  # what was given to a stream, by the number it was given


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _run(key: int) -> None:
    run = _runs[key]
    context = run.context()
    if context is None:
        return wrong("a TensorRT context is at work after its end")
    if not run.is_captured:
        del _runs[key]
        context.pending -= 1
    try:
        context.execute(run.tensors)
    except Exception as error:
        wrong(f"TensorRT: {error}")
    return None


def _seen(address: int, shape: tuple[int, ...], kind: np.dtype[Any]) -> np.ndarray:
    """An array of memory that lies there."""
    size = int(np.prod(shape)) * kind.itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), kind).reshape(shape)
