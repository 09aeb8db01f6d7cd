"""Refits a bundle's thresholds: for another false-alarm rate, or to the good parts of this camera and light."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any

import msgspec
import numpy as np

from edgead import Bundle, Detector
from edgead.bundle import Artifact, Manifest
from edgead.engines import ENGINES, load_engine
from edgead.errors import EngineError
from edgead.ops import calibrate
from edgead.reader import Reader
from edgead.types import ImageU8
from edgead.wording import printable
from edgead_calibration.detection import with_detection
from edgead_calibration.good_images import GoodImages, one_each
from edgead_calibration.health import fit_health
from edgead_calibration.operating_point import chosen_thresholds
from edgead_calibration.tails import MINIMUM
from edgead_calibration.thresholds import fit_thresholds, parts_without, without_outliers

# Figures of an evaluation that hold for one threshold only; a refit forgets them.
OF_THE_THRESHOLD = frozenset(
    {"false_alarm_rate", "false_alarm_interval", "miss_rate", "miss_interval", "f1", "f1_max_score"}
)


def read_good(
    reader: Reader, images: Iterable[ImageU8], on_image: Callable[[], None] = lambda: None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The raw scores and the largest raw map values of good images, through the engine that will judge."""
    scores, maxima = [], []
    for image in images:
        reading = reader.read(image)
        scores.append(reading.score)
        maxima.append(float(reading.anomaly_map.max()))
        on_image()
    return tuple(scores), tuple(maxima)


def refit_rate(bundle: Bundle, false_alarm_rate: float, who: str = "", *, extrapolate: bool = False) -> Manifest:
    """The bundle's manifest with thresholds for another rate, from the scores of good images kept in it; one that they
    are too few for only where it is to be extrapolated."""

    def refit(artifact: Artifact) -> Artifact:
        thresholds = fit_thresholds(
            artifact.good_scores,
            artifact.good_maxima,
            false_alarm_rate,
            artifact.good_margin,
            parts=artifact.good_parts,
            extrapolate=extrapolate,
        )
        return msgspec.structs.replace(artifact, thresholds=thresholds)

    artifacts = tuple(refit(artifact) for artifact in bundle.manifest.artifacts)
    what = f"rate set to {false_alarm_rate:g}{', extrapolated' if extrapolate else ''}"
    return replaced(bundle.manifest, artifacts, {"what": what, "who": who})


def choose_score(bundle: Bundle, score: float, pixel: float | None = None, who: str = "", why: str = "") -> Manifest:
    """The bundle's manifest with thresholds that a person chose: raw ones of the FP32 network, and for every other the
    same distances between a typical good part and the threshold that was fitted. Raises UsageError for one that does
    not lie above a typical good part."""
    exact = bundle.manifest.artifact("fp32").thresholds
    factor = calibrate(score, exact.image_center, exact.image)
    pixel_factor = None if pixel is None else calibrate(pixel, exact.pixel_center, exact.pixel)

    def chosen(artifact: Artifact) -> Artifact:
        known = artifact.thresholds
        good, _, outliers = without_outliers(artifact.good_scores, artifact.good_maxima, artifact.good_parts)
        parts = parts_without(artifact.good_parts, outliers)
        image = known.image_center + factor * (known.image - known.image_center)
        cells = known.pixel_center + (pixel_factor or 0) * (known.pixel - known.pixel_center)
        thresholds = chosen_thresholds(
            known, good.tolist(), artifact.good_margin[0], image, None if pixel_factor is None else cells, parts
        )
        return msgspec.structs.replace(artifact, thresholds=thresholds)

    artifacts = tuple(chosen(artifact) for artifact in bundle.manifest.artifacts)
    what = f"image threshold set to {score:g}" + ("" if pixel is None else f", pixel threshold to {pixel:g}")
    return replaced(bundle.manifest, artifacts, {"what": what, "who": who, "why": why})


def add_good(bundle: Bundle, images: Sequence[ImageU8], who: str = "") -> Manifest:
    """The bundle's manifest with thresholds fitted to the good images that it knows and to these, of unseen parts.

    Networks whose engine is not on this machine keep their thresholds. Raises EngineError where no engine is here.
    """
    manifest = bundle.manifest
    artifacts = list(manifest.artifacts)
    with ExitStack() as stack:
        for index, detector in _detectors(bundle, stack).items():
            known = artifacts[index]
            scores, maxima = read_good(detector, images)
            scores, maxima = (*known.good_scores, *scores), (*known.good_maxima, *maxima)
            rate = known.thresholds.false_alarm_rate
            parts = _with_new(known.good_parts, len(images))
            artifacts[index] = msgspec.structs.replace(
                known,
                thresholds=fit_thresholds(scores, maxima, rate, known.good_margin, parts=parts),
                good_scores=scores,
                good_maxima=maxima,
                good_parts=parts,
            )
    what = f"refitted with {len(images)} reviewed good parts"
    return replaced(manifest, tuple(artifacts), {"what": what, "who": who})


def refit_images(
    bundle: Bundle,
    images: Iterable[ImageU8],
    false_alarm_rate: float,
    who: str = "",
    source: str = "",
    check: GoodImages | None = None,
) -> Manifest:
    """The bundle's manifest with thresholds and health profile fitted to good images of this site, read once.

    Every network is read through its own engine; those whose engine is not here keep their thresholds, and the
    history names them, and the images that are too strange to count. `who` and `source` go into that history. With
    the `check` that `images` came through, several images of one part count once. Raises EngineError where no engine
    is here, DataError for too few images.
    """
    manifest = bundle.manifest
    scores: dict[int, list[float]] = {}
    maxima: dict[int, list[float]] = {}
    digest = hashlib.sha256()

    def through(detectors: dict[int, Detector]) -> Iterator[ImageU8]:
        for image in images:
            digest.update(image.tobytes())
            for index, detector in detectors.items():
                reading = detector.read(image)
                scores[index].append(reading.score)
                maxima[index].append(float(reading.anomaly_map.max()))
            yield image

    with ExitStack() as stack:
        detectors = _detectors(bundle, stack)
        scores, maxima = {index: [] for index in detectors}, {index: [] for index in detectors}
        health = fit_health(through(detectors))
    artifacts, strange = list(manifest.artifacts), list[str]()
    for index in detectors:
        strange += _strange(scores[index], maxima[index], check)
        numbers = range(len(scores[index])) if check is None else check.parts.numbers
        scores[index], maxima[index] = one_each(scores[index], numbers), one_each(maxima[index], numbers)
        artifacts[index] = msgspec.structs.replace(
            artifacts[index],
            thresholds=fit_thresholds(scores[index], maxima[index], false_alarm_rate),
            good_scores=tuple(scores[index]),
            good_maxima=tuple(maxima[index]),
            good_margin=(0.0, 0.0),
            good_parts=(),
        )
    left = [f"{a.precision} for {a.engine}" for index, a in enumerate(artifacts) if index not in detectors]
    entry = {
        "what": f"refitted on site for a rate of {false_alarm_rate:g}",
        "who": who,
        "source": source,
        "images": health.images,
        "digest": digest.hexdigest(),
        "left": left,
        "not_counted": list(dict.fromkeys(strange)),
    }
    return msgspec.structs.replace(replaced(manifest, tuple(artifacts), entry), health=health)


def _with_new(parts: tuple[int, ...], images: int) -> tuple[int, ...]:
    """The numbers of parts with those of so many images of other parts after them; none where none are told."""
    first = 1 + max(parts, default=-1)
    return (*parts, *range(first, first + images)) if parts else ()


def _strange(scores: list[float], maxima: list[float], check: GoodImages | None) -> list[str]:
    """The names of the images whose scores do not belong to the others'."""
    if len(scores) < MINIMUM or not (np.isfinite(scores).all() and np.isfinite(maxima).all()):
        return []  # `fit_thresholds` says so
    found = without_outliers(scores, maxima)[2]
    return [printable(check.names[index]) if check else f"image {index}" for index in found]


def _detectors(bundle: Bundle, stack: ExitStack) -> dict[int, Detector]:
    """A detector for every artifact that can be run here, by its place; raises EngineError where there is none."""
    found: dict[int, Detector] = {}
    for index, artifact in enumerate(bundle.manifest.artifacts):
        alone = Bundle(
            msgspec.structs.replace(bundle.manifest, artifacts=(artifact,)), bundle.members(), bundle.digest, None
        )
        if not artifact.engine or artifact.engine in ENGINES:
            try:
                found[index] = stack.enter_context(Detector(alone, engine=artifact.engine or "auto"))
            except EngineError:
                continue
    if not found:
        load_engine(bundle)  # says why there is none
    return found


def replaced(manifest: Manifest, artifacts: tuple[Artifact, ...], entry: dict[str, Any]) -> Manifest:
    """The manifest with new artifacts, the entry in its history, and no figure that held for the old thresholds."""
    when = {"when": datetime.now(timezone.utc).isoformat(timespec="seconds")}
    history = [*manifest.provenance.get("thresholds", []), when | {k: v for k, v in entry.items() if v}]
    provenance = {**manifest.provenance, "thresholds": history}
    if isinstance(measured := provenance.get("measured"), dict):
        provenance["measured"] = measured | dict.fromkeys(OF_THE_THRESHOLD & measured.keys())
    return with_detection(msgspec.structs.replace(manifest, artifacts=artifacts, provenance=provenance))
