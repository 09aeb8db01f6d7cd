"""Records golden readings: what a network gives for a bundle's golden frames, which every device must reproduce."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np

from edgead import Bundle, Detector
from edgead.bundle import Artifact
from edgead.types import MapF32
from edgead.verify import golden_frame, golden_map, score_difference

TOLERANCE = 1e-4  # of a map, times its largest value where that exceeds 1
SCORE_TOLERANCE = 0.05  # of a calibrated score
SPREAD = 1.5  # two engines differ from each other by up to so much of what a precision makes each differ from FP32


class Golden(NamedTuple):
    """What is expected of the golden frames."""

    maps: dict[str, bytes]  # fused, .npy by member name
    scores: tuple[float, ...]  # raw
    tolerance: float  # of the maps
    score_tolerance: float = SCORE_TOLERANCE  # of the calibrated scores


def record_golden(bundle: Bundle, detector: Detector, reference: Artifact, tag: str) -> Golden:
    """What `detector` reads from the bundle's golden frames.

    Another engine may round a lower precision otherwise: TensorRT's INT8 of CSAD, run as typed, was found to differ by
    1.2 times what INT8 costs. So maps and scores may differ by SPREAD times the largest difference from `reference`'s,
    FP32's.
    """
    maps, scores, tolerance, score_tolerance = {}, [], TOLERANCE, SCORE_TOLERANCE
    exact_scores = reference.golden_scores or (None,) * len(reference.golden)
    for frame, exact, exact_score in zip(bundle.manifest.golden_frames, reference.golden, exact_scores, strict=True):
        reading = detector.read(golden_frame(bundle, frame))
        found = reading.anomaly_map
        scores.append(reading.score)
        maps[f"golden/{tag}/{exact.rpartition('/')[2]}"] = encode_map(found)
        cost = float(np.abs(found - golden_map(bundle, exact)).max())
        tolerance = max(tolerance, SPREAD * cost, TOLERANCE * float(np.abs(found).max()))
        if exact_score is not None:
            difference = score_difference(reading.score, exact_score, reference.thresholds)
            score_tolerance = max(score_tolerance, SPREAD * difference)
    return Golden(maps, tuple(scores), tolerance, score_tolerance)


def encode_map(array: MapF32) -> bytes:
    """A map as the bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
