"""Runs the demonstration: the whole job on real factory images that a package carries, with nothing to prepare.

Electroluminescence images of monocrystalline solar cells (package elpv-dataset; Deitsch et al., "Automatic
classification of defective photovoltaic module cells in electroluminescence images", Solar Energy 185, 2019).
Cells labeled with defect probability 0 are good, those with 1 defective; in-between labels are left out.
Good cells are shuffled with seed 0 and 80 % of them are learned from.
"""

from __future__ import annotations

import csv
import importlib.util
import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgead import Detector
from edgead.config import BuildConfig
from edgead.errors import DataError
from edgead.progress import Reporter
from edgead_tools.data import open_dataset
from edgead_tools.evaluation.entries import ROW, BenchmarkEntry
from edgead_tools.evaluation.report import write_report
from edgead_tools.evaluation.report.galleries import pick
from edgead_tools.pipeline.build import BuildResult, build
from edgead_tools.pipeline.runs import unfinished_budget

LICENSE = "ELPV images: CC BY-NC-SA 4.0, not for commercial use (package elpv-dataset)"
TRAIN_SHARE = 0.8
SIZE = 256  # pixels: both networks see as much, and after the training no memory is fitted anew at another size
TOTAL = 120  # seconds from the start to the page
WORTHWHILE = 10  # seconds of training
BESIDE = 2.5  # what a build with training takes beside it, times a build without (measured: 67 s to 31, 2 s more later)


@dataclass(frozen=True, slots=True, eq=False)
class Demonstration:
    """What the demonstration gives; both evaluations are there."""

    memory: BuildResult  # without any training
    built: BuildResult  # with the students trained; `memory` where no time was left
    page: Path


def run_demo(
    folder: Path,
    reporter: Reporter,
    *,
    budget: str = "",
    steps: int | None = None,
    seed: int = 0,
    fresh: bool = False,
    finish: bool = False,
) -> Demonstration:
    """Lay out the images in `folder`, build a bundle there without training and one with, write the page of the latter.

    The options are those of a build; where neither budget nor steps are given the training takes what is left of
    `TOTAL` seconds. Raises DataError where the package with the images is missing or an image of it cannot be judged.
    """
    start = time.monotonic()
    reporter.say(LICENSE)
    config = BuildConfig(
        data=str(lay_out(folder / "data")),
        out=str(folder / "solar-cells-memory.edgead"),
        budget="0",
        size=SIZE,
        seed=seed,
        data_license="CC-BY-NC-SA-4.0",
        options={"flips": True},  # a mirrored cell is a cell
    )
    memory = _judged(build(config, reporter, fresh=True))
    reporter.say(f"without training: {figures_in_words(memory)}")
    out = str(folder / "solar-cells.edgead")
    if not budget and steps is None:
        budget = unfinished_budget(Path(out)) or _what_is_left(time.monotonic() - start)
    if not budget and steps is None:
        reporter.say(f"no time was left to train in {TOTAL} s: give a --budget, such as 5m")
        built = memory
    else:
        config = msgspec.structs.replace(config, out=out, budget=budget, steps=steps)
        built = _judged(build(config, reporter, fresh=fresh, finish=finish))
        reporter.say(f"trained: {figures_in_words(built)}")
    return Demonstration(memory, built, _write_page(folder / "report.html", built, config))


def figures_in_words(built: BuildResult) -> str:
    """A bundle's figures as one line."""
    figures = built.evaluation
    assert figures is not None  # `_judged` sees to it
    return (
        f"image AUROC {figures.image_auroc:.3f}, false alarms {figures.false_alarm_rate:.1%}, "
        f"misses {figures.miss_rate:.1%}, {figures.latency_ms:.1f} ms an image on {figures.engine}"
    )


def _what_is_left(spent: float) -> str:
    """The training time that leaves a second build its share for reading, fitting and judging; none where that is less
    than `WORTHWHILE` seconds."""
    left = int(TOTAL - (1 + BESIDE) * spent)
    return f"{left}s" if left >= WORTHWHILE else ""


def _judged(built: BuildResult) -> BuildResult:
    if built.evaluation is None:
        raise DataError("the demonstration's images cannot be judged: delete its folder and run the demo again")
    return built


def _write_page(page: Path, built: BuildResult, config: BuildConfig) -> Path:
    assert built.evaluation is not None  # `_judged` sees to it
    with Detector(built.bundle) as detector:
        galleries = pick(detector, open_dataset(config.data), built.evaluation, ROW)
        entry = BenchmarkEntry("stlm", "solar cells", built.bundle, detector.artifact, built.evaluation, galleries)
    title = "Solar cells, judged from good cells alone"
    write_report(page, [entry], averages={}, title=title, notes=[LICENSE, "No defective cell was used to train."])
    return page


def lay_out(folder: Path) -> Path:
    """Copy the package's monocrystalline cells into train/good, test/good and test/defective; returns `folder`."""
    source = _package_folder()
    with (source / "labels.csv").open(encoding="utf-8") as file:
        rows = [(name, float(probability), kind) for name, probability, kind in csv.reader(file, delimiter=" ",
                skipinitialspace=True)]  # fmt: skip
    good = [name for name, probability, kind in rows if kind == "mono" and probability == 0.0]
    defective = [name for name, probability, kind in rows if kind == "mono" and probability == 1.0]
    random.Random(0).shuffle(good)  # noqa: S311 - a split, not a secret
    cut = int(TRAIN_SHARE * len(good))
    parts = {"train/good": good[:cut], "test/good": good[cut:], "test/defective": defective}
    for part, names in parts.items():
        target = folder / part
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            copy, original = target / Path(name).name, source / name
            if not copy.exists() or copy.stat().st_size != original.stat().st_size:  # of a copying that was stopped
                shutil.copyfile(original, copy)
    return folder


def _package_folder() -> Path:
    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None or spec.origin is None:
        raise DataError("the demonstration's images are not installed: pip install 'edgead[demo]'")
    return Path(spec.origin).parent / "data"
