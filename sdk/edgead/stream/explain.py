"""Explains a result: its verdict is computed anew from the frame and the bundle, step by step, and compared.

What a result's JSON says is enough to find everything else: the bundle by its digest, which thresholds are part of, the
engine and the precision, the rules and the areas in force, and the frame that was kept beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgead import ops
from edgead.bundle import Bundle
from edgead.detector import Detector
from edgead.errors import DataError, UsageError
from edgead.files import read_whole
from edgead.images import read_image
from edgead.review.layout import RESULT, frame_file
from edgead.stream.roi import recorded_mask
from edgead.types import Frame, ImageU8, MapF32, Verdict

_EXACT = 1e-3  # of a calibrated score, where engine and pixels are the same
_MOST = 1 << 30  # bytes of a file of results
_DIGEST = 64  # hex digits at the end of every bundle


@dataclass(frozen=True, slots=True)
class Step:
    """One step from the frame to the verdict."""

    name: str
    computed: str
    recorded: str = ""  # what the result says of it; empty: nothing
    differs: bool = False  # so far that the result cannot be what this bundle says of this frame


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every step, and what came out."""

    steps: tuple[Step, ...]
    verdict: Verdict
    score: float
    notes: tuple[str, ...]  # what limits the comparison

    @property
    def differs(self) -> bool:
        """Whether the outcome is another than the recorded one."""
        return any(step.differs for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        steps = [{name: getattr(step, name) for name in Step.__slots__} for step in self.steps]
        score = self.score if math.isfinite(self.score) else None
        return {"verdict": self.verdict.value, "score": score, "same": not self.differs, "steps": steps,
                "notes": list(self.notes)}  # fmt: skip


def read_result(path: Path, number: int | None = None) -> tuple[dict[str, Any], Path | None]:
    """A result's JSON, and the frame that was kept beside it, if any.

    `path` is a result.json, the folder of a saved event, or a file of JSON lines of which `number` says the result.
    Raises DataError for what is none, UsageError where it is not said which.
    """
    file = path / RESULT if path.is_dir() else path
    try:
        lines = [json.loads(line) for line in read_whole(file, _MOST).decode().splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{file} holds no result: {error}") from error
    found = [one for one in lines if isinstance(one, dict) and (number is None or one.get("number") == number)]
    if len(found) != 1:
        said = f"none with the number {number}" if number is not None else f"{len(found)} results"
        raise UsageError(f"{file} has {said}: say which with --number")
    if not {"model", "verdict", "score"} <= found[0].keys():
        raise DataError(f"{file} holds no result of edgead: it has no model, verdict or score")
    return found[0], frame_file(file.parent) if file.name == RESULT else None


def find_bundle(model: str, folders: Sequence[Path]) -> Path:
    """The bundle with the digest `model` (its first digits) among those in the folders, those that were in force
    before (`*.versions`) among them; raises UsageError where it is not there."""
    for folder in folders:
        for pattern in ("*.edgead", "*.edgead.old", "*.edgead.versions/*.edgead"):
            for path in sorted(folder.glob(pattern)):
                if path.is_file() and _digest(path).startswith(model):
                    return path
    places = ", ".join(str(folder) for folder in folders)
    raise UsageError(f"the bundle {model} is not in {places}: name it with --bundle")


def _digest(path: Path) -> str:
    """What the end of a bundle says is its digest, without reading all of it."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _DIGEST))
        return file.read().decode("ascii", "replace")


def explain(result: Mapping[str, Any], frame: Path, bundle: Bundle, engine: str = "") -> Explanation:
    """Compute the verdict of a recorded result anew; `engine` overrules the one that judged.

    Raises DataError where the recorded result needs more than its frame (a camera in trouble), or the frame is of
    another size; EngineError where no engine can run it.
    """
    if result["verdict"] == Verdict.INVALID:
        said = "; ".join(result.get("reasons", ())) or "no reason is recorded"
        raise DataError(f"the frame was not judged, by the camera's health ({said}): there is no score to compute")
    image = read_image(frame, bits=bundle.manifest.input.bits)
    try:
        rules = ops.Rules(**result.get("rules", {}))
    except TypeError as error:
        raise DataError(f"the rules of the result cannot be used: {error}") from error
    precision = str(result.get("precision", "auto"))
    chosen = engine or str(result.get("engine", "auto"))
    with Detector(bundle, engine=chosen, precision=precision, rules=rules) as detector:
        return _explained(result, image, detector, lossless=frame.suffix == ".png")


def _explained(result: Mapping[str, Any], image: ImageU8, detector: Detector, *, lossless: bool) -> Explanation:
    notes = () if lossless else ("the frame was kept as JPEG: scores differ a little, only the verdict is compared",)
    if detector.engine.name != result.get("engine"):
        notes = (*notes, f"judged on {result.get('engine')}, computed here on {detector.engine.name}")
    if "rules" not in result:
        notes = (*notes, "the result does not say its rules: those of the bundle are used")
    same = detector.engine.name == result.get("engine")
    tolerance = math.inf if not lossless else _EXACT if same else detector.artifact.score_tolerance
    steps = [*_origins(result, image, detector), *_scores(result, image, detector, tolerance)]
    mask, areas = _areas(result, image, detector)
    (computed,) = detector.detect_many([Frame(image)], [mask], [areas])
    steps.append(_outcome(result, computed.verdict))
    return Explanation(tuple(steps), computed.verdict, computed.score, notes)


def _origins(result: Mapping[str, Any], image: ImageU8, detector: Detector) -> Iterator[Step]:
    """Which frame, bundle, network and thresholds."""
    height, width = image.shape[:2]
    size = result.get("frame_size")
    which = [result.get("camera"), f"frame {result.get('index')}", f"result {result.get('number')}"]
    yield Step("frame", f"{width}x{height} pixels", ", ".join(map(str, filter(None, which))),
               size is not None and list(size) != [height, width])  # fmt: skip
    yield Step("bundle", f"{detector.bundle.manifest.name} {detector.model}", str(result["model"]),
               not detector.bundle.digest.startswith(str(result["model"])))  # fmt: skip
    yield Step("network", f"{detector.engine.precision} on {detector.engine.name}",
               f"{result.get('precision')} on {result.get('engine')}")  # fmt: skip
    yield Step("thresholds", _version(detector))


def _version(detector: Detector) -> str:
    """Which thresholds of the bundle's history these are, and who set them."""
    history = detector.bundle.manifest.provenance.get("thresholds", [])
    fitted = detector.artifact.thresholds
    text = f"version {len(history) + 1}: image {fitted.image:.6g}, center {fitted.image_center:.6g}"
    if not history:
        return f"{text}, as the build fitted them"
    last = history[-1]
    return ", ".join([text, *(str(last[key]) for key in ("what", "who", "when", "why") if last.get(key))])


def _scores(result: Mapping[str, Any], image: ImageU8, detector: Detector, tolerance: float) -> Iterator[Step]:
    """From the map to the calibrated score; the detector's own steps, with what each leaves."""
    reading, fusion = detector.read(image), detector.bundle.manifest.fusion
    thresholds, rules = detector.artifact.thresholds, detector.rules
    peak = float(reading.anomaly_map.max())
    size = f"{fusion.width}x{fusion.height} cells"
    yield Step("map", f"{size}, highest {peak:.6g}, pixel threshold {thresholds.pixel:.6g}")
    yield Step("score of the map", f"{reading.score:.6g}")
    mask, areas = _areas(result, image, detector)
    if areas:
        reading = ops.weigh_areas(reading, fusion, areas, thresholds, rules.threshold)
        yield Step("named areas", f"{'; '.join(result['areas']['named'])}: score {reading.score:.6g}")
    if mask is not None:
        reading = ops.mask_reading(reading, fusion, mask)
        yield Step("areas", f"{float(mask.mean()):.1%} is judged, score {reading.score:.6g}")
    min_area = ops.smallest_areas(areas, rules.min_area, (fusion.height, fusion.width))
    if np.any(min_area):
        grid = (reading.anomaly_map - thresholds.pixel_center) / (thresholds.pixel - thresholds.pixel_center)
        specks = ops.find_specks(grid, image.shape[:2], min_area)
        if specks is not None:
            reading = ops.remove_specks(reading, fusion, specks, mask)
        count = 0 if specks is None else int(specks.sum())
        below = f"{min_area:g} pixels" if isinstance(min_area, float) else "the pixels that count where they lie"
        yield Step("smallest area", f"{count} cells are of regions below {below}, score {reading.score:.6g}")
    score = ops.calibrate(reading.score, thresholds.image_center, thresholds.image)
    center = f"{thresholds.image_center:.6g}"
    span = f"({reading.score:.6g} - {center}) / ({thresholds.image:.6g} - {center})"
    recorded = result["score"] if result["score"] is not None else math.nan
    finite = math.isfinite(score) and math.isfinite(recorded)
    apart = abs(score - recorded) > tolerance * max(1.0, abs(recorded)) if finite else str(score) != str(recorded)
    yield Step("calibrated score", f"{span} = {score:.6g}", f"{recorded:.6g}", apart)


def _outcome(result: Mapping[str, Any], verdict: Verdict) -> Step:
    """The verdict; of a part that several frames voted for, or that was late, what its frame was judged."""
    rules = result.get("rules", {"threshold": 1.0, "review": None})
    by = f"NG above {rules['threshold']:g}"
    if rules.get("review") is not None:
        by += f", REVIEW above {rules['review'] * rules['threshold']:g}"
    recorded = str(result.get("judged") or result["verdict"])
    if votes := result.get("votes"):
        said = ", ".join(f"{count} {name}" for name, count in votes.items())
        return Step("verdict", f"{verdict} ({by})", f"{recorded}, by the votes {said}", verdict.value not in votes)
    late = f", reported as {result['verdict']}" if result["verdict"] != recorded else ""
    return Step("verdict", f"{verdict} ({by})", f"{recorded}{late}", verdict.value != recorded)


def _areas(
    result: Mapping[str, Any], image: ImageU8, detector: Detector
) -> tuple[MapF32 | None, tuple[ops.AreaRules, ...]]:
    """What of the map was judged, None where all of it was, and the areas with rules of their own."""
    mask, fusion = recorded_mask(result.get("areas")), detector.bundle.manifest.fusion
    if mask is None:
        return None, ()
    place = image.shape[:2], (fusion.height, fusion.width)
    return mask.cells(*place), mask.rules(*place)
