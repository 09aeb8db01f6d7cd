"""Lists image files: the same files in the same order on every machine, and what was left out, with the reason.

Links are followed, to files and to folders; a folder that was reached before is not entered again, so that a circle of
links ends. Hidden files and folders are passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from edgead.errors import DataError
from edgead.images import EXTENSIONS, UNREAD_EXTENSIONS, holds_picture, natural
from edgead.wording import are, plural


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files that are not used, and why: one file, or so many in a folder."""

    path: Path
    reason: str
    count: int = 1

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(slots=True)
class Listing:
    """The picture files of a folder in natural order, the folders in it, and what is not read."""

    images: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    left: list[LeftOut] = field(default_factory=list)


def list_images(folder: Path, extensions: Collection[str] = EXTENSIONS, *, deep: bool = False) -> Listing:
    """What is in `folder`, with `deep` also below it. Raises DataError when a folder cannot be listed."""
    return _list(folder, extensions, {folder.resolve()} if deep else None)


def _list(folder: Path, extensions: Collection[str], entered: set[Path] | None) -> Listing:
    found = entries(folder)
    folders = [path for path in found if path.is_dir()]
    listing = sort_files([path for path in found if path not in set(folders)], extensions)
    listing.folders = folders
    for inner in folders if entered is not None else ():
        if entered is None or (place := inner.resolve()) in entered:
            continue
        entered.add(place)
        below = _list(inner, extensions, entered)
        listing.images += below.images
        listing.left += below.left
    return listing


def entries(folder: Path) -> list[Path]:
    """Everything in `folder` that is not hidden, in natural order. Raises DataError when it cannot be listed."""
    try:
        found = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        raise DataError(f"there is no folder {folder}: check the path") from None
    except NotADirectoryError:
        raise DataError(f"{folder} is a file: give the folder that holds the images") from None
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read: {error.strerror}") from error
    return sorted(found, key=lambda path: natural(path.name))


def sort_files(files: Iterable[Path], extensions: Collection[str] = EXTENSIONS) -> Listing:
    """The picture files among `files` in natural order of their paths, and what looks like one and is not read."""
    listing, unread = Listing(), dict[tuple[Path, str], int]()
    for path in sorted(files, key=lambda path: natural(str(path))):
        ending = path.suffix.lower()
        if path.name.startswith("."):
            continue
        if ending in extensions and path.is_file():
            listing.images.append(path)
        elif ending in extensions:
            listing.left.append(LeftOut(path, "is a link that leads nowhere" if path.is_symlink() else "is no file"))
        elif ending in UNREAD_EXTENSIONS:
            unread[path.parent, ending] = unread.get((path.parent, ending), 0) + 1
        elif ending not in EXTENSIONS and path.is_file() and holds_picture(path):
            listing.left.append(LeftOut(path, f"holds a picture and its name ends in none of {_endings(extensions)}"))
    for (folder, ending), count in unread.items():
        reason = f"{plural(count, f'{ending} file')} {are(count)} not read: save as png, tif or jpg"
        listing.left.append(LeftOut(folder, reason, count))
    return listing


def _endings(extensions: Collection[str]) -> str:
    return ", ".join(sorted(extensions))
