"""What engines on the CPU have in common: a frame into the graph, and its maps into a reading."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgead import ops
from edgead.bundle import Bundle
from edgead.engines.contract import output_names
from edgead.types import ImageU8, Reading

Tensor = NDArray[np.float32]


class Frames:
    """Frames one by one through a network, since a batch gains nothing on a CPU; the input is allocated once."""

    def __init__(self, bundle: Bundle) -> None:
        self.names = output_names(bundle.manifest.fusion)  # to run for, in this order
        self._input = bundle.manifest.input
        self._fusion = bundle.manifest.fusion
        self._mask = ops.load_mask(bundle)
        self._components = ops.load_components(bundle)
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
