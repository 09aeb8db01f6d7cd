"""Judges each part by the recipe of its number. All recipes are open from the start, so a change costs no time.

A frame carries the recipe that was in force when its trigger came: no part is judged with a mixture, however many are
on their way when the number changes. Recipes whose networks are the same share one engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

import msgspec

from edgead import ops
from edgead.bundle import Bundle
from edgead.config import StationConfig
from edgead.config.recipe import LAST, Recipe
from edgead.detector import Detector
from edgead.errors import UsageError
from edgead.result import Result
from edgead.stream.audit import AuditLog
from edgead.stream.health import HealthCheck
from edgead.stream.inference import InferenceWorker
from edgead.stream.plc.line import TriggeredLine
from edgead.stream.roi import RoiMask, read_named_areas, read_roi_masks
from edgead.stream.sources.settings import parse_settings
from edgead.types import Frame

Settings = Mapping[str, Mapping[str, str]]  # camera's name -> its settings


@dataclass(frozen=True, slots=True)
class OpenRecipe:
    """A recipe with its detector open."""

    detector: Detector
    roi_masks: Sequence[RoiMask | None]
    settings: Settings


def open_recipes(
    config: StationConfig, cameras: Sequence[str], base: Detector, stack: ExitStack, mm_per_pixel: float = 0.0
) -> dict[int, OpenRecipe]:
    """Every recipe of a station, with its bundle open; `stack` closes them. `base` is the station's own detector, and
    `mm_per_pixel` the scale of the frames, where it is known.

    Raises UsageError for a recipe that cannot be used, BundleError or EngineError.
    """
    if config.recipes and not (config.trigger or config.plc):
        raise UsageError("recipes are for lines with a trigger or a plc: each part is judged by its own")
    engines: dict[bytes, Detector] = {network_key(base.bundle): base}
    opened: dict[int, OpenRecipe] = {}
    held: dict[str, bytes] = {}  # members by their SHA-256, of all bundles
    base.bundle.share(held)
    for number, recipe in config.recipes.items():
        if not 1 <= number <= LAST:
            raise UsageError(f"a recipe's number is from 1 to {LAST}, not {number}")
        bundle = base.bundle if recipe.bundle is None else Bundle.open(recipe.bundle, trust=base.bundle.trust)
        bundle.share(held)
        if bundle.manifest.input.bits != base.bundle.manifest.input.bits:
            raise UsageError(
                f"recipe {number} is for pictures of {bundle.manifest.input.bits} bits and the station's bundle for "
                f"{base.bundle.manifest.input.bits}: the cameras give one of them"
            )
        key = network_key(bundle)
        if key in engines:
            detector = Detector(bundle, engine=engines[key].engine)
        else:
            engines[key] = detector = Detector(
                bundle,
                engine=config.engine,
                precision=config.precision,
                threads=config.threads,
                device=config.device,
            )
            stack.callback(detector.close)
        detector.rules = _rules(recipe, base.rules)
        masks = _roi_masks(recipe, config, cameras, mm_per_pixel)
        opened[number] = OpenRecipe(detector, masks, _settings(recipe, cameras, number))
    return opened


def network_key(bundle: Bundle) -> bytes:
    """What of a bundle an engine depends on: its networks, their input and what becomes of their maps."""
    manifest = bundle.manifest
    names = [*(one.member for one in manifest.artifacts), *manifest.fusion.members]
    networks = {name: manifest.members[name].sha256 for name in names}
    relevant = {"input": manifest.input, "fusion": manifest.fusion, "networks": networks}
    return msgspec.json.encode(relevant, order="deterministic")


def _rules(recipe: Recipe, base: ops.Rules) -> ops.Rules:
    said = {name: getattr(recipe, name) for name in ("threshold", "review", "min_area")}
    return replace(base, **{name: value for name, value in said.items() if value is not None})


def _roi_masks(
    recipe: Recipe, config: StationConfig, cameras: Sequence[str], mm_per_pixel: float
) -> Sequence[RoiMask | None]:
    judge = config.judge if recipe.judge is None else recipe.judge
    ignore = config.ignore if recipe.ignore is None else recipe.ignore
    areas = config.areas if recipe.areas is None else recipe.areas
    return read_roi_masks(judge, ignore, cameras, read_named_areas(areas, cameras, mm_per_pixel))


def _settings(recipe: Recipe, cameras: Sequence[str], number: int) -> Settings:
    for camera in recipe.settings:
        if camera not in cameras:
            raise UsageError(f"recipe {number} sets the camera '{camera}', which there is not")
    return {camera: parse_settings(text) for camera, text in recipe.settings.items()}


class RecipeInference:
    """An `InferenceWorker` for each recipe. `predict` is called by one thread, the others from any."""

    def __init__(
        self,
        recipes: Mapping[int, OpenRecipe],
        checks: Callable[[], Sequence[HealthCheck]],
        audit: AuditLog | None = None,
        titles: Sequence[str] = (),
    ) -> None:
        """`checks` gives new checks of the cameras' health; `audit` is told of every change; `titles` are what the
        cameras are called in the log."""
        self._workers = {
            number: InferenceWorker(one.detector, checks(), one.roi_masks, audit, titles)
            for number, one in recipes.items()
        }
        self._parts: TriggeredLine | None = None
        self._configure: Callable[[Settings], None] = lambda settings: None
        self._recipes, self._audit = recipes, audit or AuditLog()
        self._notes = ThreadPoolExecutor(1, "edgead recipes")  # writing waits for the disk, and a part does not

    def attach(self, parts: TriggeredLine | None, configure: Callable[[Settings], None]) -> None:
        """Ask `parts` for the recipe for new parts from now on, and set cameras, by name, with `configure`."""
        self._parts, self._configure = parts, configure
        configure(self._recipes[min(self._recipes)].settings)  # which is in force at the start

    def switched(self, old: int, new: int, who: str) -> None:
        """The recipe for new parts is `new` now: set the cameras, and take note in the audit log."""
        self._configure(self._recipes[new].settings)
        with suppress(RuntimeError):  # the line is at its end
            self._notes.submit(self._audit.changed, "recipe", old, new, who, persisted=False)

    @property
    def worker(self) -> InferenceWorker:
        """That of the recipe for new parts."""
        return self._workers[min(self._recipes) if self._parts is None else self._parts.recipe]

    def predict(self, taken: Sequence[tuple[int, Frame]]) -> list[Result]:
        """One result for each (camera's number, frame), in order, each by the recipe of its frame."""
        found: dict[int, Result] = {}
        for number in dict.fromkeys(frame.recipe for _, frame in taken):
            places = [at for at, (_, frame) in enumerate(taken) if frame.recipe == number]
            results = self._workers[number].predict([taken[at] for at in places])
            found |= dict(zip(places, results, strict=True))
        return [replace(found[at], recipe=frame.recipe) for at, (_, frame) in enumerate(taken)]

    def set_roi_masks(self, roi_masks: Mapping[int, Sequence[RoiMask | None]]) -> None:
        """From the next frames on judge what these say, by recipe."""
        for number, masks in roi_masks.items():
            self._workers[number].set_roi_masks(masks)

    def close(self) -> None:
        """Release what replaced a recipe's detector; those that were given stay their opener's."""
        for worker in self._workers.values():
            worker.close()
        self._notes.shutdown()
