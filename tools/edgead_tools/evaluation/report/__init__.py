"""Writes one self-contained HTML page that shows what bundles do on labeled images. It makes no network request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgead.files import write_file
from edgead_tools.evaluation.report import detection, precisions, sections
from edgead_tools.evaluation.report.page import Section, page

if TYPE_CHECKING:
    from edgead_tools.evaluation.entries import BenchmarkEntry


def write_report(
    path: Path,
    entries: Sequence[BenchmarkEntry],
    *,
    averages: dict[str, dict[str, float | None]],
    title: str,
    notes: Sequence[str] = (),
) -> None:
    """Write the page atomically. `averages` are the macro means, by model. A new section is one line here."""
    parts: list[Section | None] = [
        sections.summary(entries, averages),
        sections.curves(entries),
        sections.defects(entries),
        *(detection.section(one.bundle.manifest) for one in entries),
        *(sections.images(one, entries) for one in entries),
        *(precisions.section(one.bundle.manifest.provenance) for one in entries),
        sections.provenance(entries),
        sections.notes(entries, notes),
    ]
    write_file(path, page(title, [part for part in parts if part is not None]).encode("utf-8", "backslashreplace"))
