"""Label maps drawn by hand: a folder `components` in the data set, or beside the images.

    components/<stem of the image>.png   8-bit grey or palette: 0 the background, 1 and up the components
    components/names.txt                 the components' names, one a line; without it they are numbered

A handful of good images is enough, and no foundation model or clustering has a say then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgead.errors import DataError
from edgead.images import read_file, read_image
from edgead.types import Labels
from edgead_tools.components.classes import BACKGROUND
from edgead_tools.data import Sample

FOLDER = "components"
NAMES = "names.txt"
MOST = 40  # components


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What a person drew: names with the background first, and label maps (H, W) by the image's index."""

    names: tuple[str, ...]
    labels: dict[int, Labels]


def read_drawn(root: Path, samples: Sequence[Sample], height: int, width: int) -> Drawn | None:
    """The label maps of those of `samples` that have one, at (height, width); None where none has.

    Raises DataError for a map that is unreadable, of another shape than its image, or without names for its labels.
    """
    maps = {index: path for index, sample in enumerate(samples) if (path := _map_of(sample, root)) is not None}
    if not maps:
        return None
    labels = {index: _read(path, samples[index], height, width) for index, path in maps.items()}
    most = max(int(one.max()) for one in labels.values())
    if not 1 <= most <= MOST:
        raise DataError(
            f"the label maps in {FOLDER} have labels up to {most}: use 0 for the background and 1 to {MOST}"
        )
    return Drawn((BACKGROUND, *_names(next(iter(maps.values())).parent, most)), labels)


def _map_of(sample: Sample, root: Path) -> Path | None:
    name = sample.path.stem + ".png"
    places = (sample.path.parent / FOLDER / name, root / FOLDER / name)
    return next((place for place in places if place.is_file()), None)


def _read(path: Path, sample: Sample, height: int, width: int) -> Labels:
    pixels = cv2.imdecode(np.frombuffer(read_file(path), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8 or pixels.ndim != 2:
        raise DataError(f"{path} is no 8-bit grey PNG: save labels as grey levels 0, 1, 2 and so on")
    shape = read_image(sample.path).shape[:2]
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
