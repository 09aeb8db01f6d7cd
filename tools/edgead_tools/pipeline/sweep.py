"""Tries methods, presets and sizes on one data set: what each is worth, and what it costs on this machine.

Every candidate trains for the same share of the budget and becomes a bundle in the sweep's folder; a bundle that is
there is not built again, so that a sweep that was stopped goes on. Latencies are taken at the end, in turn over all.
"""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgead import Bundle, Detector
from edgead.config import BuildConfig
from edgead.config.loader import validated
from edgead.errors import DataError, EdgeadError, UsageError
from edgead.files import write_file
from edgead.progress import Reporter
from edgead.system.device import OtherWork, describe_device, describe_state
from edgead_tools.data import open_dataset
from edgead_tools.evaluation.report.page import Section, page, table
from edgead_tools.evaluation.report.plots import Point, pareto, scatter
from edgead_tools.methods import create_method, presets_by_method
from edgead_tools.pipeline.build import build

SIZES = (128, 192, 256)
LEAST_S = 5.0  # of training of one candidate, below which nothing is learned
MANY_MISSED = 0.3  # of the defects, from which on that is said of a choice
ROUNDS = 60
RESULT, PAGE = "sweep.json", "sweep.html"
FIGURES = {"image_auroc": "image AUROC", "aupro": "AUPRO 30 %"}  # what is plotted over the latency


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may be chosen."""

    method: str
    preset: str
    size: int | str  # of the input in pixels: a side, or WIDTHxHEIGHT

    def __str__(self) -> str:
        return f"{self.method} {self.preset} {self.size}"

    @property
    def file(self) -> str:
        return f"{self.method}-{self.preset}-{self.size}.edgead"


@dataclass(frozen=True, slots=True)
class SweepResult:
    """A candidate that was built: its figures, and the milliseconds of one image through its network."""

    candidate: Candidate
    measured: dict[str, Any]
    latency_ms: float
    bundle_bytes: int
    training_seconds: float


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What all candidates have in common."""

    data: Path
    folder: Path  # of the bundles
    seconds: float  # of training of one candidate
    seed: int = 0


BuildAll = Callable[[Sequence[Candidate], SweepPlan, Reporter], Iterator[tuple[Candidate, Bundle]]]


def list_candidates(
    methods: Sequence[str] = (), presets: Sequence[str] = ("edge",), sizes: Sequence[int | str] = SIZES
) -> list[Candidate]:
    """Every combination there is, the small ones first; raises UsageError for a name or a size that is none."""
    for name in methods:
        for preset in presets:
            create_method(name, preset, {})
    known = presets_by_method()
    every = [name for name in known if name != "auto"]  # which is one of them
    found = [
        Candidate(name, preset, size)
        for size in sorted({int(one) if str(one).isdecimal() else one for one in sizes}, key=_area)
        for name in (methods or every)
        for preset in presets
        if preset in known[name]
    ]
    if not found:
        raise UsageError(f"no method has the preset {', '.join(presets)}: see docs/methods.md")
    return found


def _area(size: int | str) -> int:
    """Pixels of an input of that size; raises UsageError for one that is none."""
    height, width = BuildConfig(size=size).input_size or (0, 0)
    return height * width


def build_in_turn(
    candidates: Sequence[Candidate], plan: SweepPlan, reporter: Reporter
) -> Iterator[tuple[Candidate, Bundle]]:
    """One candidate after the other, each trained to the end; one that cannot be built is said and left out."""
    for number, candidate in enumerate(candidates, start=1):
        reporter.say(f"{number} of {len(candidates)}: {candidate}")
        try:
            yield candidate, build_candidate(candidate, plan, reporter)
        except EdgeadError as error:
            reporter.say(f"left out {candidate}: {error}")


def sweep(
    data: Path,
    folder: Path,
    candidates: Sequence[Candidate],
    budget: float,
    reporter: Reporter,
    *,
    seed: int = 0,
    build_all: BuildAll = build_in_turn,
) -> list[SweepResult]:
    """Build and measure the candidates within `budget` seconds of training in all; write the result and its page.

    `build_all` builds them, as far as it comes. An interrupt leaves the finished ones with their page. Raises
    UsageError for a budget that is too small, DataError where no candidate could be measured.
    """
    if {sample.is_good for sample in open_dataset(data).test} != {True, False}:
        raise DataError(f"{data} has no labeled good and defective images under test/: there is nothing to choose by")
    share = budget / len(candidates)
    if share < LEAST_S:
        raise UsageError(
            f"{budget:.0f} s for {len(candidates)} candidates are {share:.1f} s for each: give a larger --budget, or "
            "fewer methods and sizes"
        )
    bundles: dict[Candidate, Bundle] = {}
    try:
        for candidate, bundle in build_all(candidates, SweepPlan(data, folder, share, seed), reporter):
            bundles[candidate] = bundle
    except KeyboardInterrupt as interrupt:
        _conclude(bundles, data, folder, reporter)
        raise KeyboardInterrupt(
            f"{len(bundles)} of {len(candidates)} are finished; the same command goes on"
        ) from interrupt
    results = _conclude(bundles, data, folder, reporter)
    if not results:
        raise DataError("no candidate could be built and measured: see the reasons above")
    return results


def build_candidate(candidate: Candidate, plan: SweepPlan, reporter: Reporter, *, threads: int = 0) -> Bundle:
    """The candidate's bundle in the plan's folder, built unless it is there from the same images and seed."""
    config = validated(
        BuildConfig(
            method=candidate.method,
            preset=candidate.preset,
            size=candidate.size,
            data=str(plan.data),
            seed=plan.seed,
            budget=f"{plan.seconds:.0f}s",
            threads=threads,
            out=str(plan.folder / candidate.file),
        )
    )
    if not config.bundle_path.exists():
        return build(config, reporter).bundle
    bundle = Bundle.open(config.bundle_path)
    made = bundle.manifest.provenance.get("config", {})
    wanted = {name: getattr(config, name) for name in ("method", "preset", "size", "seed", "data")}
    unlike = [name for name, value in wanted.items() if made.get(name) != value]
    if unlike:
        raise UsageError(f"{bundle.path} was built with another {' and '.join(unlike)}: give another --out")
    return bundle


def _conclude(bundles: Mapping[Candidate, Bundle], data: Path, folder: Path, reporter: Reporter) -> list[SweepResult]:
    """Take the latencies and write what is known."""
    found = {one: bundle for one, bundle in bundles.items() if measured(bundle).get("image_auroc") is not None}
    if not found:
        return []
    others = OtherWork()
    with reporter.stage("taking latencies"):
        spent = latencies({str(one): bundle for one, bundle in found.items()}, threads=1)
    results = [
        SweepResult(
            candidate=one,
            measured=measured(bundle),
            latency_ms=spent[str(one)],
            bundle_bytes=(folder / one.file).stat().st_size,
            training_seconds=bundle.manifest.provenance["training"]["seconds"],
        )
        for one, bundle in found.items()
    ]
    result = {
        "data": data.name,
        "threads": 1,
        "device": describe_device(),
        "state": describe_state(),
        "others": round(others.share(), 2),
        "choices": [asdict(one) for one in results],
    }
    write_file(folder / RESULT, json.dumps(result, indent=1).encode() + b"\n")
    write_file(folder / PAGE, sweep_page(results, data.name).encode())
    return results


def sweep_page(results: Sequence[SweepResult], name: str) -> str:
    """The page: plots of what all have, and a table in which what no other beats is marked."""
    head, *rows = rows_of(results)
    best = [index for index, row in enumerate(rows) if row[-1]]
    named = {str(one.candidate): one for one in results}
    plots = [
        scatter(points, x="milliseconds an image", y=FIGURES[figure], title=name, front=True)
        for figure, points in points_of(results).items()
    ]
    words = "Marked is what no other beats in one of the plots. Milliseconds are the network's alone, on one thread."
    said = warnings_of([named[rows[index][0]] for index in best])
    words += "".join(f"</p><p><b>{html.escape(one)}</b>" for one in said)
    drawn = "".join(f'<div class="scroll">{plot}</div>' for plot in plots)
    sections = [Section("", drawn), Section("Choices", f"<p>{words}</p>{table(head, rows, strong=best)}")]
    return page(f"What to choose for {name}", sections)


def warnings_of(best: Sequence[SweepResult]) -> list[str]:
    """Of what no other beats, those that are no good all the same, and what to do."""
    return [
        f"{one.candidate} is among the best and yet misses {missed:.0%} of the defects: give more good images, a "
        "larger --size for small defects, or --method csad for missing and misplaced parts."
        for one in best
        if (missed := one.measured.get("miss_rate") or 0.0) > MANY_MISSED
    ]


def measured(bundle: Bundle) -> dict[str, Any]:
    """The figures of a bundle on the labeled images of its data set."""
    return dict(bundle.manifest.provenance.get("measured", {}))


def latencies(bundles: Mapping[str, Bundle], threads: int, rounds: int = ROUNDS) -> dict[str, float]:
    """Median milliseconds of one inference of each bundle, taken in turn so that all meet the same machine."""
    detectors = {name: Detector(bundle, threads=threads) for name, bundle in bundles.items()}
    spent: dict[str, list[float]] = {name: [] for name in bundles}
    for _ in range(rounds):
        for name, detector in detectors.items():
            spec = detector.bundle.manifest.input
            image = np.zeros((*spec.frame, 3), np.uint8)
            start = time.perf_counter()
            detector.read(image)
            spent[name].append(1e3 * (time.perf_counter() - start))
    for detector in detectors.values():
        detector.close()
    return {name: round(median(times), 2) for name, times in spent.items()}


def points_of(results: Sequence[SweepResult]) -> dict[str, list[Point]]:
    """The results as points of a plot for each figure that all of them have."""
    return {
        name: [
            Point(str(one.candidate), f"{one.candidate.method} {one.candidate.preset}", one.latency_ms,
                  one.measured[name]) for one in results
        ]
        for name in FIGURES if all(one.measured[name] is not None for one in results)
    }  # fmt: skip


def rows_of(results: Sequence[SweepResult]) -> list[list[str]]:
    """A table of the results, the fastest first; the last column marks those that no other beats."""
    best = {point.name for points in points_of(results).values() for point in pareto(points)}
    rows = [["candidate", "ms", "image AUROC", "AUPRO 30 %", "false alarms", "misses", "MB", "trained, s", ""]]
    for one in sorted(results, key=lambda result: result.latency_ms):
        found = one.measured
        rows.append(
            [
                str(one.candidate),
                f"{one.latency_ms:.1f}",
                f"{found['image_auroc']:.3f}",
                "–" if found["aupro"] is None else f"{found['aupro']:.3f}",
                f"{found['false_alarm_rate']:.1%}",
                f"{found['miss_rate']:.1%}",
                f"{one.bundle_bytes / 1e6:.1f}",
                f"{one.training_seconds:.0f}",
                "best" if str(one.candidate) in best else "",
            ]
        )
    return rows
