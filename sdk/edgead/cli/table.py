"""Formats tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from edgead.cli.options import shown


def aligned(rows: Sequence[Sequence[object]]) -> str:
    """Rows of cells as lines: the first column to the left, the others to the right, each as wide as it must be."""
    cells = [[shown(cell) for cell in row] for row in rows]
    count = max(map(len, cells), default=0)
    widths = [max((len(row[column]) for row in cells if column < len(row)), default=0) for column in range(count)]
    lines = []
    for row in cells:
        first, *others = zip(row, widths[: len(row)], strict=True)
        lines.append("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip())
    return "\n".join(lines)
