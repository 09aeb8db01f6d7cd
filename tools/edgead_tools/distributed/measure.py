"""Measures a bundle on an archive of labeled images, from the rows that `archive` makes of them.

The folder below the archive in which an image lies is its label, as in the data sets of `edgead build`: good, ok or
normal, or the kind of defect. Where the archive has a folder test, that alone is measured. Figures of pixels are not
taken: rows have no maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np

from edgead.errors import DataError, UsageError
from edgead.progress import ConsoleReporter, Reporter
from edgead.wording import are, plural
from edgead_tools.data.layouts import SIDES
from edgead_tools.data.samples import GOOD, GOOD_NAMES, NOT_DEFECTS
from edgead_tools.distributed.archive import ArchiveOptions, judge_archive, list_archive, read_rows
from edgead_tools.evaluation.image_figures import ImageFigures, image_figures
from edgead_tools.evaluation.report.sections import FIGURES, INTERVALS, interval, shown


@dataclass(frozen=True, slots=True)
class ArchiveFigures:
    """The figures of a bundle on an archive, and what judged it."""

    figures: ImageFigures
    unreadable: int  # images with a row that has an error
    judged_by: tuple[str, ...]  # engine and precision; several where the machines of a cluster differ

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, under the names that `edgead eval` has for them."""
        return {**asdict(self.figures), "left_out": self.unreadable, "judged_by": list(self.judged_by)}

    def rows(self) -> list[list[str]]:
        """The figures as rows of cells, for a terminal."""
        told = self.to_dict()
        rows = [
            [heading, shown(told[name], form), interval(told.get(INTERVALS.get(name, "")), form)]
            for name, (heading, form) in FIGURES.items() if name in told
        ]  # fmt: skip
        rows = [[heading, value, bounds and f"95 %: {bounds}"] for heading, value, bounds in rows]
        rows += [[what, str(told[what]), ""] for what in ("good", "defective")]
        rows += [["left out", str(self.unreadable), ""], ["engine", ", ".join(self.judged_by), ""]]
        kinds = [
            [one.name, shown(one.image_auroc, ".3f"), f"{one.missed} of {one.images}"] for one in self.figures.kinds
        ]
        return [*rows, ["", "", ""], ["defect", "image AUROC", "missed"], *kinds] if len(kinds) > 1 else rows


def measure_archive(bundle: Path, images: str, out: str, reporter: Reporter, options: ArchiveOptions) -> ArchiveFigures:
    """Judge the labeled images of an archive into Parquet files in `out`, as far as they are not, and measure.

    Raises DataError where no image is labeled or none could be read, and what `judge_archive` raises.
    """
    labels, unlabeled = label_archive(images)
    if unlabeled:
        reporter.say(f"{plural(unlabeled, 'image')} {are(unlabeled)} not used: no folder says what they show")
    names = list(labels)
    judge_archive(bundle, images, out, reporter, options, names)
    kinds = sorted(set(labels.values()) - {GOOD})
    codes = {GOOD: 0, **{kind: code for code, kind in enumerate(kinds, start=1)}}
    return _figures(out, names, np.array([codes[label] for label in labels.values()], np.int32), kinds, options.chunk)


def label_archive(images: str) -> tuple[dict[str, str], int]:
    """The label of each image of an archive by its name, in the order of the list, and how many images have none.

    Raises DataError where no image has one.
    """
    _, root = fsspec.core.url_to_fs(images)
    names = list_archive(images)
    inside = {name: Path(name).relative_to(root).parts[:-1] for name in names}
    start = 1 if any(parts[:1] == ("test",) for parts in inside.values()) else 0
    labels = {
        name: _label(parts[start])
        for name, parts in inside.items()
        if len(parts) > start and (parts[0] == "test" if start else parts[0] not in SIDES | NOT_DEFECTS)
    }
    if not labels:
        raise DataError(f"no image in {images} is labeled: put them into folders good and <kind of defect> there")
    return labels, len(names) - len(labels)


def _label(folder: str) -> str:
    return GOOD if folder.lower() in GOOD_NAMES else folder


def _figures(out: str, names: Sequence[str], kinds: Any, known: Sequence[str], chunk: int) -> ArchiveFigures:
    scores, refused, verdicts, judged_by = [], [], [], set[str]()
    for rows in read_rows(out, names, ["verdict", "raw_score", "engine", "precision"], chunk):
        scores.append(np.array(rows["raw_score"], np.float64))  # None is NaN
        refused.append(np.array([verdict == "NG" for verdict in rows["verdict"]]))
        verdicts.append(np.array([verdict != "" for verdict in rows["verdict"]]))
        judged_by |= {f"{one} {other}" for one, other in zip(rows["engine"], rows["precision"], strict=True)}
    score, was_refused = np.concatenate(scores), np.concatenate(refused)
    read, judged = np.isfinite(score), np.concatenate(verdicts)
    if (judged & ~read).any():
        raise DataError(f"scores in {out} are no finite numbers: the network is damaged, build it again")
    if not read.any():
        raise DataError(f"none of the {len(names)} images could be read: see the column error in {out}")
    found = image_figures(known, kinds[read], score[read], was_refused[read])
    return ArchiveFigures(found, int((~read).sum()), tuple(sorted(judged_by)))


def run_measure(
    paths: Sequence[str], out: str, *, engine: str, precision: str, workers: int, ray: str
) -> ArchiveFigures:
    """`measure_archive` for a person who waits; raises UsageError for anything but one bundle and one archive."""
    if len(paths) != 2:
        raise UsageError("--parquet takes one bundle, and one folder or URL of images")
    options = ArchiveOptions(workers=workers, address=ray, engine=engine, precision=precision)
    return measure_archive(Path(paths[0]), str(paths[1]), out, ConsoleReporter(), options)
