"""Defines what every engine is, and what the engines on the CPU have in common."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgead import ops
from edgead.arrays import AnyImage, DeviceImage
from edgead.bundle.draft import Model
from edgead.bundle.input_spec import TileSpec
from edgead.closing import Closing
from edgead.engines.contract import Port, check_ports, output_names
from edgead.errors import DataError, EngineError
from edgead.ops.everything import find_finder
from edgead.types import Branches, ImageU8, MapF32, Reading

Tensor = NDArray[np.float32]
AT_ONCE = 8  # tiles in one run, at most


class Engine(Closing):
    """Frames in, readings out. One thread at a time may call it; a `Detector` sees to that.

    A class of the table is made as Class(bundle, precision, threads).
    """

    name: ClassVar[str]  # as in the table of engines
    precision: str  # fp32, fp16 or int8: of the network that it runs
    takes_device: ClassVar[bool] = False  # whether it is made for one of several GPUs: Class(..., device=N)
    batch: int = 1  # the most frames that are cheaper judged at once than one by one

    @property
    def fitted_for(self) -> str:
        """The engine of the table whose networks and thresholds hold: itself, or the one behind it."""
        return self.name

    @property
    def together(self) -> int:
        """How many frames given at once keep it busy: more than a batch where the next is made ready meanwhile."""
        return self.batch

    @classmethod
    def available(cls) -> bool:
        """Whether this machine has the library and the hardware; loads no network and never raises."""
        return True

    @abstractmethod
    def infer(self, images: Sequence[ImageU8]) -> list[Reading]:
        """One reading per (H, W, 3) BGR uint8 frame, in order; sizes may differ; arrays are the caller's to keep.

        Raises EngineError where a frame cannot be run, or after `close`.
        """

    def infer_any(self, images: Sequence[AnyImage]) -> list[Reading]:
        """The same of images that may lie on a GPU; raises DataError where this engine does not read those."""
        there = [image for image in images if not isinstance(image, DeviceImage)]
        if len(there) < len(images):
            raise self._no_gpu()
        return self.infer(there)

    def fetch(self, image: DeviceImage) -> ImageU8:
        """The pixels of an image that lies on this engine's GPU; raises DataError where it has none."""
        raise self._no_gpu()

    def _no_gpu(self) -> DataError:
        return DataError(
            f"the image lies on a GPU and the engine {self.name} does not read it there: give it as a numpy array, "
            "or choose the engine tensorrt"
        )


class CpuEngine(Engine):
    """Frames one by one through a network, since a batch gains nothing on a CPU: preprocess, `_run`, postprocess.

    A frame in tiles goes a few at a time (`AT_ONCE`), so that neither inputs nor activations of all lie in memory,
    unless the network must have all together. A subclass names its `library` and has `_load` and `_run`. The input is
    allocated once.
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
        self._references = ops.load_references(bundle)
        matching = bundle.manifest.fusion.matching
        self.finder = None if matching is None else find_finder(matching.proposals)  # of masks, where another has them
        spec = bundle.manifest.input
        self._tensor = np.empty((tiles_at_once(spec.tiles), 3, spec.height, spec.width), np.float32)
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
        """The outputs `_names`, each (B, ...) FP32 and the caller's to keep, for the input (B, 3, H, W)."""

    def _check(self, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
        check_ports(self._manifest, self._artifact.member, inputs, outputs)

    def _words(self, error: Exception) -> str:
        """What the library says went wrong."""
        return str(error)

    def infer(self, images: Sequence[ImageU8]) -> list[Reading]:
        if not self._is_open:
            raise EngineError("the engine is closed: make a new Detector")
        return [self._read(image) for image in images]

    def outputs_of(self, image: ImageU8) -> tuple[ImageU8, dict[str, Tensor]]:
        """A frame at the network's size, and the outputs that a reading needs of it, without a batch: what is fitted
        to good images is fitted to these. Of frames that are not cut into tiles.
        """
        spec = self._manifest.input
        small = ops.resize(image, *spec.frame)
        ops.normalize(small, spec, self._tensor[0])
        found = self._run(self._tensor)
        return small, {name: np.array(values[0]) for name, values in zip(self._names, found, strict=True)}

    def _read(self, image: ImageU8) -> Reading:
        start, inferring = time.perf_counter(), 0.0
        spec, at_once = self._manifest.input, len(self._tensor)
        small = ops.resize(image, *spec.frame)
        tiles = ops.cut_tiles(small, spec)
        found: list[Sequence[Tensor]] = []
        for first in range(0, len(tiles), at_once):
            for tile, out in zip(tiles[first : first + at_once], self._tensor, strict=True):
                ops.normalize(tile, spec, out)
            prepared = time.perf_counter()
            try:
                found.append(self._run(self._tensor))
            except Exception as error:
                raise EngineError(f"{self.library} failed on a frame: {self._words(error)}") from error
            inferring += time.perf_counter() - prepared
        inferred = time.perf_counter()
        fused, score, branches = self._fuse(found, small)
        done = time.perf_counter()
        times = 1e3 * (inferred - start - inferring), 1e3 * inferring, 1e3 * (done - inferred)
        return Reading(fused, score, *times, branches)

    def _fuse(self, found: Sequence[Sequence[Tensor]], small: ImageU8) -> tuple[MapF32, float, Branches | None]:
        """The frame's map, score and branches, from the outputs of every run on it; `small` is what they are of."""
        outputs = found[0] if len(found) == 1 else [np.concatenate(parts) for parts in zip(*found, strict=True)]
        maps, fusion = dict(zip(self._names, outputs, strict=True)), self._manifest.fusion
        fused = ops.fuse_batch(maps, self._manifest.input, fusion, self._mask)
        if self._references is not None:
            whole = {name: values[0] for name, values in maps.items()}
            return ops.judge_objects(small, whole, fused, fusion, self._references, self._mask, self.finder)
        score = ops.image_score(fused, fusion)
        if self._components is None:
            return fused, score, None
        return fused, *ops.judge_components(maps[ops.COMPONENTS][0], score, self._components)

    def close(self) -> None:
        self._is_open = False


def tiles_at_once(tiles: TileSpec | None) -> int:
    """Tiles in one run: what divides their number, or all where the network must have them together."""
    if tiles is None:
        return 1
    return tiles.count if tiles.apart else next(size for size in range(AT_ONCE, 0, -1) if tiles.count % size == 0)
