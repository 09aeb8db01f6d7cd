"""Gives the engine of one network for one GPU: from the cache, or newly built and checked."""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import msgspec

import edgead
from edgead.bundle import Artifact, Bundle, FusionSpec
from edgead.cuda.context import CudaContext
from edgead.errors import EdgeadError, EngineError
from edgead.tensorrt.build import BuiltEngine, OnProgress, Options, build
from edgead.tensorrt.cache import Cache
from edgead.tensorrt.layers import Layer, LayerPrecision, precision_mismatches
from edgead.tensorrt.library import Library
from edgead.tensorrt.metadata import SCHEMA, EngineMetadata, Key, Port, Prepared
from edgead.tensorrt.probe import try_engine

FAULTS = 5  # named in an error, at the most
SHARE_OF_MEMORY = 2  # a layer's workspace may take half of what is free
DRIVER = Path("/proc/driver/nvidia/version")
EngineBuilder = Callable[
    [Options, bytes, "OnProgress | None"], BuiltEngine
]  # options, TensorRT's timings so far, progress

_log = logging.getLogger(__name__)


def check_gpu_can_judge(fusion: FusionSpec) -> None:
    """Raise EngineError for what only the engines of the CPU carry out: the matching of objects."""
    if fusion.matching is not None:
        raise EngineError("objects are matched by the engines of the CPU alone: use --engine onnx or openvino")


def key_of(
    library: Library,
    bundle: Bundle,
    artifact: Artifact,
    gpu: CudaContext | None = None,
    *,
    capability: int = 0,
    batches: Sequence[int] = (),
    dla: bool = False,
    via: str = "onnx",
) -> Key:
    """What the engine of a network depends on: here on `gpu`, or ahead of time for GPUs of a capability.

    An engine of TensorRT for RTX is finished on the device and depends on less: one made ahead of time is found there.
    """
    portable = gpu is None or library.is_rtx
    return Key(
        network=hashlib.sha256(bundle.read(artifact.member)).hexdigest(),
        library=library.name,
        version=library.version,
        gpu="" if portable or gpu is None else gpu.name,
        capability=capability if gpu is None else gpu.capability,
        cuda=0 if portable or gpu is None else gpu.driver_version,
        driver="" if portable else _driver(),
        precision=artifact.precision,
        batches=tuple(sorted({frames * bundle.manifest.input.batch for frames in batches or artifact.batches})),
        dla=dla,
        via=via,
    )


def prepare_here(
    library: Library, bundle: Bundle, artifact: Artifact, gpu: CudaContext, cache: Cache | None = None
) -> Prepared:
    """The engine of a network for this GPU, built with the options of the last `edgead compile`. Raises EngineError."""
    cache = Cache() if cache is None else cache
    plain = key_of(library, bundle, artifact, gpu)
    options = cache.options(plain.network, plain.precision)
    key = key_of(library, bundle, artifact, gpu, batches=options.batches, dla=options.dla, via=options.via)
    if options.via != "onnx" and cache.find(key) is None:
        _log.warning("there is no engine via %s for this driver and library: building from the ONNX file", options.via)
        key = msgspec.structs.replace(key, via="onnx")
    return prepare(library, bundle, artifact, key, gpu, cache=cache)


def prepare(
    library: Library,
    bundle: Bundle,
    artifact: Artifact,
    key: Key,
    gpu: CudaContext | None = None,
    *,
    cache: Cache | None = None,
    make: EngineBuilder | None = None,
    on_progress: OnProgress | None = None,
) -> Prepared:
    """The engine for a key, from the cache or built now, which takes minutes on a device and is logged.

    With a `gpu` it is deserialized in another process before it is given out; ahead of time it is not tried. `make`
    builds it, by default from the ONNX file. A disk that is full costs the cache, not the engine. Raises EngineError
    where it cannot be built, is refused, or does not run in the precision that the network asks for.
    """
    if key.dla and key.precision == "int8":
        raise EngineError(
            "the deep-learning accelerator (DLA) takes no INT8 network with quantization nodes: give --precision fp16 "
            "with --dla, or leave out --dla"
        )
    cache = Cache() if cache is None else cache
    with cache.locked(key):
        found = cache.find(key)
        try:
            if found is not None:
                return found if found.metadata.is_tried or gpu is None else _store(cache, _tried(library, found, gpu))
        except EngineError as error:
            _log.warning("the engine %s is built anew: %s", cache.path(key).name, error)
        prepared = _build(library, bundle.read(artifact.member), key, gpu, cache, make, on_progress)
        return _store(cache, prepared if gpu is None else _tried(library, prepared, gpu))


def _build(
    library: Library,
    network: bytes,
    key: Key,
    gpu: CudaContext | None,
    cache: Cache,
    make: EngineBuilder | None,
    on_progress: OnProgress | None,
) -> Prepared:
    options = Options(key.batches, key.capability if library.is_rtx else 0, _workspace(gpu), key.dla)
    if gpu is not None:
        _log.warning("building the %s engine for %s: it takes minutes, once", key.precision, gpu.name)
        on_progress = on_progress or _quarters(key.precision)
    start = time.monotonic()
    with nullcontext() if gpu is None else gpu.current():
        timings = cache.read_timings(key)
        built = make(options, timings, on_progress) if make else build(library, network, options, timings, on_progress)
    cache.store_timings(key, built.timings)
    _check(key, built.requested, built.layers)
    return Prepared(built.engine, _metadata(key, built, time.monotonic() - start))


def _quarters(precision: str) -> OnProgress:
    """Progress for an unattended line: a log message at each quarter."""
    reported = 0

    def say(done: int, total: int) -> None:
        nonlocal reported
        if reported < (quarter := 4 * done // total) < 4:
            reported = quarter
            _log.warning("building the %s engine: %d %%", precision, 25 * quarter)

    return say


def _tried(library: Library, prepared: Prepared, gpu: CudaContext) -> Prepared:
    """The engine after another process has deserialized it, with the layers the inspector lists."""
    metadata = prepared.metadata
    contents = try_engine(library, prepared.engine, gpu.ordinal)
    if metadata.ports and not _match(metadata.ports, contents.ports):
        have = ", ".join(f"{port.name} {port.dtype} {list(port.shape)}" for port in contents.ports)
        raise EngineError(f"its inputs and outputs are not the network's but {have}")
    metadata = msgspec.structs.replace(metadata, ports=contents.ports)
    if contents.layers:
        _check(metadata.key, metadata.requested, contents.layers)
        metadata = msgspec.structs.replace(metadata, layers=contents.layers)
    return Prepared(prepared.engine, msgspec.structs.replace(metadata, is_tried=True))


def _match(asked: Sequence[Port], found: Sequence[Port]) -> bool:
    """Whether two lists of ports are the same; a size that one of them leaves open fits any."""
    others = {port.name: port for port in found}
    return len(asked) == len(found) and all(
        (other := others.get(port.name)) is not None
        and (port.is_input, port.dtype, len(port.shape)) == (other.is_input, other.dtype, len(other.shape))
        and all(a == b or min(a, b) < 0 for a, b in zip(port.shape, other.shape, strict=True))
        for port in asked
    )


def _store(cache: Cache, prepared: Prepared) -> Prepared:
    try:
        cache.store(prepared)
    except EdgeadError as error:
        cache.remove(prepared.metadata.key)
        _log.warning("the engine cannot be stored and will be built again at the next start: %s", error)
    return prepared


def _check(key: Key, requested: Sequence[LayerPrecision], layers: Sequence[Layer]) -> None:
    """Raise EngineError where layers that were read back do not run in the precision asked for."""
    if not layers:
        return
    faults = precision_mismatches(requested, layers)
    if not requested and key.precision not in {layer.precision for layer in layers}:
        faults = [f"no layer runs in {key.precision}"]
    if faults:
        more = f" and {len(faults) - FAULTS} more" if len(faults) > FAULTS else ""
        raise EngineError(
            f"the {key.precision} engine is not what its network asks for: {'; '.join(faults[:FAULTS])}{more}; use "
            "another --precision"
        )


def _metadata(key: Key, built: BuiltEngine, seconds: float) -> EngineMetadata:
    return EngineMetadata(
        schema=SCHEMA,
        key=key,
        sha256=hashlib.sha256(built.engine).hexdigest(),
        size=len(built.engine),
        ports=tuple(built.ports),
        requested=tuple(built.requested),
        layers=tuple(built.layers),
        beside_dla=tuple(built.beside_dla),
        seconds=round(seconds, 1),
        edgead=edgead.__version__,
        is_tried=False,
    )


def _workspace(gpu: CudaContext | None) -> int:
    if gpu is None:
        return 0
    with gpu.current():
        return gpu.free_memory() // SHARE_OF_MEMORY


def _driver() -> str:
    """The release of NVIDIA's driver, such as 580.65.06; empty where the system does not tell."""
    with suppress(OSError):
        found = re.search(r"\d+\.\d+(\.\d+)?", DRIVER.read_text(errors="replace"))
        return found.group() if found else ""
    return ""
