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
from pathlib import Path

from edgead import Detector
from edgead.config import BuildConfig
from edgead.errors import DataError
from edgead_tools.data import open_dataset
from edgead_tools.evaluation.entries import ROW, BenchmarkEntry
from edgead_tools.evaluation.report import write_report
from edgead_tools.evaluation.report.galleries import pick
from edgead_tools.pipeline.build import Built, build
from edgead_tools.training.progress import Reporter

LICENSE = "ELPV images: CC BY-NC-SA 4.0, not for commercial use (package elpv-dataset)"
TRAIN_SHARE = 0.8


def run_demo(
    folder: Path,
    reporter: Reporter,
    *,
    budget: str = "",
    steps: int | None = None,
    seed: int = 0,
    fresh: bool = False,
    finish: bool = False,
) -> tuple[Built, Path]:
    """Lay out the images in `folder`, build a bundle there, judge the images kept aside, write the page.

    Returns what the build gives, its evaluation always among it, and the page. The options are those of a build.
    Raises DataError where the package with the images is missing or an image of it cannot be judged.
    """
    reporter.say(LICENSE)
    config = BuildConfig(
        data=str(lay_out(folder / "data")),
        out=str(folder / "solar-cells.edgead"),
        budget=budget,
        steps=steps,
        seed=seed,
        options={"flips": True},  # a mirrored cell is a cell
    )
    built = build(config, reporter, fresh=fresh, finish=finish)
    if built.evaluation is None:
        raise DataError(f"the images in {config.data} cannot be judged: delete the folder and run the demo again")
    page = folder / "report.html"
    with Detector(built.bundle) as detector:
        galleries = pick(detector, open_dataset(config.data), built.evaluation, ROW)
        subject = BenchmarkEntry("stlm", "solar cells", built.bundle, detector.artifact, built.evaluation, galleries)
    title = "Solar cells, judged from good cells alone"
    write_report(page, [subject], averages={}, title=title, notes=[LICENSE, "No defective cell was used to train."])
    return built, page


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
