"""Golden frames: a few frames that go into the bundle with the readings they must give on every device."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edgead import Detector
from edgead.errors import GateError
from edgead.images import read_image
from edgead.ops import resize
from edgead.types import ImageU8
from edgead_calibration.golden import TOLERANCE, Golden, encode_map
from edgead_tools.data import Sample

FRAMES = 4
SIDE = 512  # pixels; frames are stored no larger


def make_golden(detector: Detector, samples: Sequence[Sample]) -> tuple[dict[str, bytes], Golden]:
    """PNG frames by member name, and what the detector reads from them."""
    frames, maps, scores, largest = {}, {}, [], 1.0
    for index, sample in enumerate(samples[:FRAMES]):
        frame = _frame(read_image(sample.path, bits=detector.bundle.manifest.input.bits), damaged=index % 2 == 1)
        reading = detector.read(frame)
        frames[f"golden/{index:02d}.png"] = _png(frame)
        maps[f"golden/{index:02d}.npy"] = encode_map(reading.anomaly_map)
        scores.append(reading.score)
        largest = max(largest, float(np.abs(reading.anomaly_map).max()))
    return frames, Golden(maps, tuple(scores), TOLERANCE * largest)


def _frame(image: ImageU8, *, damaged: bool) -> ImageU8:
    """The image no larger than SIDE, with a dark bar across it if `damaged`, so that high map values are covered."""
    scale = min(1.0, SIDE / max(image.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    frame = np.array(resize(image, height, width))
    if damaged:
        frame[height // 3 : height // 3 + max(1, height // 12), width // 4 : 3 * width // 4] = (12, 8, 16)
    return frame


def _png(image: ImageU8) -> bytes:
    done, encoded = cv2.imencode(".png", image)
    if not done:
        raise GateError("a golden frame could not be encoded as PNG")
    return encoded.tobytes()
