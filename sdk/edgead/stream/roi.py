"""Restricts what of a camera's frame is judged: boxes, polygons and painted images, in pixels of the frame.

What is not judged is taken out of the anomaly map before the score, as the bundle's own mask is (`edgead.ops.mask`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.config.recipe import NamedArea
from edgead.errors import DataError, UsageError, nearest
from edgead.images import read_area
from edgead.ops import AreaRules
from edgead.types import MapF32

RoiImage = NDArray[np.uint8]  # (H, W), 255 inside the area and 0 outside
SMALLEST = 128  # of 255: the share of some cell that an area to judge must cover

_OF_CAMERA = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)=(.+)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_NUMBER = r"([0-9.e+-]+)"
_RULES = re.compile(rf"({_NAME.pattern})(?: threshold={_NUMBER})?(?: min_area={_NUMBER})? (.+)", re.DOTALL)
_PAINTED = re.compile(r"(.+) \([0-9a-f]{12}\)")
_NUMBERS = re.compile(r"\s*-?\d+\s*(,\s*-?\d+\s*)+")


@dataclass(frozen=True, slots=True, eq=False)
class Roi:
    """A polygon, or what is painted white in a picture of the frame.

    An area selects: of a painting each pixel is in it or not. Only cells of the map that its edge cuts count in part.
    """

    corners: NDArray[np.int32] | None = None  # (N, 2), x and y
    painting: RoiImage | None = None  # of any size, stretched over the frame
    text: str = ""  # as it was written

    @property
    def identity(self) -> str:
        """The area as it was written; of a painting also the beginning of the SHA-256 of what is painted."""
        if self.painting is None:
            return self.text
        return f"{self.text} ({hashlib.sha256(self.painting.tobytes()).hexdigest()[:12]})"

    def paint(self, frame_size: tuple[int, int]) -> RoiImage:
        """The area in a frame of (H, W)."""
        if self.painting is not None:
            return np.asarray(cv2.resize(self.painting, frame_size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
        selected = np.zeros(frame_size, np.uint8)
        assert self.corners is not None  # an area is one or the other
        cv2.fillPoly(selected, [self.corners], 255)
        return selected


@dataclass(frozen=True, slots=True, eq=False)
class NamedRoi:
    """An area with a threshold or a smallest area of its own; None: as everywhere."""

    name: str
    area: Roi
    camera: str = ""  # of which it is; "": of all
    threshold: float | None = None
    min_area: float | None = None  # pixels of the frame

    @property
    def identity(self) -> str:
        """What it says, as `recorded_mask` reads it again."""
        rules = {"threshold": self.threshold, "min_area": self.min_area}
        said = [f"{rule}={value!r}" for rule, value in rules.items() if value is not None]
        return " ".join([self.name, *said, self.area.identity])


class RoiMask:
    """What of one camera's frames is judged: what lies in `judged` (everything, if empty) and not in `ignored`, and by
    which rules in the `named` areas."""

    def __init__(self, judged: Sequence[Roi], ignored: Sequence[Roi], named: Sequence[NamedRoi] = ()) -> None:
        self._judged, self._ignored, self._named = judged, ignored, named
        self.areas = {  # as they were written, a painted one with the beginning of its SHA-256
            "judge": [area.identity for area in judged],
            "ignore": [area.identity for area in ignored],
        }
        if named:
            self.areas["named"] = [one.identity for one in named]
        self._key: tuple[tuple[int, int], tuple[int, int]] | None = None
        self._cells = np.zeros((0, 0), np.float32)
        self._rules: tuple[AreaRules, ...] = ()

    def rules(self, frame_size: tuple[int, int], grid: tuple[int, int]) -> tuple[AreaRules, ...]:
        """The rules of the named areas on a (h, w) grid, for frames of (H, W). Raises UsageError as `cells` does."""
        self.cells(frame_size, grid)
        return self._rules

    def cells(self, frame_size: tuple[int, int], grid: tuple[int, int]) -> MapF32:
        """The share of each cell of a (h, w) grid that is judged, 0..1, for frames of (H, W).

        Kept for frames of the same size. Raises UsageError where nothing of such a frame is judged, and for an area
        to judge that is so small that no defect in it could count.
        """
        if self._key != (frame_size, grid):
            selected = np.full(frame_size, 0 if self._judged else 255, np.uint8)
            for area in self._judged:
                inside, _ = _filled(area, frame_size, grid)
                np.maximum(selected, inside, out=selected)
            for area in self._ignored:
                np.minimum(selected, 255 - area.paint(frame_size), out=selected)
            cells = _shares(selected, grid)
            if not cells.any():
                height, width = frame_size
                raise UsageError(f"of {width}x{height} pixels nothing is left to judge: see --judge and --ignore")
            self._rules = tuple(
                AreaRules(_weights(_filled(one.area, frame_size, grid)[1]), one.threshold, one.min_area)
                for one in self._named
            )
            self._cells = _weights(cells)
            self._key = (frame_size, grid)
        return self._cells


def _weights(shares: RoiImage) -> MapF32:
    """Shares of 0..255 as those of 0..1."""
    return np.asarray(shares, np.float32) / np.float32(255)


def _filled(area: Roi, frame_size: tuple[int, int], grid: tuple[int, int]) -> tuple[RoiImage, RoiImage]:
    """The area in a frame of (H, W), and how much of each cell it covers, 0..255; raises UsageError where it covers no
    half of any."""
    inside = area.paint(frame_size)
    shares = _shares(inside, grid)
    if shares.max() < SMALLEST:
        raise UsageError(
            f"the area '{area.text}' covers not half of one cell of the {grid[1]}x{grid[0]} map in a frame "
            f"of {frame_size[1]}x{frame_size[0]} pixels: nothing in it could count; make it larger"
        )
    return inside, shares


def _shares(selected: RoiImage, grid: tuple[int, int]) -> RoiImage:
    """How much of each cell of a (h, w) grid is painted, 0..255."""
    return np.asarray(cv2.resize(selected, grid[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def read_roi_masks(
    judge: Sequence[str], ignore: Sequence[str], cameras: Sequence[str], named: Sequence[NamedRoi] = ()
) -> list[RoiMask | None]:
    """For each of the named cameras what of its frames is judged, and by which rules of `named` areas; None where
    everything is, by the same.

    Each text is [CAMERA=]AREA, without a camera for all of them; see `read_roi`. Raises UsageError or DataError.
    """
    judged, ignored = ([_of_camera(text, cameras) for text in texts] for texts in (judge, ignore))
    masks: list[RoiMask | None] = []
    for camera in cameras:
        mine, others = ([area for name, area in areas if name in ("", camera)] for areas in (judged, ignored))
        own = [one for one in named if one.camera in ("", camera)]
        masks.append(RoiMask(mine, others, own) if mine or others or own else None)
    return masks


def read_named_areas(areas: Mapping[str, NamedArea], cameras: Sequence[str], mm_per_pixel: float) -> list[NamedRoi]:
    """The areas that have rules of their own, by name, with the scale of the frames (0: unknown). Raises UsageError,
    or DataError for a picture that cannot be read."""
    found = []
    for name, one in areas.items():
        if not _NAME.fullmatch(name):
            raise UsageError(f"'{name}' cannot name an area: take letters, digits, - and _, a letter first")
        if one.threshold is None and one.min_area is None and one.min_area_mm2 is None:
            raise UsageError(f"the area '{name}' says nothing: give it a threshold, min-area or min-area-mm2")
        min_area = in_pixels(one.min_area, one.min_area_mm2, mm_per_pixel, f"the area '{name}': ")
        for text in one.places:
            camera, area = _of_camera(text, cameras)
            found.append(NamedRoi(name, area, camera, one.threshold, min_area))
    return found


def in_pixels(min_area: float | None, min_area_mm2: float | None, mm_per_pixel: float, whose: str = "") -> float | None:
    """A smallest area in pixels of the frame, which may be given in square millimeters; None where it is not. Raises
    UsageError for both, and for millimeters without a scale."""
    if not min_area_mm2:
        return min_area
    if min_area:
        raise UsageError(f"{whose}give min_area in pixels or min_area_mm2 in square millimeters, not both")
    if not mm_per_pixel:
        raise UsageError(f"{whose}min_area_mm2 needs the scale of the frames: give mm_per_pixel here, or to the build")
    return min_area_mm2 / mm_per_pixel**2


def recorded_mask(areas: Mapping[str, Sequence[str]] | None) -> RoiMask | None:
    """What `RoiMask.areas` was taken of, read again; None for none. Raises DataError for a painting that is another
    now."""
    if not areas:
        return None
    judged, ignored = ([_recorded(text) for text in areas.get(kind, ())] for kind in ("judge", "ignore"))
    return RoiMask(judged, ignored, [_recorded_name(text) for text in areas.get("named", ())])


def _recorded_name(identity: str) -> NamedRoi:
    match = _RULES.fullmatch(identity)
    if match is None:
        raise DataError(f"'{identity}' is no area with rules: the result is damaged")
    threshold, min_area = (None if text is None else float(text) for text in (match[2], match[3]))
    return NamedRoi(match[1], _recorded(match[4]), "", threshold, min_area)


def _recorded(identity: str) -> Roi:
    match = _PAINTED.fullmatch(identity)
    area = read_roi(match[1] if match else identity)
    if area.identity != identity:
        raise DataError(
            f"the painted area {area.text} is another than when the frame was judged: put the old one there"
        )
    return area


def _of_camera(text: str, cameras: Sequence[str]) -> tuple[str, Roi]:
    match = None if Path(text).exists() else _OF_CAMERA.fullmatch(text)
    if match is None:
        return "", read_roi(text)
    if match[1] not in cameras:
        named = [name for name in cameras if name]
        words = nearest(match[1], named) if named else "name the camera, as in --source left=camera:0"
        raise UsageError(f"there is no camera '{match[1]}' for the area '{text}': {words}")
    return match[1], read_roi(match[2])


def read_roi(text: str) -> Roi:
    """An area as a person writes it: 'X,Y,WIDTH,HEIGHT', the corners 'X,Y X,Y X,Y ...', or a picture's file.

    Numbers are pixels of the frame; of a picture what is white counts, whatever its size. Raises UsageError, or
    DataError for a picture that cannot be read.
    """
    parts = text.split()
    if not parts or not all(_NUMBERS.fullmatch(part) for part in parts):
        path = Path(text)
        if not path.is_file():
            raise UsageError(f"'{text}' is no area: give X,Y,WIDTH,HEIGHT, corners as 'X,Y X,Y X,Y', or a picture")
        return Roi(painting=read_area(path), text=text)
    numbers = [[int(number) for number in part.split(",")] for part in parts]
    if len(numbers) == 1 and len(numbers[0]) == 4:
        x, y, width, height = numbers[0]
        if width < 1 or height < 1:
            raise UsageError(f"the area '{text}' is empty: its last two numbers are a width and a height")
        right, bottom = x + width - 1, y + height - 1
        numbers = [[x, y], [right, y], [right, bottom], [x, bottom]]
    elif len(numbers) < 3 or any(len(corner) != 2 for corner in numbers):
        raise UsageError(f"'{text}' is no area: give X,Y,WIDTH,HEIGHT, or three corners and more as 'X,Y X,Y X,Y'")
    elif _crosses_itself(numbers):  # what is filled then has holes that nobody meant
        raise UsageError(f"the sides of the area '{text}' cross: give its corners in the order around it")
    return Roi(corners=np.array(numbers, np.int32), text=text)


def _crosses_itself(corners: Sequence[Sequence[int]]) -> bool:
    """Whether two sides of a polygon that are no neighbors cross."""
    sides = [(corners[at], corners[(at + 1) % len(corners)]) for at in range(len(corners))]
    pairs = ((one, other) for at, one in enumerate(sides) for other in sides[at + 2 : len(sides) - (at == 0)])
    return any(_cross(*one, *other) for one, other in pairs)


def _cross(a: Sequence[int], b: Sequence[int], c: Sequence[int], d: Sequence[int]) -> bool:
    """Whether the lines from a to b and from c to d cross, not only touch."""
    return _turn(a, b, c) * _turn(a, b, d) < 0 and _turn(c, d, a) * _turn(c, d, b) < 0


def _turn(a: Sequence[int], b: Sequence[int], c: Sequence[int]) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
