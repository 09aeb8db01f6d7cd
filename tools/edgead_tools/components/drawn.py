"""Label maps drawn by hand, or masks that another tool cut out: a folder `components` in the data set, or beside the
images.

    components/<stem of the image>.png   8-bit gray or palette: 0 the background, 1 and up the components
    components/names.txt                 the components' names, one a line; without it they are numbered

A handful of good images is enough, and no foundation model or clustering has a say then. Without label maps:

    components/<stem of the image>/*.png 8-bit gray: each file a mask of one thing, or of several alike; 0 is outside

Such masks, of a text-grounded SAM say, are proposals: they are refined and clustered as those that are searched for.
A dozen images or more should have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edgead.errors import DataError
from edgead.images import damage, read_file
from edgead.types import Labels, Mask
from edgead_tools.components.classes import BACKGROUND
from edgead_tools.data import DecodedImages, Sample

FOLDER = "components"
NAMES = "names.txt"
MOST = 40  # components
LEVELS = "gray levels 0, 1, 2 and so on"


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What a person drew: names with the background first, and label maps (H, W) by the image's index; or masks."""

    names: tuple[str, ...] = ()
    labels: dict[int, Labels] = field(default_factory=dict)
    masks: Mapping[int, list[Mask]] = field(default_factory=dict)  # (H, W) each, by the image's index


class MaskFolders(Mapping[int, list[Mask]]):
    """The masks of those images that have a folder of them, by the image's index; read when asked for."""

    def __init__(
        self, folders: Mapping[int, Path], samples: Sequence[Sample], decoded: DecodedImages, height: int, width: int
    ) -> None:
        self._folders, self._samples, self._decoded, self._size = folders, samples, decoded, (height, width)

    def __getitem__(self, index: int) -> list[Mask]:
        paths = sorted(self._folders[index].glob("*.png"))
        if not paths:
            raise DataError(f"there is no mask in {self._folders[index]}: save each as a PNG, or remove the folder")
        shape = self._decoded.frame(self._samples[index]).shape[:2]
        return [_read(path, shape, *self._size, "white on black") > 0 for path in paths]

    def __iter__(self) -> Iterator[int]:
        return iter(self._folders)

    def __len__(self) -> int:
        return len(self._folders)


def read_drawn(root: Path, samples: Sequence[Sample], height: int, width: int, decoded: DecodedImages) -> Drawn | None:
    """The label maps of those of `samples` that have one, at (height, width), or the masks of those that have some;
    None where none has.

    Raises DataError for a map that is unreadable, of another shape than its image, or without names for its labels;
    for a mask when it is asked for.
    """
    maps = _placed(root, samples, ".png")
    if not maps:
        folders = _placed(root, samples, "")
        return Drawn(masks=MaskFolders(folders, samples, decoded, height, width)) if folders else None
    shapes = {index: decoded.frame(samples[index]).shape[:2] for index in maps}
    labels = {index: _read(path, shapes[index], height, width, LEVELS) for index, path in maps.items()}
    most = max(int(one.max()) for one in labels.values())
    if not 1 <= most <= MOST:
        raise DataError(
            f"the label maps in {FOLDER} have labels up to {most}: use 0 for the background and 1 to {MOST}"
        )
    return Drawn((BACKGROUND, *_names(next(iter(maps.values())).parent, most)), labels)


def _placed(root: Path, samples: Sequence[Sample], suffix: str) -> dict[int, Path]:
    """What there is of each image, by its index: a file where there is a suffix, a folder where there is none."""
    found = {}
    for index, sample in enumerate(samples):
        name = sample.path.stem + suffix
        places = (sample.path.parent / FOLDER / name, root / FOLDER / name)
        fitting = [place for place in places if (place.is_file() if suffix else place.is_dir())]
        if fitting:
            found[index] = fitting[0]
    return found


def _read(path: Path, shape: tuple[int, ...], height: int, width: int, how: str) -> Labels:
    raw = read_file(path)
    if problem := damage(raw):
        raise DataError(f"{path} {problem}")
    pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise DataError(f"{path} is no 8-bit gray PNG: save it as {how}")
    if pixels.shape != shape:
        raise DataError(f"{path} has {pixels.shape[1]}x{pixels.shape[0]} pixels and its image {shape[1]}x{shape[0]}")
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _names(folder: Path, most: int) -> list[str]:
    file = folder / NAMES
    if not file.is_file():
        return [f"component {number}" for number in range(1, most + 1)]
    names = [line.strip() for line in read_file(file).decode("utf-8", "replace").splitlines() if line.strip()]
    if len(names) < most or len(set(names)) < len(names) or BACKGROUND in names:
        raise DataError(f"{file} must have {most} different names, one a line, for the labels 1 to {most}")
    return names[:most]
