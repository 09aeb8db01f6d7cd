"""From a network to an engine: a header, and the ONNX file it was parsed from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from tensorrt._basics import (
    BuilderFlag,
    DataType,
    DeviceType,
    Dims,
    ILogger,
    LayerType,
    MemoryPoolType,
    ProfilingVerbosity,
    checked,
    factory,
    faults,
    raising,
    version,
)
from tensorrt._networks import ON_DLA, ILayer, INetworkDefinition

MAGIC = b"faketrt\0"
MOVING = (LayerType.CAST, LayerType.IDENTITY, LayerType.PADDING, LayerType.SHUFFLE, LayerType.SLICE)
WORDS = {
    DataType.FLOAT: "Row major linear FP32",
    DataType.HALF: "Channel major FP16 format where channel % 8 == 0",
    DataType.INT8: "Thirty-two wide channel vectorized row major Int8 format",
}


class IHostMemory(bytes):
    """A buffer that the library owns."""

    @property
    def nbytes(self) -> int:
        return len(self)


class IProgressMonitor:
    """To be subclassed; a step that returns False stops the build."""

    def __init__(self) -> None:
        pass

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        raise NotImplementedError

    def step_complete(self, phase_name: str, step: int) -> bool:
        raise NotImplementedError

    def phase_finish(self, phase_name: str) -> None:
        raise NotImplementedError


class ITimingCache:
    """Of a build: what was timed, which here are names of layers."""

    def __init__(self, raw: bytes = b"") -> None:
        if raw and not raw.startswith(b"timings "):
            raise RuntimeError("the timing cache is damaged")
        self.timed: set[bytes] = set(raw.split()[1:])

    def combine(self, other: ITimingCache, ignore_mismatch: bool) -> bool:
        self.timed |= other.timed
        return True

    def serialize(self) -> IHostMemory:
        return IHostMemory(b" ".join([b"timings", *sorted(self.timed), b""]))


@dataclass
class IOptimizationProfile:
    shapes: dict[str, tuple[Dims, Dims, Dims]] = field(default_factory=dict)

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self.shapes[input] = (Dims(min), Dims(opt), Dims(max))

    def get_shape(self, input: str) -> list[Dims]:
        return list(self.shapes[input])


@dataclass
class IBuilderConfig:
    profiling_verbosity: ProfilingVerbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
    progress_monitor: IProgressMonitor | None = None
    builder_optimization_level: int = 3
    default_device_type: DeviceType = DeviceType.GPU
    DLA_core: int = -1
    max_aux_streams: int = 0
    profiles: list[IOptimizationProfile] = field(default_factory=list)
    limits: dict[MemoryPoolType, int] = field(default_factory=dict)
    flags: int = 1 << BuilderFlag.TF32
    _timings: ITimingCache | None = None

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.profiles)

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        raising("profile")
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self.limits[MemoryPoolType(pool)] = int(pool_size)

    def get_memory_pool_limit(self, pool: MemoryPoolType) -> int:
        return self.limits.get(pool, 1 << 62)

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags |= 1 << int(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags &= ~(1 << BuilderFlag(flag))

    def get_flag(self, flag: BuilderFlag) -> bool:
        return bool(self.flags >> BuilderFlag(flag) & 1)

    def create_timing_cache(self, serialized_timing_cache: Any) -> ITimingCache:
        return ITimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        self._timings = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return None if "null:timings" in faults() else self._timings

    num_compute_capabilities: int = 0

    def set_compute_capability(self, capability: Any, index: int) -> None:
        assert index < self.num_compute_capabilities

    def can_run_on_DLA(self, layer: ILayer) -> bool:
        halves = all(tensor.dtype is not DataType.FLOAT for tensor in layer.inputs)
        return layer.type in ON_DLA and halves

    def set_device_type(self, layer: ILayer, device_type: DeviceType) -> None:
        pass


class Builder:
    """Of engines; `num_DLA_cores` as on a Jetson Orin, which the emulated GPU is."""

    num_DLA_cores = 2
    max_threads = 1

    def __init__(self, logger: ILogger) -> None:
        self._logger = checked(logger)
        factory("Builder")

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(int(flags))

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        fault = "the builder was told to refuse" if "refuse" in faults() else _fault(network, config)
        if fault:
            self._logger.log(ILogger.ERROR, fault)
            return None
        timings = config._timings or ITimingCache()
        layers = [one for one in network.layers if one.type not in (LayerType.QUANTIZE, LayerType.DEQUANTIZE)]
        if not _progress(config.progress_monitor, layers):
            self._logger.log(ILogger.ERROR, "the build was canceled")
            return None
        timings.timed |= {one.name.replace(" ", "_").encode() for one in layers}
        config._timings = timings
        header = {
            "version": version(),
            "digest": hashlib.sha256(network.raw).hexdigest(),
            "tensors": [
                [one.name, one in network.inputs, one.dtype.value, list(one.shape)]
                for one in (*network.inputs, *network.outputs)
            ],
            "profiles": [
                {name: list(map(list, three)) for name, three in one.shapes.items()} for one in config.profiles
            ],
            "flags": config.flags,
            "is_detailed": config.profiling_verbosity == ProfilingVerbosity.DETAILED,
            "layers": _described(network, layers),
        }
        text = json.dumps(header).encode()
        return IHostMemory(MAGIC + len(text).to_bytes(8, "little") + text + network.raw)


def _fault(network: INetworkDefinition, config: IBuilderConfig) -> str:
    if not network.raw:
        return "the network is empty"
    open_inputs = [one for one in network.inputs if -1 in one.shape]
    if open_inputs and not config.profiles:
        return "Network has dynamic or shape inputs, but no optimization profile has been defined"
    for profile in config.profiles:
        for one in open_inputs:
            three = profile.shapes.get(one.name)
            if three is None or any(len(shape) != len(one.shape) for shape in three):
                return f"{one.name}: the optimization profile does not give its shapes"
            for least, best, most, size in zip(*three, one.shape, strict=True):
                if not least <= best <= most or size not in (-1, best):
                    return f"{one.name}: the optimization profile's shapes do not fit"
    if config.get_memory_pool_limit(MemoryPoolType.WORKSPACE) < 1 << 20:
        return "the workspace is too small for any tactic"
    return ""


def _progress(monitor: IProgressMonitor | None, layers: list[ILayer]) -> bool:
    if monitor is None:
        return True
    monitor.phase_start("Building engine", None, 1)
    monitor.phase_start("Timing graph nodes", "Building engine", len(layers))
    for step in range(len(layers)):
        if not monitor.step_complete("Timing graph nodes", step):
            return False
    monitor.phase_finish("Timing graph nodes")
    if not monitor.step_complete("Building engine", 0):
        return False
    monitor.phase_finish("Building engine")
    return True


def _described(network: INetworkDefinition, layers: list[ILayer]) -> list[dict[str, Any]]:
    """As the engine inspector lists them: Q and DQ are part of their neighbors, whose tensors they make INT8; of a
    product only where they make both its factors so."""
    of_dq: set[str] = set()
    for layer in network.layers:  # a DQ is taken past what only moves values
        moved = layer.type in MOVING and layer.num_inputs > 0 and layer.inputs[0].name in of_dq
        if moved or layer.type is LayerType.DEQUANTIZE:
            of_dq |= {one.name for one in layer.outputs}
    to_q = {one.name for layer in network.layers if layer.type is LayerType.QUANTIZE for one in layer.inputs}
    products = (LayerType.CONVOLUTION, LayerType.DECONVOLUTION, LayerType.MATRIX_MULTIPLY)
    in_fp32 = "fp32" in faults()

    def tensors(many: tuple[Any, ...], quantized: set[str]) -> list[dict[str, Any]]:
        kinds = [DataType.INT8 if one.name in quantized else one.dtype for one in many]
        words = [WORDS.get(kind, f"Row major linear {kind.name}") for kind in kinds]
        return [
            {
                "Name": one.name,
                "Location": "Device",
                "Dimensions": list(one.shape),
                "Format/Datatype": WORDS[DataType.FLOAT] if in_fp32 and kind in WORDS else word,
            }
            for one, kind, word in zip(many, kinds, words, strict=True)
        ]

    def whole(layer: ILayer) -> bool:
        return layer.num_inputs > 1 and all(one.name in of_dq for one in layer.inputs[:2])

    return [
        {
            "Name": one.name,
            "LayerType": "CaskConvolution" if one.type is LayerType.CONVOLUTION else one.type.name.title(),
            "Inputs": tensors(one.inputs, of_dq if one.type not in products or whole(one) else set()),
            "Outputs": tensors(one.outputs, to_q),
            "ParameterType": one.type.name.title(),
            "TacticName": "",
            "StreamId": 0,
            "Metadata": one.metadata,
        }
        for one in layers
    ]
