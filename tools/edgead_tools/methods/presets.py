"""States once what the presets of all methods have in common."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar

from edgead.bundle.manifest import FusionSpec, MapSpec
from edgead.errors import UsageError
from edgead_tools.methods.memory import MemoryOptions, score_spec
from edgead_tools.training.loop import Optimizer
from edgead_tools.training.run import Run


class PaperPreset:
    """The base of models as published: no memory, so that they must be trained."""

    __slots__ = ()

    preset: ClassVar[str] = "paper"
    size: ClassVar[int] = 256
    memory_size: ClassVar[int] = 0
    distils: ClassVar[bool] = False
    memory: ClassVar[int] = 0
    segments: ClassVar[bool] = False


@dataclasses.dataclass(frozen=True, slots=True)
class EdgePreset(MemoryOptions):
    """The base of forms for the edge: students on a frozen trunk, and a memory beside them."""

    preset: ClassVar[str] = "edge"
    size: ClassVar[int] = 256
    memory_size: ClassVar[int] = 320  # 0.60 GMAC, where students at 256 cost 0.51 (stlm) and 0.71 (ast_mfr)
    distils: ClassVar[bool] = False
    segments: ClassVar[bool] = False

    rate: float = 2e-3
    passes: float = 40.0  # over the images that a time budget may be spent on: few images are soon learned by heart
    flips: bool = False  # whether a mirrored part is a good part
    rotation: float = 2.0  # degrees a good part may be turned by
    top: float = 0.01  # share of the map's cells whose mean is the score (`memory.score_spec`)

    def __post_init__(self) -> None:
        MemoryOptions.__post_init__(self)  # slots: the class that super() knows is another
        if not (0 < self.rate < math.inf and 0 < self.passes < math.inf):
            raise UsageError("rate and passes must be above 0")
        if not (0 <= self.rotation <= 180 and 0 < self.top <= 1):
            raise UsageError("top must lie in (0, 1] and rotation in 0..180 degrees")

    @property
    def optimizer(self) -> Optimizer:
        """How the students and heads of every edge form learn."""
        return Optimizer(rate=self.rate, kind="adam", betas=(0.9, 0.99), weight_decay=0.0)

    def limited(self, run: Run, steps_per_epoch: float) -> Run:
        """The run, whose budget is turned into no more than the preset's passes over the images."""
        return dataclasses.replace(run, most=math.ceil(self.passes * steps_per_epoch))

    def fused(self, maps: Sequence[MapSpec], height: int, width: int) -> FusionSpec:
        """The fusion of the students' maps on a grid of cells; the score is the mean of the highest."""
        return FusionSpec(maps=tuple(maps), height=height, width=width, score=score_spec(self.top, height, width))
