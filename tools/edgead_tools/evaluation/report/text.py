"""Formats the figures as rows of cells, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgead_tools.evaluation.report.sections import FIGURES, INTERVALS, beside, shown

if TYPE_CHECKING:
    from edgead_tools.evaluation.entries import BenchmarkEntry


def details(one: BenchmarkEntry) -> list[list[str]]:
    """Every figure of one entry."""
    found = one.evaluation.to_dict()
    rows = [[heading, shown(found[name], form), _bounds(found, name)] for name, (heading, form) in FIGURES.items()]
    rows += [[what, str(found[what])] for what in ("good", "defective")]
    rows.append(["left out", str(found["left_out"])])
    return [*rows, ["engine", f"{found['engine']} {found['precision']}"]]


def kinds(one: BenchmarkEntry) -> list[list[str]]:
    """The figures of each kind of defect, where there are several."""
    found = one.evaluation.kinds
    head = ["defect", "images", "image AUROC", "AUPRO 30 %", "AU-sPRO 5 %", "missed"]
    rows = [
        [kind.name, str(kind.images), *(shown(value, ".3f") for value in (kind.image_auroc, kind.aupro, kind.au_spro)),
         str(kind.missed)] for kind in found
    ]  # fmt: skip
    return [["", ""], head, *rows] if len(found) > 1 else []


def comparison(entries: Sequence[BenchmarkEntry], averages: dict[str, dict[str, float | None]]) -> list[list[str]]:
    """One row for each entry, and one for each macro mean; figures that nobody has are left out."""
    found = [(one.model, one.category, one.evaluation.to_dict()) for one in entries]
    found += [(model, "mean", dict(figures)) for model, figures in averages.items()]
    used = [name for name in FIGURES if any(figures[name] is not None for *_, figures in found)]
    head = ["model", "category", *(FIGURES[name][0] for name in used)]
    return [head, *([model, category, *(_shown(one, name) for name in used)] for model, category, one in found)]


def _shown(found: dict[str, Any], name: str) -> str:
    return shown(found[name], FIGURES[name][1])


def _bounds(found: dict[str, Any], name: str) -> str:
    words = beside(found, name)
    return f"95 %: {words}" if words and name in INTERVALS else words
