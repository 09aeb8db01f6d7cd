"""The areas of a station while it runs: what of each camera's frames is judged, drawn anew on the live page."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from edgead.config import StationConfig
from edgead.config.editing import replace_lists
from edgead.config.reading import read_yaml
from edgead.errors import UsageError, nearest
from edgead.stream.audit import AuditLog
from edgead.stream.roi import RoiMask, read_named_areas, read_roi_masks

KINDS = ("judge", "ignore")
STATION = 0  # stands for the station's own areas where a recipe's number is asked for
_DRAWN = re.compile(r"-?\d+(,-?\d+)+( -?\d+(,-?\d+)+)*")

Lists = dict[str, list[str]]  # judge and ignore, as the station's file has them
Masks = Sequence[RoiMask | None]


class StationAreas:
    """Reads and changes the areas of a running station. Its methods may be called from any thread."""

    def __init__(
        self,
        config: StationConfig,
        cameras: Sequence[str],
        grid: tuple[int, int],
        audit: AuditLog,
        file: Path | None = None,
        mm_per_pixel: float = 0.0,
    ) -> None:
        """`cameras` by name, in order; `grid` is (h, w) of the map. Changes are told to `audit` and written to the
        station's `file`, where the areas in force come from there. `mm_per_pixel` is the scale of the frames; named
        areas stay as they are."""
        self._cameras, self._grid, self._audit = cameras, grid, audit
        self._lock = Lock()
        self._lists = {STATION: {kind: list(getattr(config, kind)) for kind in KINDS}}
        self._own: dict[int, Lists] = {}  # of recipes that say them themselves
        for number, recipe in config.recipes.items():
            said = {kind: getattr(recipe, kind) for kind in KINDS}
            self._own[number] = {kind: list(areas) for kind, areas in said.items() if areas is not None}
        self._named = {STATION: read_named_areas(config.areas, cameras, mm_per_pixel)}
        for number, recipe in config.recipes.items():
            if recipe.areas is not None:
                self._named[number] = read_named_areas(recipe.areas, cameras, mm_per_pixel)
        self._file = file if file is not None and self._comes_from(file) else None
        self.apply: Callable[[Masks, Mapping[int, Masks]], None] = lambda masks, recipes: None

    def _comes_from(self, file: Path) -> bool:
        """Whether the file says the areas in force: not the command line, nor a variable."""
        said = read_yaml(file)
        return all((said.get(kind) or []) == areas for kind, areas in self._lists[STATION].items())

    def to_dict(self) -> dict[str, Any]:
        """Of every recipe (0: the station's) and camera what was drawn, and what is `fixed`: painted areas, and those
        of all cameras."""
        with self._lock:
            numbers = [STATION, *self._own]
            areas = {
                number: {name: self._of(name, self._in_force(number)) for name in self._cameras} for number in numbers
            }
            return {"areas": areas, "recipes": list(self._own), "persisted": self._file is not None}

    def _in_force(self, number: int) -> Lists:
        return self._lists[STATION] | self._own.get(number, {})

    def _of(self, camera: str, lists: Lists) -> dict[str, Any]:
        drawn: Lists = {}
        fixed: Lists = {}
        for kind in KINDS:
            mine = [area for area in lists[kind] if self._is_drawn(camera, area)]
            drawn[kind] = [area.removeprefix(f"{camera}=") for area in mine]
            others = [area for area in lists[kind] if area not in mine]
            fixed[kind] = [area.removeprefix(f"{camera}=") for area in others if self._reaches(camera, area)]
        return {**drawn, "fixed": fixed}

    def _is_drawn(self, camera: str, area: str) -> bool:
        """Whether an area is one of this camera alone that can be drawn anew."""
        prefix = f"{camera}=" if camera else ""
        return area.startswith(prefix) and _DRAWN.fullmatch(area.removeprefix(prefix)) is not None

    def _reaches(self, camera: str, area: str) -> bool:
        """Whether an area is of this camera, or of all."""
        return not any(area.startswith(f"{name}=") for name in self._cameras if name and name != camera)

    def change(
        self, camera: str, recipe: int, drawn: Mapping[str, Sequence[str]], size: tuple[int, int], who: str
    ) -> bool:
        """Put what was drawn for a camera into force, from the next frame on; whether it was also written to the
        station's file. `size` is (H, W) of its frames.

        Raises UsageError, and changes nothing, for areas that leave nothing to judge, or a file that cannot be changed.
        """
        if camera not in self._cameras:
            raise UsageError(f"there is no camera '{camera}': {nearest(camera, self._cameras)}")
        if recipe != STATION and recipe not in self._own:
            raise UsageError(f"there is no recipe {recipe}: {nearest(str(recipe), map(str, self._own))}")
        for area in (area for kind in KINDS for area in drawn[kind]):
            if not _DRAWN.fullmatch(area):
                raise UsageError(f"'{area}' is no area that was drawn: it has numbers alone")
        prefix = f"{camera}=" if camera else ""
        with self._lock:
            old = self._in_force(recipe)
            new = {
                kind: [area for area in old[kind] if not self._is_drawn(camera, area)]
                + [f"{prefix}{area}" for area in drawn[kind]]
                for kind in KINDS
            }
            self._check(new, recipe, size, camera)
            if self._file is not None:
                replace_lists(self._file, new, () if recipe == STATION else ("recipes", recipe))
            (self._lists if recipe == STATION else self._own)[recipe] = new
            recipes = {number: self._masks(self._in_force(number), number) for number in self._own}
            self.apply(self._masks(self._lists[STATION], STATION), recipes)
        self._note(recipe, old, new, who)
        return self._file is not None

    def _check(self, lists: Lists, recipe: int, size: tuple[int, int], camera: str) -> None:
        """Raise UsageError where frames of that size could not be judged with these areas."""
        mask = self._masks(lists, recipe)[self._cameras.index(camera)]
        if mask is not None:
            mask.cells(size, self._grid)

    def _masks(self, lists: Lists, recipe: int) -> Masks:
        named = self._named.get(recipe, self._named[STATION])
        return read_roi_masks(lists["judge"], lists["ignore"], self._cameras, named)

    def _note(self, recipe: int, old: Lists, new: Lists, who: str) -> None:
        whose = "" if recipe == STATION else f"recipe {recipe} "
        for kind in KINDS:
            if old[kind] != new[kind]:
                before, after = ([identified(area) for area in lists[kind]] for lists in (old, new))
                self._audit.changed(f"{whose}{kind}", before, after, who, persisted=self._file is not None)


def identified(area: str) -> str:
    """An area as it was given; where it is painted in a file, with the beginning of that file's SHA-256."""
    for place in (area, area.partition("=")[2]):
        if place and Path(place).is_file():
            return f"{area} ({hashlib.sha256(Path(place).read_bytes()).hexdigest()[:12]})"
    return area
