"""Runs TensorRT on an NVIDIA GPU, with everything around the network on the GPU too.

The engine is built where it runs (`edgead.tensorrt`) and must reproduce the bundle's golden frames before it judges a
part: TensorRT calls an engine that does not fit its GPU undefined, from lower accuracy to a refusal to load.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from weakref import finalize

from edgead.arrays import AnyImage, DeviceImage
from edgead.bundle import Artifact, Bundle
from edgead.cuda.context import CudaContext, load_driver
from edgead.cuda.device_arrays import DeviceArrays
from edgead.engines.base import Engine
from edgead.engines.batches import SLOTS, Batches
from edgead.engines.contract import Port, check_ports
from edgead.errors import AbsentError, EngineError
from edgead.tensorrt.cache import Cache
from edgead.tensorrt.library import Library, open_library
from edgead.tensorrt.metadata import EngineMetadata
from edgead.tensorrt.prepare import check_gpu_can_judge, prepare_here
from edgead.types import ImageU8, Reading
from edgead.verify import GoldenCheck, compare

_log = logging.getLogger(__name__)


class TensorRtEngine(Engine):
    """One engine on one GPU; any thread may call it, one at a time gets in."""

    name = "tensorrt"
    takes_device = True

    def __init__(self, bundle: Bundle, precision: str = "auto", threads: int = 0, device: int = 0) -> None:
        """`device` is the number of the GPU; `threads` is the CPU engines' and does nothing here.

        Of several networks the first is taken whose engine can be built and reproduces the golden frames; a line says
        which was not. Raises AbsentError where there is no GPU or TensorRT, UsageError where no GPU has that number,
        EngineError where no network can be used.
        """
        self._lock = threading.Lock()
        with ExitStack() as stack:
            gpu = CudaContext(device)
            stack.callback(gpu.close)
            library = open_library()
            check_gpu_can_judge(bundle.manifest.fusion)
            artifact, self._gpu, self._batches = _first(library, bundle, precision, gpu)
        self._end = finalize(self, self._gpu.close)  # also of one that nobody closed, while the driver is there
        self._arrays = DeviceArrays(self._gpu)
        self.precision: str = artifact.precision
        self.batch = self._batches.most

    @property
    def together(self) -> int:
        return SLOTS * self.batch

    @classmethod
    def available(cls) -> bool:
        try:
            load_driver()
            open_library()
        except AbsentError:
            return False
        except Exception:  # it is here; that it is broken is said where it is used
            return True
        return True

    def infer(self, images: Sequence[AnyImage]) -> list[Reading]:
        with self._lock, self._gpu.current():
            self._arrays.wait_for(images)
            return self._batches.read_all(images)

    def infer_any(self, images: Sequence[AnyImage]) -> list[Reading]:
        return self.infer(images)

    def fetch(self, image: DeviceImage) -> ImageU8:
        with self._lock, self._gpu.current():
            return self._arrays.fetch(image)

    def close(self) -> None:
        with self._lock:
            self._end()


def _first(library: Library, bundle: Bundle, precision: str, gpu: CudaContext) -> tuple[Artifact, CudaContext, Batches]:
    """The first network of the bundle that can be used, and its engine on a `CudaContext` of its own."""
    candidates = _candidates(library, bundle, precision)
    reasons = []
    for index, artifact in enumerate(candidates):
        try:
            return artifact, *_opened(library, bundle, artifact, gpu)
        except EngineError as error:
            reasons.append(f"{artifact.precision}: {error}")
            if index + 1 < len(candidates):
                _log.warning("tensorrt does not use the %s network: %s", artifact.precision, error)
    raise EngineError("; ".join(reasons))


def _candidates(library: Library, bundle: Bundle, precision: str) -> list[Artifact]:
    """The bundle's networks for TensorRT, best first; TensorRT for RTX promises no INT8 convolutions: INT8 is last."""
    manifest = bundle.manifest
    names = manifest.precisions([TensorRtEngine.name]) if precision == "auto" else [precision]
    if library.is_rtx:
        names.sort(key="int8".__eq__)
    return [manifest.artifact(name, TensorRtEngine.name) for name in names]


def _opened(library: Library, bundle: Bundle, artifact: Artifact, gpu: CudaContext) -> tuple[CudaContext, Batches]:
    """The engine of a network, ready and compared with the golden frames; nothing of it stays where that fails."""
    cache = Cache()
    prepared = prepare_here(library, bundle, artifact, gpu, cache)
    check_ports(bundle.manifest, artifact.member, _ports(prepared.metadata, True), _ports(prepared.metadata, False))
    own = CudaContext(gpu.ordinal)
    with ExitStack() as stack:
        stack.callback(own.close)
        with own.current():
            batches = Batches(own, library, bundle, prepared, cache.read_kernels(prepared.metadata.key))
            _validate_golden(bundle, artifact, batches)
            cache.store_kernels(prepared.metadata.key, batches.compiled())
        stack.pop_all()
    return own, batches


def _validate_golden(bundle: Bundle, artifact: Artifact, batches: Batches) -> None:
    """Raise EngineError unless every size of batch reproduces every golden frame: each may run other code."""
    if not bundle.manifest.golden_frames:
        _log.warning("the bundle has no golden frames: nothing shows that tensorrt judges as it should here")
    for index, size in enumerate(batches.sizes):
        checks = compare(bundle, artifact, partial(_read, batches, index))
        wrong = max((check for check in checks if not check.passed), key=_excess, default=None)
        if wrong is not None:
            raise EngineError(
                f"it does not reproduce golden frame '{wrong.frame}' in a batch of {size}: the map differs by "
                f"{wrong.map_error:.3g} (allowed {wrong.tolerance:.3g}), the score by {wrong.score_error:.3g} "
                f"({wrong.score_tolerance:.3g}); report it with the output of `edgead doctor`"
            )


def _read(batches: Batches, index: int, image: ImageU8) -> Reading:
    return batches.read([image], index)[0]


def _excess(check: GoldenCheck) -> float:
    return max(check.map_error / max(check.tolerance, 1e-12), check.score_error / check.score_tolerance)


def _ports(metadata: EngineMetadata, is_input: bool) -> list[Port]:
    return [
        Port(
            port.name,
            port.dtype in ("fp32", "fp16"),
            tuple(None if size < 0 else size for size in port.shape),
            f"tensor({port.dtype or 'of another type'}) {list(port.shape)}",
        )
        for port in metadata.ports
        if port.is_input == is_input
    ]
