"""Handles folders of a data set, and names that are the same on every machine."""

from __future__ import annotations

import os
from pathlib import Path

from edgead.listing import entries


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in `folder`, links to folders among them, in natural order; raises DataError."""
    return [path for path in entries(folder) if path.is_dir()]


def relative_name(path: Path, root: Path) -> str:
    """`path` as seen from `root`, with "/" between the parts."""
    return Path(os.path.relpath(path, root)).as_posix()
