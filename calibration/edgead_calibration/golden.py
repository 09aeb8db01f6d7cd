"""Golden readings: what a network gives for a bundle's golden frames, so that every device can be held to it."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np

from edgead import Bundle, Detector
from edgead.bundle import Artifact
from edgead.types import MapF32
from edgead.verify import golden_frame, golden_map

TOLERANCE = 1e-4  # of a map, times its largest value where that exceeds 1


class Golden(NamedTuple):
    """What is expected of the golden frames."""

    maps: dict[str, bytes]  # fused, .npy by member name
    scores: tuple[float, ...]  # raw
    tolerance: float  # of the maps


def record_golden(bundle: Bundle, detector: Detector, reference: Artifact, tag: str) -> Golden:
    """What `detector` reads from the bundle's golden frames.

    Another engine may round a lower precision otherwise. So its maps may differ by as much as the precision itself
    costs: by the largest difference from `reference`'s golden maps, FP32's.
    """
    maps, scores, tolerance = {}, [], TOLERANCE
    for frame, exact in zip(bundle.manifest.golden_frames, reference.golden, strict=True):
        reading = detector.read(golden_frame(bundle, frame))
        found = reading.anomaly_map
        scores.append(reading.score)
        maps[f"golden/{tag}/{exact.rpartition('/')[2]}"] = encode_map(found)
        cost = float(np.abs(found - golden_map(bundle, exact)).max())
        tolerance = max(tolerance, cost, TOLERANCE * float(np.abs(found).max()))
    return Golden(maps, tuple(scores), tolerance)


def encode_map(array: MapF32) -> bytes:
    """A map as the bytes of an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
