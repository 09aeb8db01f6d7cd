"""What is measured and shown together: bundles, each on the data set it is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgead import Bundle, Detector
from edgead.bundle import Artifact
from edgead.engines import ENGINES, is_here
from edgead.errors import UsageError, nearest
from edgead_tools.data import Dataset, open_dataset
from edgead_tools.data.files import folders_in
from edgead_tools.evaluation.evaluate import Evaluation, evaluate
from edgead_tools.evaluation.metrics import mean_of
from edgead_tools.evaluation.report.galleries import Gallery, pick
from edgead_tools.training.progress import Reporter

PICTURES = 240  # in a page at the most
ROW = 8  # pictures a row, where there are few subjects
AVERAGED = ("image_auroc", "average_precision", "f1", "f1_max", "pixel_auroc", "aupro", "au_spro",
            "false_alarm_rate", "miss_rate", "latency_ms")  # fmt: skip


@dataclass(frozen=True, slots=True)
class BenchmarkEntry:
    """One bundle in one precision on one category, measured."""

    model: str  # what tells it from the others on the same category
    category: str
    bundle: Bundle
    artifact: Artifact
    evaluation: Evaluation
    galleries: tuple[Gallery, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        named = {"model": self.model, "category": self.category, "bundle": self.bundle.manifest.name}
        return named | {"digest": self.bundle.digest} | self.evaluation.to_dict() | self.evaluation.details()


def measure(
    bundles: Sequence[Path],
    data: Path,
    reporter: Reporter,
    *,
    engine: str = "auto",
    precision: str = "auto",
    every_precision: bool = False,
    full_size: bool = False,
    pictures: bool = False,
) -> list[BenchmarkEntry]:
    """Every bundle on the data set, or, in a folder of categories, on the one that has the bundle's file name.

    Bundles of one category are told apart by their file names, those of several by their folders. `pictures` are those
    for a report's galleries. Raises UsageError for bundles without a category, and for two that cannot be told apart.
    """
    categories = open_categories(data)
    planned = list(_planned(bundles, categories, precision, every_precision))
    row = max(2, min(ROW, PICTURES // (4 * len(planned))))
    subjects = []
    for model, category, bundle, chosen in planned:
        with Detector(bundle, engine=engine, precision=chosen) as detector:
            with reporter.stage(f"evaluating {model} on {category}") as on_progress:
                evaluation = evaluate(detector, categories[category], on_progress, full_size=full_size)
            galleries = pick(detector, categories[category], evaluation, row) if pictures else ()
            subjects.append(BenchmarkEntry(model, category, bundle, detector.artifact, evaluation, galleries))
        for one in evaluation.left_out:
            reporter.say(f"left out {one.path}: {one.reason}")
    return subjects


def open_categories(data: Path) -> dict[str, Dataset]:
    """The data set in a folder, or all of those in the folders below it that have a test side, by name."""
    root = data.resolve()
    inner = {} if not root.is_dir() else {path.name: path for path in folders_in(root, root)}
    if not inner.keys() & {"train", "test"}:
        tested = {name: path for name, path in inner.items() if (path / "test").is_dir()}
        if tested:
            return {name: open_dataset(path) for name, path in tested.items()}
    return {root.name: open_dataset(data)}


def _planned(
    paths: Sequence[Path], categories: dict[str, Dataset], precision: str, every_precision: bool
) -> Iterator[tuple[str, str, Bundle, str]]:
    """(model, category, bundle, precision) of all that is to be measured."""
    several = len(categories) > 1
    names = _named(paths, several)
    for path, model in zip(paths, names, strict=True):
        category = path.stem if several else next(iter(categories))
        if category not in categories:
            raise UsageError(
                f"the data set has no category '{category}' to measure {path} on: name the bundle after its category, "
                f"or give one category's folder; {nearest(category, categories)}"
            )
        bundle = Bundle.open(path)
        every = bundle.manifest.precisions(ENGINES) if every_precision else []
        chosen = [one for one in every if is_here(bundle, "auto", one)] if every_precision else [precision]
        for one in chosen:
            yield (f"{model} {one}" if len(chosen) > 1 else model), category, bundle, one


def _named(paths: Sequence[Path], several: bool) -> list[str]:
    """What tells bundles apart: their names, with their folders' where these are equal; on categories the folders'."""
    stems = [path.stem for path in paths]
    folders = [path.resolve().parent.name for path in paths]
    both = [f"{folder}/{stem}" for folder, stem in zip(folders, stems, strict=True)]
    if len(set(both)) < len(both):
        twice = max(both, key=both.count)
        raise UsageError(f"two of the bundles are called {twice}: rename one of them, or its folder")
    if several:
        return folders
    return stems if len(set(stems)) == len(stems) else both


def means(subjects: Sequence[BenchmarkEntry]) -> dict[str, dict[str, float | None]]:
    """The macro mean of each model that was measured on several categories, every category counting the same."""
    models = {one.model: [other for other in subjects if other.model == one.model] for one in subjects}
    figures = {model: [one.evaluation.to_dict() for one in of] for model, of in models.items() if len(of) > 1}
    return {model: {name: mean_of([one[name] for one in of]) for name in AVERAGED} for model, of in figures.items()}
