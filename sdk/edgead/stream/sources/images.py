"""Image files as a source: a folder, a glob or one file, in natural order, read in step."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgead.closing import Closing
from edgead.errors import DataError, SourceError
from edgead.images import EXTENSIONS, natural, read_image
from edgead.stream.sources import VIDEO_EXTENSIONS
from edgead.types import Frame

_log = logging.getLogger(__name__)


class ImageSource(Closing):
    """Frames from image files. A broken one is reported, counted and passed over; where `strict`, it is an error."""

    live = False
    fps = 0.0
    dropped = 0

    def __init__(self, paths: Sequence[Path], bits: int = 16, *, strict: bool = False) -> None:
        self.unreadable = 0
        self._paths = paths
        self._bits = bits
        self._strict = strict

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self._paths):
            try:
                image = read_image(path, bits=self._bits)
            except DataError as error:
                if self._strict:
                    raise SourceError(str(error)) from error
                self.unreadable += 1
                _log.warning("%s", error)
                continue
            yield Frame(image, index, str(path))

    def close(self) -> None:
        """End the iteration before the next file."""
        self._paths = ()


def open_images(name: str, policy: str, bits: int, timeout: float) -> ImageSource:
    """The images that `name`, a folder, a glob or a file, stands for; policy and time-out have no meaning for files."""
    try:
        return ImageSource(find_images(name), bits, strict=Path(name).is_file())
    except DataError as error:
        raise SourceError(str(error)) from error


def find_images(name: str) -> list[Path]:
    """The image files directly in a folder, matching a glob, or the one file, in natural order; else DataError."""
    path = Path(name)
    if not name:
        raise DataError("the name of an image or folder is empty: give one")
    if path.is_dir():
        return _images_in(path)
    if path.suffix.lower() in VIDEO_EXTENSIONS and path.is_file():
        raise DataError(f"{name} is a video: judge it with `edgead run --source {name}`")
    if path.exists():
        return [path]
    if not glob.has_magic(name):
        raise DataError(f"there is no image, folder or video at {name}: check the path")
    found = [Path(match) for match in glob.iglob(name, recursive=True)]  # noqa: PTH207 - pathlib globs no absolute pattern
    images = [path for path in found if path.suffix.lower() in EXTENSIONS and path.is_file()]
    if not images:
        raise DataError(f"no image matches {name}: check the pattern, and quote it so that the shell leaves it alone")
    return sorted(images, key=lambda path: natural(str(path)))


def _images_in(folder: Path) -> list[Path]:
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read: {error.strerror}") from error
    images = [p for p in entries if p.suffix.lower() in EXTENSIONS and p.is_file() and not p.name.startswith(".")]
    if not images:
        deeper = f"; for the folders in it, write '{folder}/**/*'" if any(p.is_dir() for p in entries) else ""
        raise DataError(f"the folder {folder} has no images ({', '.join(sorted(EXTENSIONS))}){deeper}")
    return sorted(images, key=lambda path: natural(str(path)))
