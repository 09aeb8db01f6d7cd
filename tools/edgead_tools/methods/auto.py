"""Chooses the method: the memory alone, or with the students that are of help beside it.

The candidates share one trunk, one memory and its folds, and half of the training each. They are compared by anomalies
planted into good images that none has learned from (`methods.planted`): students must be ahead of the memory alone by
more than the standard error, and of those that are the cheapest is taken that is no more than the best one's error
behind the best. What logical anomalies are worth such anomalies cannot tell, so `csad` is no candidate.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from edgead.errors import UsageError
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.backbones.weights import WeightsFile, find
from edgead_tools.methods import Trained, TrainingImages
from edgead_tools.methods.ast_mfr.edge import AstMfrEdge
from edgead_tools.methods.joined import Joined, Learned, add_memory, handed_over
from edgead_tools.methods.lite import lite0_trunk
from edgead_tools.methods.memory import remember, without_students
from edgead_tools.methods.presets import EdgePreset
from edgead_tools.methods.stlm.edge import StlmEdge
from edgead_tools.training.loop import TrainReport
from edgead_tools.training.report import training_report
from edgead_tools.training.run import Run
from edgead_tools.training.session import session

MEMORY = "memory"


class Candidate(Protocol):
    """A method whose students may stand beside the memory."""

    @property
    def name(self) -> str: ...

    def learn(
        self, trunk: EfficientNetLite, sources: Sequence[WeightsFile], images: TrainingImages, run: Run
    ) -> Learned: ...


@dataclasses.dataclass(frozen=True, slots=True)
class AutoEdge(EdgePreset):
    """What all candidates have in common."""

    name: ClassVar[str] = "auto"
    weights: ClassVar[tuple[str, ...]] = ("efficientnet-lite0",)

    def __post_init__(self) -> None:
        EdgePreset.__post_init__(self)  # slots: the class that super() knows is another
        if not self.memory:
            raise UsageError("method 'auto' compares students with the memory: give memory above 0, or name a method")

    @property
    def candidates(self) -> tuple[Candidate, Candidate]:
        """Those with students, the cheaper one last: it is trained for as many steps as the first took."""
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(EdgePreset)}
        return AstMfrEdge(**shared), StlmEdge(**shared)

    def train(self, images: TrainingImages, run: Run) -> Trained:
        source = find(self.weights[0], run.weights)
        trunk = lite0_trunk(source, run.device)
        if not run.trains:
            return without_students(trunk, images, run, self, source, self.top)
        with session(run.device, run.threads):
            joined, stages = self._join_each(trunk, source, images, run)
        chosen = choose({name: one.report["memory"] for name, one in joined.items()})
        best = joined[chosen] if chosen in joined else next(iter(joined.values()))
        figures = {name: one.report["memory"]["planted_auroc"] for name, one in joined.items()}
        *findings, _ = best.report["findings"]  # the last one is of one candidate
        report = training_report(stages, [source]) | best.report
        report |= {"auto": {"chosen": chosen, "planted_auroc": figures}}
        report |= {"findings": [*findings, _finding(chosen, figures, self.students)]}
        return handed_over(best, images, report)

    def _join_each(
        self, trunk: EfficientNetLite, source: WeightsFile, images: TrainingImages, run: Run
    ) -> tuple[dict[str, Joined], list[TrainReport]]:
        """Every candidate beside the one memory, and the stages of all trainings."""
        remembered = remember(trunk, images, run, self)
        first, second = run.split(0.5)
        joined, stages = dict[str, Joined](), list[TrainReport]()
        for candidate in self.candidates:
            part = second(sum(one.steps for one in stages)) if stages else first
            learned = candidate.learn(trunk, (source,), images, part)
            stages += learned.stages
            joined[candidate.name] = add_memory(
                learned.network, trunk, learned.fusion, learned.maps, images, run, self, remembered
            )
        return joined, stages


def choose(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The name of the candidate to take, by what `add_memory` reports of each, in the order of falling cost; `MEMORY`
    where none is of help."""
    helpful = {name: one["planted_auroc"] for name, one in found.items() if one["students"]}
    if not helpful:
        return MEMORY
    best = max(helpful.values(), key=lambda one: one["gain"])
    return [name for name, one in helpful.items() if one["gain"] >= best["gain"] - best["error"]][-1]


def _finding(chosen: str, figures: Mapping[str, Mapping[str, float]], share: float) -> dict[str, str]:
    """What the build says of the choice."""
    memory = next(iter(figures.values()))["memory"]
    others = (f"{one['both']:.3f} with {name} ({one['gain']:+.3f}, uncertain by {one['error']:.3f})"
              for name, one in figures.items())  # fmt: skip
    alone = chosen == MEMORY
    return {
        "found": "no students are of help beside the memory" if alone else f"students of {chosen} are of help",
        "figures": f"AUROC of planted anomalies {memory:.3f} with the memory alone, {', '.join(others)}",
        "chosen": "the memory alone" if alone else f"{chosen}, with a share of {share:.2f} of the score",
        "overrule": f"--method {' or '.join(figures)}",
    }
