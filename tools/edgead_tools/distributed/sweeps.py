"""Sweeps on Ray Tune: candidates beside one another, and those that fall behind are stopped early.

A candidate is trained several times, each time three times as long; all of it together is what a sweep without Ray
gives it. After each but the last it goes on only if, of the candidates that are no slower on a frame and have come as
far, it is among the best third. So the fastest is never stopped for what a slower one achieves. Each training leaves
its bundle in the folder `rungs`, so that a sweep that was stopped goes on.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from edgead import Bundle
from edgead.errors import EdgeadError
from edgead.progress import Reporter
from edgead.wording import plural
from edgead_tools.distributed.cluster import cluster
from edgead_tools.pipeline.sweep import (
    LEAST_S,
    BuildAll,
    Candidate,
    SweepPlan,
    build_candidate,
    build_in_turn,
    latencies,
    measured,
)

FACTOR = 3  # between two trainings of a candidate, and the share of candidates that goes on
RUNGS = 3  # trainings of a candidate at the most
ALIKE = 1.1  # times of one frame that differ by less are the same: others work on this machine, too
TRIES = 2  # of a candidate whose process dies


def on_ray(workers: int = 0, address: str = "") -> BuildAll:
    """What builds a sweep's candidates on Ray: so many at once (0: one for each CPU), here or on a cluster."""

    def build_all(
        candidates: Sequence[Candidate], plan: SweepPlan, reporter: Reporter
    ) -> Iterator[tuple[Candidate, Bundle]]:
        finished = [one for one in candidates if (plan.folder / one.file).exists()]
        yield from build_in_turn(finished, plan, reporter)
        missing = [one for one in candidates if one not in finished]
        if not missing:
            return
        with cluster(address, workers) as count, reporter.stage(f"building {plural(len(missing), 'candidate')}"):
            results = _tuned(missing, plan, count)
        for candidate, told in zip(missing, results, strict=True):
            if told["error"]:
                reporter.say(f"left out {candidate}: {told['error']}")
                continue
            if told["rung"] < told["rungs"] - 1:
                seconds, auroc = told["trained"], told["image_auroc"]
                reporter.say(f"stopped {candidate} after {seconds:.0f} s of training: image AUROC {auroc:.3f}")
            target = plan.folder / candidate.file
            shutil.copyfile(told["bundle"], target)
            yield candidate, Bundle.open(target)

    return build_all


def rungs_of(seconds: float) -> list[float]:
    """Seconds of each training of a candidate, which has `seconds` in all; none is too short to tell anything."""
    for count in range(RUNGS, 0, -1):
        first = seconds / sum(FACTOR**rung for rung in range(count))
        if first >= LEAST_S or count == 1:
            return [first * FACTOR**rung for rung in range(count)]
    raise AssertionError("one training is always there")


@dataclass(frozen=True, slots=True)
class Reached:
    """What a candidate has achieved by the end of a training."""

    milliseconds: float  # a frame
    image_auroc: float


def goes_on(one: Reached, others: Sequence[Reached]) -> bool:
    """Whether a candidate is among the best third of those no slower than it; `others` have come as far before it."""
    rivals = [other for other in others if other.milliseconds <= ALIKE * one.milliseconds]
    better = sum(other.image_auroc > one.image_auroc for other in rivals)
    return better < math.ceil((len(rivals) + 1) / FACTOR)


class EarlyStopping(FIFOScheduler):  # type: ignore[misc]
    """Stops candidates between their trainings, see the module."""

    def __init__(self) -> None:
        super().__init__()
        self._reached: dict[int, list[Reached]] = {}

    def on_trial_result(self, tune_controller: Any, tuned: Any, result: dict[str, Any]) -> str:
        if result["error"]:
            return str(TrialScheduler.STOP)
        one, others = Reached(result["ms"], result["image_auroc"]), self._reached.setdefault(result["rung"], [])
        continues = goes_on(one, others)
        others.append(one)
        return str(TrialScheduler.CONTINUE if continues else TrialScheduler.STOP)


class CandidateTraining(tune.Trainable):  # type: ignore[misc]
    """A candidate in a process of its own: each step is a training."""

    def setup(self, config: dict[str, Any]) -> None:
        self._candidate = Candidate(**config["candidate"])
        self._plan = SweepPlan(Path(config["data"]), Path(config["folder"]), config["seconds"], config["seed"])
        self._rungs, self._next, self._trained = rungs_of(self._plan.seconds), 0, 0.0

    def step(self) -> dict[str, Any]:
        """The next training; raises nothing that edgead refuses, which is told as `error`."""
        rung, told = self._next, {"rungs": len(self._rungs), "error": "", "bundle": ""}
        self._next += 1
        folder = self._plan.folder / "rungs" / str(rung)
        plan = SweepPlan(self._plan.data, folder, self._rungs[rung], self._plan.seed)
        try:
            bundle = build_candidate(self._candidate, plan, Reporter(), threads=1)
            auroc = measured(bundle).get("image_auroc")
            if auroc is None:
                raise EdgeadError("its labeled images could not be measured")
            spent = latencies({"": bundle}, threads=1)[""]
        except EdgeadError as error:
            return {**told, "rung": rung, "error": str(error), "image_auroc": -1.0, "ms": math.inf, "done": True}
        self._trained += bundle.manifest.provenance["training"]["seconds"]
        return {**told, "rung": rung, "image_auroc": auroc, "ms": spent, "bundle": str(bundle.path),
                "trained": self._trained, "done": rung == len(self._rungs) - 1}  # fmt: skip


def _tuned(candidates: Sequence[Candidate], plan: SweepPlan, workers: int) -> list[dict[str, Any]]:
    """What each candidate has told last, in their order."""
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    plan.folder.mkdir(parents=True, exist_ok=True)
    place = plan.folder.resolve() / ".tune"
    space = {"data": str(plan.data.resolve()), "folder": str(plan.folder.resolve()), "seconds": plan.seconds,
             "seed": plan.seed, "candidate": tune.grid_search([asdict(one) for one in candidates])}  # fmt: skip
    tuner = tune.Tuner(
        tune.with_resources(CandidateTraining, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            scheduler=EarlyStopping(), max_concurrent_trials=workers, metric="image_auroc", mode="max"
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=str(place),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=TRIES),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # bundles are what is kept
        ),
    )
    try:
        results = {_key(one.config["candidate"]): one for one in tuner.fit()}
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return [_last_result(results[_key(asdict(candidate))]) for candidate in candidates]


def _key(candidate: dict[str, Any]) -> tuple[str, ...]:
    return tuple(map(str, candidate.values()))


def _last_result(result: Any) -> dict[str, Any]:
    if result.metrics and "rung" in result.metrics:
        return dict(result.metrics)
    words = " ".join(str(result.error or "it told nothing").split())[-300:]
    return {"error": f"its process died: {words}"}
