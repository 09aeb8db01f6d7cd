"""Defines what every engine is, and what the engines on the CPU have in common."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgead import ops
from edgead.bundle.draft import Model
from edgead.closing import Closing
from edgead.engines.contract import Port, check_ports, output_names
from edgead.errors import EngineError
from edgead.types import Branches, ImageU8, MapF32, Reading

Tensor = NDArray[np.float32]


class Engine(Closing):
    """Frames in, readings out. One thread at a time may call it; a `Detector` sees to that.

    A class of the table is made as Class(bundle, precision, threads).
    """

    name: ClassVar[str]  # as in the table of engines
    precision: str  # fp32, fp16 or int8: of the network that it runs
    batch: int = 1  # the most frames that are cheaper judged at once than one by one

    @classmethod
    def available(cls) -> bool:
        """Whether this machine has the library and the hardware; loads no network and never raises."""
        return True

    @abstractmethod
    def infer(self, images: Sequence[ImageU8]) -> list[Reading]:
        """One reading per (H, W, 3) BGR uint8 frame, in order; sizes may differ; arrays are the caller's to keep.

        Raises EngineError where a frame cannot be run, or after `close`.
        """


class CpuEngine(Engine):
    """Frames one by one through a network, since a batch gains nothing on a CPU: preprocess, `_run`, postprocess.

    A subclass names its `library` and has `_load` and `_run`. The input is allocated once.
    """

    library: ClassVar[str]  # with its version, for messages

    def __init__(self, bundle: Model, precision: str = "auto", threads: int = 0) -> None:
        """Load the bundle's network of that precision, for at most `threads` CPU threads (0: the library's choice).

        Raises BundleError where there is no such network, EngineError where the library refuses it.
        """
        self._manifest = bundle.manifest
        self._artifact = bundle.manifest.artifact(precision, self.name)
        self.precision = self._artifact.precision
        self._names = output_names(bundle.manifest.fusion)  # to run for, in this order
        self._mask, self._components = ops.load_mask(bundle), ops.load_components(bundle)
        spec = bundle.manifest.input
        self._tensor = np.empty((1, 3, spec.height, spec.width), np.float32)
        self._is_open = True
        network = bundle.read(self._artifact.member)
        try:
            self._load(network, threads)
        except EngineError:
            raise
        except Exception as error:  # the libraries raise a dozen unrelated classes
            raise EngineError(f"{self.library} refused {self._artifact.member}: {self._words(error)}") from error

    @abstractmethod
    def _load(self, network: bytes, threads: int) -> None:
        """Make the network ready, with `_check` in between; whatever this raises becomes an EngineError."""

    @abstractmethod
    def _run(self, tensor: Tensor) -> Sequence[Tensor]:
        """The outputs `_names`, each (1, ...) FP32 and the caller's to keep, for the input (1, 3, H, W)."""

    def _check(self, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
        check_ports(self._manifest, self._artifact.member, inputs, outputs)

    def _words(self, error: Exception) -> str:
        """What the library says went wrong."""
        return str(error)

    def infer(self, images: Sequence[ImageU8]) -> list[Reading]:
        if not self._is_open:
            raise EngineError("the engine is closed: make a new Detector")
        return [self._read(image) for image in images]

    def _read(self, image: ImageU8) -> Reading:
        start = time.perf_counter()
        ops.to_input(image, self._manifest.input, self._tensor[0])
        prepared = time.perf_counter()
        try:
            outputs = self._run(self._tensor)
        except Exception as error:
            raise EngineError(f"{self.library} failed on a frame: {self._words(error)}") from error
        inferred = time.perf_counter()
        fused, score, branches = self._fuse(outputs)
        done = time.perf_counter()
        times = 1e3 * (prepared - start), 1e3 * (inferred - prepared), 1e3 * (done - inferred)
        return Reading(fused, score, *times, branches)

    def _fuse(self, outputs: Sequence[Tensor]) -> tuple[MapF32, float, Branches | None]:
        maps = {name: out[0] for name, out in zip(self._names, outputs, strict=True)}
        fused = ops.fuse(maps, self._manifest.fusion, self._mask)
        score = ops.image_score(fused, self._manifest.fusion)
        if self._components is None:
            return fused, score, None
        return fused, *ops.judge_components(maps[ops.COMPONENTS], score, self._components)

    def close(self) -> None:
        self._is_open = False
