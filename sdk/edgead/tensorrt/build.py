"""Builds a serialized engine from an ONNX file, with TensorRT or TensorRT for RTX.

Precision is in the ONNX (strongly typed networks), never in a flag. One optimization profile is made for each batch
size, all three of its shapes that size, so that every tactic is chosen for what will run, and a CUDA graph can hold it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from edgead.errors import EngineError
from edgead.tensorrt.layers import Layer, LayerPrecision, from_log, requested_precisions, type_name
from edgead.tensorrt.library import Library, Messages
from edgead.tensorrt.metadata import Port

OnProgress = Callable[[int, int], object]


@dataclass(frozen=True, slots=True)
class Options:
    """How an engine is built, beside its network."""

    batches: tuple[int, ...] = (1,)
    capability: int = 0  # 86 for sm_86, ahead of time; 0: the GPU that is here
    workspace: int = 0  # bytes of the GPU's memory that one layer may use at the most; 0: no limit
    dla: bool = False  # on the deep-learning accelerator of a Jetson Orin, where a layer can


class BuiltEngine(NamedTuple):
    """An engine, and what was read while it was built."""

    engine: bytes
    ports: list[Port]  # none: as deserializing shows them
    requested: list[LayerPrecision]
    layers: list[Layer]  # as the builder's log has them; none where it does not say
    beside_dla: list[str]  # layers that run on the GPU, where the accelerator was asked for
    timings: bytes  # TensorRT's timing cache, for the next build on this GPU


def build(
    library: Library, network: bytes, options: Options, timings: bytes = b"", on_progress: OnProgress | None = None
) -> BuiltEngine:
    """The engine of an ONNX file. On a GPU its context must be current; ahead of time no GPU is needed.

    Raises EngineError where the network is refused or the library fails, with its reasons.
    """
    log = _Log()
    with library.translated(log.messages):
        return _build(library, network, options, timings, on_progress, log)


def _build(
    library: Library, network: bytes, options: Options, timings: bytes, on_progress: OnProgress | None, log: _Log
) -> BuiltEngine:
    trt = library.module
    logger = library.logger(log.add)
    builder = trt.Builder(logger)
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, logger)
    if not parser.parse(network):
        faults = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise EngineError(f"{library.title} does not read the network: {'; '.join(faults) or log.messages}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)  # FP32 is FP32: scores must not depend on the GPU's generation
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):  # of TensorRT for RTX: else no CUDA graph holds it
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if options.workspace:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    if on_progress is not None and hasattr(trt, "IProgressMonitor"):
        config.progress_monitor = _monitor(trt, on_progress)
    if options.capability:
        _aim(library, config, options.capability)
    if not library.is_rtx:  # which times nothing
        _take_timings(config, timings)
    beside = _use_dla(library, builder, definition, config) if options.dla else []
    for batch in options.batches:
        config.add_optimization_profile(_profile(builder, definition, batch))
    serialized = builder.build_serialized_network(definition, config)
    if serialized is None:
        raise EngineError(f"{library.title} cannot build the network: {log.messages}")
    return BuiltEngine(
        bytes(serialized),
        list(_ports(definition)),
        requested_precisions(definition),
        from_log(log.lines),
        beside,
        b"" if library.is_rtx else _timings_of(config),
    )


def _timings_of(config: Any) -> bytes:
    """What this build timed, for the next one; none where the library does not give it, which costs time alone."""
    with suppress(Exception):  # of its bindings
        cache = config.get_timing_cache()
        return b"" if cache is None else bytes(cache.serialize())
    return b""


def _take_timings(config: Any, timings: bytes) -> None:
    """Give the builder what earlier builds timed; what it does not take costs time, nothing else."""
    for known in (timings, b""):
        with suppress(Exception):  # of its bindings; a damaged cache gives None, or raises
            cache = config.create_timing_cache(known)
            if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
                return


def _ports(definition: Any) -> Iterator[Port]:
    inputs = [definition.get_input(index) for index in range(definition.num_inputs)]
    outputs = [definition.get_output(index) for index in range(definition.num_outputs)]
    for index, tensor in enumerate((*inputs, *outputs)):
        yield Port(tensor.name, index < len(inputs), type_name(tensor.dtype.name), tuple(tensor.shape))


def _profile(builder: Any, definition: Any, batch: int) -> Any:
    profile = builder.create_optimization_profile()
    for index in range(definition.num_inputs):
        tensor = definition.get_input(index)
        shape = (batch, *tuple(tensor.shape)[1:])
        profile.set_shape(tensor.name, shape, shape, shape)
    return profile


def _aim(library: Library, config: Any, capability: int) -> None:
    """Build for GPUs of a compute capability, which only TensorRT for RTX can."""
    check_capability(library, capability)
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(library.module.ComputeCapability, f"SM{capability}"), 0)


def check_capability(library: Library, capability: int) -> None:
    """Raise EngineError unless the library can build for GPUs of that capability without one."""
    known = capabilities(library)
    if not known:
        raise EngineError(
            f"{library.title} builds on the GPU that will run the engine: run `edgead compile` there, or install "
            "TensorRT for RTX for a GeForce or RTX card"
        )
    if capability not in known:
        names = ", ".join(f"sm_{number}" for number in known)
        raise EngineError(f"{library.title} builds for {names}, not for sm_{capability}")


def capabilities(library: Library) -> list[int]:
    """The compute capabilities that the library builds for ahead of time; none for TensorRT itself."""
    known = getattr(library.module, "ComputeCapability", None)
    names = getattr(known, "__members__", {})
    return sorted(int(name[2:]) for name in names if name.startswith("SM") and name[2:].isdecimal())


def _use_dla(library: Library, builder: Any, definition: Any, config: Any) -> list[str]:
    """Put layers on the accelerator where it can carry them out; gives the names of the others."""
    if getattr(builder, "num_DLA_cores", 0) == 0:
        raise EngineError(f"{library.title} finds no deep-learning accelerator (DLA) here: leave out --dla")
    trt = library.module
    config.default_device_type, config.DLA_core = trt.DeviceType.DLA, 0
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    layers = [definition.get_layer(index) for index in range(definition.num_layers)]
    return [layer.name for layer in layers if layer.type.name != "CONSTANT" and not config.can_run_on_DLA(layer)]


def _monitor(trt: Any, on_progress: OnProgress) -> Any:
    """TensorRT's progress, whose phases are nested, in percent of the whole. Threads of the builder call it."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._lock = threading.Lock()
            self._phases: dict[str, _Phase] = {}
            self._reported = -1

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._lock:
                self._phases[phase_name] = _Phase(parent_phase, max(num_steps, 1))
                self._report()

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._lock:
                if phase_name in self._phases:
                    self._phases[phase_name].done = step + 1
                self._report()
            return True

        def phase_finish(self, phase_name: str) -> None:
            with self._lock:
                phase = self._phases.pop(phase_name, None)
                if phase is not None and phase.parent is None:
                    self._reported = 100
                    on_progress(100, 100)

        def _report(self) -> None:
            whole = max((self._share(name) for name, one in self._phases.items() if one.parent is None), default=0.0)
            if int(100 * whole) > self._reported:
                self._reported = int(100 * whole)
                on_progress(self._reported, 100)

        def _share(self, name: str) -> float:
            """How much of a phase is done, that of the phases inside it included."""
            phase = self._phases[name]
            inside = (self._share(child) for child, one in self._phases.items() if one.parent == name)
            return min(1.0, (phase.done + max(inside, default=0.0)) / phase.steps)

    return Monitor()


@dataclass(slots=True)
class _Phase:
    """A phase that is under way."""

    parent: str | None
    steps: int
    done: int = 0


class _Log:
    """Collects the messages of a builder."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.messages = Messages()

    def add(self, severity: str, message: str) -> None:
        self.lines.append(message)
        self.messages.add(severity, message)
