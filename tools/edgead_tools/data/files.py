"""Listing image files: the same files in the same order on every machine.

Hidden files and folders are passed over, and so are links that lead out of the data set's root.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from edgead.errors import DataError
from edgead.images import EXTENSIONS, natural


def images_in(folder: Path, root: Path, extensions: Collection[str] = EXTENSIONS) -> list[Path]:
    """The image files directly in `folder`."""
    return [path for path in entries(folder, root) if path.suffix.lower() in extensions and path.is_file()]


def images_below(folder: Path, root: Path, extensions: Collection[str] = EXTENSIONS) -> list[Path]:
    """The image files in `folder` and everywhere below it; folders that are links are not entered: they may loop."""
    images = images_in(folder, root, extensions)
    for inner in folders_in(folder, root):
        if not inner.is_symlink():
            images += images_below(inner, root, extensions)
    return images


def folders_in(folder: Path, root: Path) -> list[Path]:
    """The folders directly in `folder`."""
    return [path for path in entries(folder, root) if path.is_dir()]


def entries(folder: Path, root: Path) -> list[Path]:
    """Everything in `folder` that may be used, in natural order. Raises DataError when it cannot be listed."""
    try:
        found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        raise DataError(f"there is no folder {folder}: check the path") from None
    except NotADirectoryError:
        raise DataError(f"{folder} is a file: give the folder that holds the images") from None
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from error
    inside = [path for path in found if not path.is_symlink() or _stays(path, root)]
    return sorted(inside, key=lambda path: natural(path.name))


def relative_name(path: Path, root: Path) -> str:
    """`path` as seen from `root`, with "/" between the parts."""
    return Path(os.path.relpath(path, root)).as_posix()


def _stays(link: Path, root: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):  # it leads nowhere, or in a circle
        return False
