"""Refitting a bundle's thresholds: for another false-alarm rate, or to the good parts of this camera and light."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timezone

import msgspec

from edgead import Bundle, Detector
from edgead.bundle import Artifact, Manifest
from edgead.types import ImageU8
from edgead_calibration.health import fit_health
from edgead_calibration.thresholds import fit_thresholds

# Figures of an evaluation that hold for one threshold only; a refit forgets them.
OF_THE_THRESHOLD = frozenset({"false_alarm_rate", "false_alarm_interval", "miss_rate", "miss_interval", "f1"})


def read_good(
    detector: Detector, images: Iterable[ImageU8], on_image: Callable[[], None] = lambda: None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The raw scores and the largest raw map values of good images, through the detector that will judge."""
    scores, maxima = [], []
    for image in images:
        reading = detector.read(image)
        scores.append(reading.score)
        maxima.append(float(reading.anomaly_map.max()))
        on_image()
    return tuple(scores), tuple(maxima)


def refit_rate(bundle: Bundle, false_alarm_rate: float) -> Manifest:
    """The bundle's manifest with thresholds for another rate, from the scores of good images kept in it."""

    def refit(artifact: Artifact) -> Artifact:
        thresholds = fit_thresholds(artifact.good_scores, artifact.good_maxima, false_alarm_rate)
        return msgspec.structs.replace(artifact, thresholds=thresholds)

    return _with_artifacts(bundle.manifest, refit, f"rate set to {false_alarm_rate:g}")


def refit_images(bundle: Bundle, images: Callable[[], Iterable[ImageU8]], false_alarm_rate: float) -> Manifest:
    """The bundle's manifest with thresholds and health profile fitted to good images of this site.

    `images` is called once for every precision in it and once more, and gives the good images anew.
    """

    def refit(artifact: Artifact) -> Artifact:
        with Detector(bundle, precision=artifact.precision) as detector:
            scores, maxima = read_good(detector, images())
        thresholds = fit_thresholds(scores, maxima, false_alarm_rate)
        return msgspec.structs.replace(artifact, thresholds=thresholds, good_scores=scores, good_maxima=maxima)

    manifest = _with_artifacts(bundle.manifest, refit, f"refitted on site for a rate of {false_alarm_rate:g}")
    return msgspec.structs.replace(manifest, health=fit_health(images()))


def _with_artifacts(manifest: Manifest, refit: Callable[[Artifact], Artifact], what: str) -> Manifest:
    artifacts = tuple(refit(artifact) for artifact in manifest.artifacts)
    entry = {"when": datetime.now(timezone.utc).isoformat(timespec="seconds"), "what": what}
    history = [*manifest.provenance.get("thresholds", []), entry]
    provenance = {**manifest.provenance, "thresholds": history}
    if isinstance(measured := provenance.get("measured"), dict):
        provenance["measured"] = measured | dict.fromkeys(OF_THE_THRESHOLD & measured.keys())
    return msgspec.structs.replace(manifest, artifacts=artifacts, provenance=provenance)
