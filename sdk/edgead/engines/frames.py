"""What engines on the CPU have in common: a frame into the graph, its maps into a reading, and the graph's contract."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead import ops
from edgead.bundle import Bundle
from edgead.errors import EngineError
from edgead.types import ImageU8, Reading

Tensor = NDArray[np.float32]


class Port(NamedTuple):
    """An input or output of a graph, as a runtime describes it."""

    name: str
    is_float: bool  # FP32
    shape: tuple[int | None, ...]  # None where a size is left open
    text: str  # type and shape in the runtime's words


class Frames:
    """Frames one by one through a network, since a batch gains nothing on a CPU; the input is allocated once."""

    def __init__(self, bundle: Bundle) -> None:
        self.names = [part.name for part in bundle.manifest.fusion.maps]  # the outputs to run for, in this order
        self._input = bundle.manifest.input
        self._fusion = bundle.manifest.fusion
        self._mask = ops.load_mask(bundle)
        self._components = ops.load_components(bundle)
        if self._components is not None:
            self.names.append(ops.COMPONENTS)
        self._tensor = np.empty((1, 3, self._input.height, self._input.width), np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the graph's input: (1, 3, H, W)."""
        return self._tensor.shape

    def read(self, image: ImageU8, run: Callable[[Tensor], Sequence[Tensor]]) -> Reading:
        """The reading of one frame; `run` takes the input and gives the outputs `names`, each (1, ...) FP32."""
        start = time.perf_counter()
        ops.to_input(image, self._input, self._tensor[0])
        prepared = time.perf_counter()
        outputs = run(self._tensor)
        inferred = time.perf_counter()
        maps = {name: out[0] for name, out in zip(self.names, outputs, strict=True)}
        fused = ops.fuse(maps, self._fusion, self._mask)
        score, branches = ops.image_score(fused, self._fusion), None
        if self._components is not None:
            score, branches = ops.judge_components(maps[ops.COMPONENTS], score, self._components)
        done = time.perf_counter()
        times = 1e3 * (prepared - start), 1e3 * (inferred - prepared), 1e3 * (done - inferred)
        return Reading(fused, score, *times, branches)

    def check(self, member: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> None:
        """Raise EngineError unless the graph takes `image` (B, 3, H, W) and gives the fusion's maps (B, h, w) and,
        where it has components, their logits (B, K, h, w); all FP32."""
        wanted: dict[str, tuple[int | None, ...]] = {"image": (None, *self._tensor.shape[1:])}
        wanted |= dict.fromkeys(self.names, (None, None, None))
        if self._components is not None:
            wanted[ops.COMPONENTS] = (None, len(self._components.spec.names), None, None)
        have = {port.name for port in (*inputs, *outputs)}
        faults = [f"it has no '{name}'" for name in wanted if name not in have]
        faults += [f"input '{port.name}' is not fed" for port in inputs if port.name != "image"]
        for port in (*inputs, *outputs):
            if port.name in wanted and not _fits(port, wanted[port.name]):
                faults.append(f"'{port.name}' is {port.text}")
        if faults:
            raise EngineError(f"{member} does not keep the graph contract: {'; '.join(faults)}; export it again")


def _fits(port: Port, shape: tuple[int | None, ...]) -> bool:
    """Whether a port is FP32 and of that shape; a size that either leaves open fits, a batch too."""
    if not port.is_float or len(port.shape) != len(shape) or port.shape[0] not in (None, 1):
        return False
    return all(have == want or have is None or want is None for have, want in zip(port.shape, shape, strict=True))
