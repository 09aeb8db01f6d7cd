"""A torch module behind the interface of TensorRT that edgead uses: capture, streams, slots and threads are then real.

No TensorRT is in it and none is claimed: `Library.title` says torch. An engine is the bundle's ONNX graph
(`onnx_in_torch`). On a GPU it runs in the caller's stream, reads and writes where TensorRT would, and allocates in a
memory pool of its own, so that what a CUDA graph holds is given to nobody else. On the emulated driver it runs on the
CPU when the stream does.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from types import SimpleNamespace

import msgspec
import numpy as np
import onnx_in_torch
import pytest
import torch
from torch import Tensor

from edgead.bundle import Artifact, Bundle, Member
from edgead.cuda.context import CudaContext
from edgead.engines.tensorrt import TensorRtEngine
from edgead.tensorrt.library import Library
from edgead.tensorrt.metadata import SCHEMA, EngineMetadata, Key, Port, Prepared

NAMES = {torch.float32: "fp32", torch.float16: "fp16"}


class ExecutionContextAllocationStrategy(Enum):
    USER_MANAGED = 2


class ILogger:
    """What a Library's logger is made from."""


class TorchLibrary(Library):
    """Stands where TensorRT does."""

    @property
    def title(self) -> str:
        return f"torch {self.version} in TensorRT's place"


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        pass

    def deserialize_cuda_engine(self, engine: bytes) -> Engine:
        return Engine(engine)


class Engine:
    """Its network, and the memory pool of all its contexts: they run one after the other."""

    device_memory_size_v2 = 256  # of the caller's; torch has its own

    def __init__(self, network: bytes) -> None:
        self.is_emulated = "EMULATED_DRIVER" in os.environ
        self.module = onnx_in_torch.OnnxModule(network).eval()
        self.pool = None
        if not self.is_emulated:
            self.module = self.module.cuda()
            self.pool = torch.cuda.MemPool()

    def create_execution_context(self, strategy: ExecutionContextAllocationStrategy) -> Context:
        return Context(self)


class Context:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_device_memory(self, memory: int, size: int) -> None:
        pass

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        return True

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        self._shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = int(address)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = next(iter(self._shapes.values()))[0]
        (shape,) = (shape for known, _, shape in self._engine.module.outputs if known == name)
        return (batch, *shape[1:])

    def execute_async_v3(self, stream: int) -> bool:
        if self._engine.is_emulated:
            key = next(_numbers)
            _waiting[key] = self
            driver = ctypes.CDLL(os.environ["EMULATED_DRIVER"])
            return driver.cuLaunchHostFunc(ctypes.c_void_p(stream), _run_on_host, ctypes.c_void_p(key)) == 0
        outside = torch.cuda.ExternalStream(stream)
        with torch.cuda.stream(outside), torch.cuda.use_mem_pool(self._engine.pool):
            self.compute()
        return True

    def compute(self) -> None:
        (name, kind, _), *_ = self._engine.module.inputs
        with torch.inference_mode():
            outputs = self._engine.module(self._seen(name, kind, self._shapes[name]))
            for (output, kind, _), value in zip(self._engine.module.outputs, outputs, strict=True):
                self._seen(output, kind, self.get_tensor_shape(output)).copy_(value)

    def _seen(self, name: str, kind: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        """What lies at a tensor's address."""
        numbers = np.dtype(str(kind).removeprefix("torch."))
        address = self._addresses[name]
        if self._engine.is_emulated:
            memory = (ctypes.c_char * (math.prod(shape) * numbers.itemsize)).from_address(address)
            return torch.from_numpy(np.frombuffer(memory, numbers).reshape(shape))
        interface = {"shape": shape, "typestr": numbers.str, "data": (address, False), "version": 3}
        return torch.as_tensor(SimpleNamespace(__cuda_array_interface__=interface), device="cuda")


_numbers = itertools.count(1)
_waiting: dict[int, Context] = {}  # kept, since graphs run them again


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _run_on_host(key: int) -> None:
    _waiting[key].compute()


def library() -> Library:
    strategy = ExecutionContextAllocationStrategy
    module = SimpleNamespace(Runtime=Runtime, ILogger=ILogger, ExecutionContextAllocationStrategy=strategy)
    return TorchLibrary("torch", str(torch.__version__), module)


def prepared(bundle: Bundle, artifact: Artifact, gpu: CudaContext, batches: Sequence[int]) -> Prepared:
    """A bundle's network as an engine of this library."""
    network = bundle.read(artifact.member)
    module, digest = onnx_in_torch.OnnxModule(network), hashlib.sha256(network).hexdigest()
    ports = tuple(
        Port(name, is_input, NAMES[kind], shape)
        for is_input, values in ((True, module.inputs), (False, module.outputs))
        for name, kind, shape in values
    )
    key = Key(
        network=digest,
        library="torch",
        version=str(torch.__version__),
        gpu=gpu.name,
        capability=gpu.capability,
        cuda=gpu.driver_version,
        driver="",
        precision=artifact.precision,
        batches=tuple(batches),
    )
    metadata = EngineMetadata(
        schema=SCHEMA,
        key=key,
        sha256=digest,
        size=len(network),
        ports=ports,
        requested=(),
        layers=(),
        beside_dla=(),
        seconds=0.0,
        edgead="",
        is_tried=True,
    )
    return Prepared(network, metadata)


@contextmanager
def engine(bundle: Bundle, batches: Sequence[int] = (1,), precision: str = "fp32") -> Iterator[TensorRtEngine]:
    """edgead's engine for a GPU, with torch for the network; it has reproduced the bundle's golden frames."""
    spec = bundle.manifest.input

    def prepare(library: Library, bundle: Bundle, artifact: Artifact, gpu: CudaContext, cache: object) -> Prepared:
        return prepared(bundle, artifact, gpu, [size * spec.batch for size in batches])

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("edgead.engines.tensorrt.open_library", library)
        monkeypatch.setattr("edgead.engines.tensorrt.prepare_here", prepare)
        made = TensorRtEngine(bundle, precision)
        try:
            yield made
        finally:
            made.close()
            _waiting.clear()


def with_halves(bundle: Bundle, network: bytes, tolerance: float) -> Bundle:
    """The bundle with that FP16 network beside its own, held to the same golden frames within a tolerance."""
    exact = bundle.manifest.artifact("fp32", "tensorrt")
    artifact = msgspec.structs.replace(exact, member="fp16.onnx", precision="fp16", tolerance=tolerance)
    members = bundle.manifest.members | {artifact.member: Member(sha256="", size=len(network))}
    manifest = msgspec.structs.replace(bundle.manifest, artifacts=(exact, artifact), members=members)
    return Bundle(manifest, bundle.members() | {"fp16.onnx": network}, bundle.digest, bundle.path)
