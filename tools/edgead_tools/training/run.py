"""Says where, how long and on what a build trains, and divides it between stages."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

from edgead.errors import UsageError
from edgead.progress import OnProgress


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Where, how long and on what a build trains. Exactly one of budget, steps and epochs is given."""

    folder: Path
    seed: int = 0
    budget: float | None = None  # seconds; 0 trains nothing
    most: int | None = None  # steps that a budget may be turned into
    steps: int | None = None
    epochs: float | None = None
    device: str = "cpu"
    threads: int = 0  # 0: torch's choice
    checkpoint_every: float = 60.0  # seconds
    weights: Path | None = None  # a file in place of the packaged or cached weights
    textures: Path | None = None  # a folder of texture images in place of procedural ones
    distill_from: Path | None = None  # a bundle whose maps are learned
    finish: bool = False  # take a stage that was begun as far as it came
    on_progress: OnProgress = lambda done, total: None  # total is an estimate until a budget is planned

    def __post_init__(self) -> None:
        given = [name for name in ("budget", "steps", "epochs") if getattr(self, name) is not None]
        if len(given) != 1:
            raise UsageError(f"give exactly one of budget, steps and epochs, not {' and '.join(given) or 'none'}")
        if self.trains and not getattr(self, given[0]) > 0:
            raise UsageError(f"{given[0]} must be positive, not {getattr(self, given[0])}")

    @property
    def trains(self) -> bool:
        """Whether anything is trained at all; a method without a memory cannot do without."""
        return self.budget != 0

    def untrained(self) -> Run:
        """The same run without any training."""
        return dataclasses.replace(self, budget=0.0, steps=None, epochs=None, distill_from=None)

    def split(self, share: float) -> tuple[Run, Callable[[int], Run]]:
        """The run of a first stage, which gets that `share` (0..1) of it, and what gives that of the second one by the
        steps that the first took.

        The second is counted in steps, so that the sum of both tells the two apart and `--steps` repeats a build that a
        budget ended; a first stage that was cut short cuts it in proportion.
        """
        first = dataclasses.replace(
            self,
            budget=None if self.budget is None else self.budget * share,
            steps=None if self.steps is None else max(1, min(self.steps - 1, math.ceil(self.steps * share - 0.5))),
            epochs=None if self.epochs is None else self.epochs * share,
        )

        def second(done: int) -> Run:
            steps = round(done * (1 - share) / share)
            if self.steps is not None and done == first.steps:
                steps = self.steps - done  # what rounding left, so that the sum is what was asked for
            return dataclasses.replace(self, budget=None, epochs=None, steps=max(1, steps))

        return first, second
