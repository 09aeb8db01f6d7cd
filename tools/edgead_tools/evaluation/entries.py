"""Collects what is measured and shown together: bundles, each on the data set it is for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgead import Bundle, Detector
from edgead.bundle import Artifact
from edgead.engines import ENGINES, is_here
from edgead.errors import UsageError, nearest
from edgead.progress import Reporter
from edgead.wording import are, plural
from edgead_tools.data import Dataset, open_labeled
from edgead_tools.data.files import folders_in
from edgead_tools.evaluation.evaluate import Evaluation, evaluate
from edgead_tools.evaluation.metrics import mean_of
from edgead_tools.evaluation.report.galleries import Gallery, pick

PICTURES = 240  # in a page at the most
ROW = 8  # pictures a row, where there are few entries
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
    bad: Path | None = None,
    engine: str = "auto",
    precision: str = "auto",
    every_precision: bool = False,
    full_size: bool = False,
    galleries: bool = False,
) -> list[BenchmarkEntry]:
    """Every bundle on the data set, or, in a folder of categories, on the one that has the bundle's file name.

    With `bad`, `data` is a folder of good images and `bad` one of defective ones.
    Bundles of one category are told apart by their file names, those of several by their folders. With `galleries`
    images are picked for a report. Raises UsageError for bundles without a category, and for two that cannot be told
    apart.
    """
    categories = open_categories(data, bad)
    for dataset in categories.values():
        _say_what_is_judged(dataset, reporter)
    planned = list(_planned(bundles, categories, precision, every_precision))
    row = max(2, min(ROW, PICTURES // (4 * len(planned))))
    entries = []
    for model, category, bundle, chosen in planned:
        with Detector(bundle, engine=engine, precision=chosen) as detector:
            with reporter.stage(f"evaluating {model} on {category}") as on_progress:
                evaluation = evaluate(detector, categories[category], on_progress, full_size=full_size)
            picked = pick(detector, categories[category], evaluation, row) if galleries else ()
            entries.append(BenchmarkEntry(model, category, bundle, detector.artifact, evaluation, picked))
        for one in evaluation.left_out:
            reporter.say(f"left out {one.path}: {one.reason}")
    return entries


def split_paths(paths: Sequence[Path]) -> tuple[list[Path], Path, Path | None]:
    """Bundles, images, and defective images apart, as `edgead eval BUNDLE... DATA [BAD]` has them; else UsageError."""
    bundles = [path for path in paths if path.suffix == ".edgead" or (path.is_file() and not _is_keys(path))]
    folders = [path for path in paths if path not in bundles]
    if not bundles:
        raise UsageError("there is no bundle among the arguments: give an .edgead file first, then the images")
    if len(folders) not in (1, 2) or list(paths) != [*bundles, *folders]:
        raise UsageError("give bundles first, then a data set, or a folder of good images and one of bad ones")
    return bundles, folders[0], folders[1] if len(folders) > 1 else None


def _is_keys(path: Path) -> bool:
    return path.suffix.lower() in (".yaml", ".yml")


def open_categories(data: Path, bad: Path | None = None) -> dict[str, Dataset]:
    """The data set in a folder, or all of those in the folders below it that have a test side, by name."""
    root = data.resolve()
    if bad is not None:
        return {root.name: open_labeled(data, bad)}
    inner = {} if not root.is_dir() else {path.name: path for path in folders_in(root)}
    if not inner.keys() & {"train", "test"}:
        tested = {name: path for name, path in inner.items() if (path / "test").is_dir()}
        if tested:
            return {name: open_labeled(path) for name, path in tested.items()}
    return {root.name: open_labeled(data)}


def _say_what_is_judged(dataset: Dataset, reporter: Reporter) -> None:
    """What a person must know of the images before the figures: what is not used, and which figures there cannot be."""
    for one in dataset.left:
        reporter.say(f"left out {one}")
    good, bad = (sum(sample.is_good is wanted for sample in dataset.test) for wanted in (True, False))
    if set(dataset.train) & set(dataset.test):
        reporter.say(
            f"the {plural(good, 'good image')} {are(good)} no test side of their own: where the bundle has learned "
            "from them, its false alarms look fewer than they are"
        )
    if not bad:
        reporter.say(
            f"all {plural(good, 'image')} {are(good)} taken as good, so false alarms alone are measured: give "
            "defective ones as a second folder, `edgead eval BUNDLE GOOD BAD`"
        )
    if not good:
        reporter.say(f"all {plural(bad, 'image')} {are(bad)} defective, so misses alone are measured")


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


def means(entries: Sequence[BenchmarkEntry]) -> dict[str, dict[str, float | None]]:
    """The macro mean of each model that was measured on several categories, every category counting the same."""
    models = {one.model: [other for other in entries if other.model == one.model] for one in entries}
    figures = {model: [one.evaluation.to_dict() for one in of] for model, of in models.items() if len(of) > 1}
    return {model: {name: mean_of([one[name] for one in of]) for name in AVERAGED} for model, of in figures.items()}
