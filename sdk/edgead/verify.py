"""Checks whether an engine on this machine measures what the workstation measured, for each golden frame."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from edgead.bundle import Artifact, Bundle, Thresholds
from edgead.errors import BundleError, DataError
from edgead.images import decode, to_bgr
from edgead.ops import calibrate
from edgead.types import ImageU8, MapF32, Reading

SLACK = 0.01  # of the way from a typical good cell to the threshold: GPUs add in another order, and nobody judges by it


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """One golden frame through the engine."""

    frame: str
    map_error: float  # largest difference between the engine's raw fused map and the golden one
    tolerance: float  # of the map
    score_error: float  # difference of the calibrated image scores, over the golden one where that exceeds 1
    score_tolerance: float
    passed: bool


class FrameReader(Protocol):
    """What measures frames with one network of a bundle: a Detector, as a rule."""

    artifact: Artifact

    def read(self, image: ImageU8) -> Reading:
        """The raw map and score of a frame."""
        ...


def verify(bundle: Bundle, detector: FrameReader) -> list[GoldenCheck]:
    """`compare` of what `detector` reads."""
    return compare(bundle, detector.artifact, detector.read)


def compare(bundle: Bundle, artifact: Artifact, read: Callable[[ImageU8], Reading]) -> list[GoldenCheck]:
    """Have every golden frame of `bundle` read, and compare the raw fused maps and image scores with the artifact's.

    The score has what no map shows, the components of a part; that of a planted anomaly must be NG. A map of another
    shape or with a cell that is not a number fails with an infinite error, and so does such a score. Raises
    BundleError for a golden frame or map that cannot be read.
    """
    thresholds = artifact.thresholds
    tolerance = max(artifact.tolerance, SLACK * (thresholds.pixel - thresholds.pixel_center))
    checks = []
    for index, (frame, golden) in enumerate(zip(bundle.manifest.golden_frames, artifact.golden, strict=True)):
        expected = golden_map(bundle, golden)
        reading = read(golden_frame(bundle, frame))
        error = _largest_difference(reading.anomaly_map, expected)
        score_error = _score_difference(reading.score, artifact, index)
        passed = error <= tolerance and score_error <= artifact.score_tolerance
        if frame in bundle.manifest.golden_anomalies:
            passed = passed and not reading.score <= thresholds.image
        checks.append(GoldenCheck(frame, error, tolerance, score_error, artifact.score_tolerance, passed))
    return checks


def _score_difference(raw: float, artifact: Artifact, index: int) -> float:
    if not artifact.golden_scores:
        return 0.0
    return score_difference(raw, artifact.golden_scores[index], artifact.thresholds)


def score_difference(raw: float, expected: float, thresholds: Thresholds) -> float:
    """The difference of two raw scores once calibrated, over the expected one where that exceeds 1."""
    calibrated = calibrate(expected, thresholds.image_center, thresholds.image)
    error = abs(calibrate(raw, thresholds.image_center, thresholds.image) - calibrated) / max(1.0, abs(calibrated))
    return error if math.isfinite(error) else math.inf


def _largest_difference(actual: MapF32, expected: MapF32) -> float:
    if actual.shape != expected.shape:
        return math.inf
    error = float(np.abs(actual.astype(np.float64) - expected).max())
    return error if math.isfinite(error) else math.inf


def golden_frame(bundle: Bundle, name: str) -> ImageU8:
    """A golden frame, (H, W, 3) BGR uint8; raises BundleError for one that is no image."""
    try:
        return to_bgr(decode(bundle.read(name), Path(name)), Path(name), bits=16)
    except DataError as error:
        raise BundleError(f"golden frame '{name}' cannot be decoded: build the bundle again ({error})") from error


def golden_map(bundle: Bundle, name: str) -> MapF32:
    """A golden map, (h, w) float32; raises BundleError for a member that is none."""
    raw = bundle.read(name)
    try:
        values = np.load(io.BytesIO(raw), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BundleError(f"golden map '{name}' cannot be read: {error}; build the bundle again") from error
    if not isinstance(values, np.ndarray) or values.dtype != np.float32 or values.ndim != 2:
        raise BundleError(f"golden map '{name}' is no float32 map (h, w): build the bundle again")
    return values
