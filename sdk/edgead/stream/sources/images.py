"""Reads image files: a folder, a glob or one file, in natural order, in step."""

from __future__ import annotations

import glob
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edgead.closing import Closing
from edgead.errors import DataError, SourceError
from edgead.images import EXTENSIONS, read_image
from edgead.listing import Listing, list_images, sort_files
from edgead.stream.sources import VIDEO_EXTENSIONS
from edgead.types import Frame
from edgead.wording import are, plural

_log = logging.getLogger(__name__)

Report = Callable[[str], None]  # takes what a person must know of files


class ImageSource(Closing):
    """Frames from image files. A broken one is reported, counted and passed over; where `strict`, it is an error."""

    live = False
    fps = 0.0
    timeout = 0.0

    def __init__(
        self, paths: Sequence[Path], bits: int = 16, *, strict: bool = False, report: Report = _log.warning
    ) -> None:
        self.unreadable = 0
        self._paths = paths
        self._bits = bits
        self._strict = strict
        self._report = report

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self._paths):
            try:
                image = read_image(path, bits=self._bits)
            except DataError as error:
                if self._strict:
                    raise SourceError(str(error)) from error
                self.unreadable += 1
                self._report(str(error))
                continue
            yield Frame(image, index, str(path))

    def close(self) -> None:
        """End the iteration before the next file."""
        self._paths = ()


def open_images(name: str, bits: int, timeout: float, report: Report = _log.warning) -> ImageSource:
    """The images that `name`, a folder, a glob or a file, stands for; a time-out has no meaning for files."""
    try:
        return ImageSource(find_images(name, report), bits, strict=Path(name).is_file(), report=report)
    except DataError as error:
        raise SourceError(str(error)) from error


def find_images(name: str, report: Report = _log.warning) -> list[Path]:
    """The image files directly in a folder, matching a glob, or the one file, in natural order; else DataError.

    What lies beside them and is not read is reported.
    """
    path = Path(name)
    if not name:
        raise DataError("the name of an image or folder is empty: give one")
    if path.is_dir():
        return _images_in(path, report)
    if path.suffix.lower() in VIDEO_EXTENSIONS and path.is_file():
        raise DataError(f"{name} is a video: judge it with `edgead run --source {name}`")
    if path.exists():
        return [path]
    if not glob.has_magic(name):
        raise DataError(f"there is no image, folder or video at {name}: check the path")
    found = [Path(match) for match in glob.iglob(name, recursive=True)]  # noqa: PTH207 - pathlib globs no absolute pattern
    listing = sort_files(path for path in found if not path.is_dir())
    if not listing.images:
        left = "".join(f"; {one}" for one in listing.left)
        raise DataError(
            f"no image matches {name}{left}: check the pattern, and quote it so that the shell leaves it alone"
        )
    return _said(listing, report)


def _images_in(folder: Path, report: Report) -> list[Path]:
    listing = list_images(folder)
    deeper = f"for the folders in it, write '{folder}/**/*'"
    if not listing.images:
        left = [*map(str, listing.left), *([deeper] if listing.folders else [])]
        raise DataError(f"the folder {folder} has no images ({', '.join(sorted(EXTENSIONS))}){'; '.join(['', *left])}")
    if inner := [one for one in listing.folders if any(list_images(one, deep=True).images)]:
        report(f"{plural(len(inner), 'folder')} in {folder} {are(len(inner))} not read: {deeper}")
    return _said(listing, report)


def _said(listing: Listing, report: Report) -> list[Path]:
    for one in listing.left:
        report(str(one))
    return listing.images
