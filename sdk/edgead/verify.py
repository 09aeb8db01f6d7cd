"""Whether an engine on this machine measures what the workstation measured, frame by golden frame."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import cv2
import numpy as np

from edgead.bundle import Bundle
from edgead.detector import Detector
from edgead.errors import BundleError
from edgead.types import ImageU8, MapF32


@dataclass(frozen=True, slots=True)
class GoldenCheck:
    """One golden frame through the engine."""

    frame: str
    map_error: float  # largest difference between the engine's raw fused map and the golden one
    tolerance: float
    passed: bool


def verify(bundle: Bundle, detector: Detector) -> list[GoldenCheck]:
    """Run every golden frame of `bundle` through `detector` and compare the raw fused maps.

    A map of another shape or with a cell that is not a number fails with an infinite error. Raises BundleError
    for a golden frame or map that cannot be read.
    """
    artifact = detector.artifact
    checks = []
    for frame, golden in zip(bundle.manifest.golden_frames, artifact.golden, strict=True):
        expected = golden_map(bundle, golden)
        error = _largest_difference(detector.read(golden_frame(bundle, frame)).anomaly_map, expected)
        checks.append(GoldenCheck(frame, error, artifact.tolerance, error <= artifact.tolerance))
    return checks


def _largest_difference(actual: MapF32, expected: MapF32) -> float:
    if actual.shape != expected.shape:
        return math.inf
    error = float(np.abs(actual.astype(np.float64) - expected).max())
    return error if math.isfinite(error) else math.inf


def golden_frame(bundle: Bundle, name: str) -> ImageU8:
    """A golden frame, (H, W, 3) BGR uint8; raises BundleError for one that is no image."""
    raw = np.frombuffer(bundle.read(name), np.uint8)
    image = cv2.imdecode(raw, cv2.IMREAD_COLOR) if raw.size else None
    if image is None:
        raise BundleError(f"golden frame '{name}' cannot be decoded: build the bundle again")
    return np.asarray(image, np.uint8)


def golden_map(bundle: Bundle, name: str) -> MapF32:
    """A golden map, (h, w) float32; raises BundleError for a member that is none."""
    try:
        values = np.load(io.BytesIO(bundle.read(name)), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BundleError(f"golden map '{name}' cannot be read: {error}; build the bundle again") from error
    if not isinstance(values, np.ndarray) or values.dtype != np.float32 or values.ndim != 2:
        raise BundleError(f"golden map '{name}' is no float32 map (h, w): build the bundle again")
    return values
