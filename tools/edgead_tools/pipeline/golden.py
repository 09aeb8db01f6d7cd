"""Chooses golden frames: a few frames that go into the bundle with the readings they must give on every device.

The last is a good part with an anomaly planted, which must be NG: the proof that the bundle can refuse a part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import cv2
import numpy as np

from edgead.bundle import Thresholds
from edgead.errors import GateError
from edgead.ops import calibrate, resize
from edgead.reader import Reader
from edgead.types import ImageU8
from edgead_calibration.golden import TOLERANCE, Golden, encode_map

GOLDEN = 4  # frames of good parts
SIDE = 512  # pixels; frames are stored no larger, or half as large as frames in tiles are judged
ANOMALY = "golden/anomaly.png"
CLEAR = 1.5  # calibrated score from which a planted anomaly will be NG in every precision, and after a refit


def make_golden(reader: Reader, good: Iterable[ImageU8], thresholds: Thresholds) -> tuple[dict[str, bytes], Golden]:
    """PNG frames of good parts by member name, `ANOMALY` the last, and what the engine reads from them.

    Raises GateError where no planted anomaly is NG by the thresholds.
    """
    side = max(SIDE, max(reader.source.manifest.input.frame) // 2)
    images = [_small(frame, side) for frame in good]
    pictures = {f"golden/{index:02d}.png": _barred(image) if index % 2 else image for index, image in enumerate(images)}
    pictures[ANOMALY] = _planted(reader, images[0], thresholds)
    frames, maps, scores, largest = {}, {}, [], 1.0
    for name, picture in pictures.items():
        reading = reader.read(picture)
        frames[name] = _png(picture)
        maps[f"{name.removesuffix('.png')}.npy"] = encode_map(reading.anomaly_map)
        scores.append(reading.score)
        largest = max(largest, float(np.abs(reading.anomaly_map).max()))
    return frames, Golden(maps, tuple(scores), TOLERANCE * largest)


def _planted(reader: Reader, image: ImageU8, thresholds: Thresholds) -> ImageU8:
    """The image with the least of `PLANTS` that is clearly NG, or with the one that is so the most."""
    best, found = thresholds.image, None
    for plant in PLANTS:
        picture = plant(image)
        score = reader.read(picture).score
        if calibrate(score, thresholds.image_center, thresholds.image) >= CLEAR:
            return picture
        if score > best:
            best, found = score, picture
    if found is None:
        raise GateError(
            "the network tells no anomaly from good parts, not even noise all over the picture, so every part would be "
            "OK: train longer, or look at the good images"
        )
    return found


def _small(image: ImageU8, side: int) -> ImageU8:
    """The image, no larger than `side`."""
    scale = min(1.0, side / max(image.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return np.array(resize(image, height, width))


def _barred(image: ImageU8) -> ImageU8:
    """The image with a dark bar across it."""
    height, width = image.shape[:2]
    frame = image.copy()
    frame[height // 3 : height // 3 + max(1, height // 12), width // 4 : 3 * width // 4] = (12, 8, 16)
    return frame


def _checkered(image: ImageU8) -> ImageU8:
    """The image with black and white squares over its middle."""
    height, width = image.shape[:2]
    rows, columns = np.mgrid[:height, :width] // max(2, min(height, width) // 6)
    middle = np.zeros((height, width), bool)
    middle[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = True
    frame = image.copy()
    frame[middle] = np.where((rows + columns) % 2, 255, 0)[middle, np.newaxis]
    return frame


def _noisy(image: ImageU8) -> ImageU8:
    """Noise all over."""
    return np.random.default_rng(0).integers(0, 256, image.shape, np.uint8)


def _bright(image: ImageU8) -> ImageU8:
    """White all over."""
    return np.full_like(image, 255)


PLANTS: tuple[Callable[[ImageU8], ImageU8], ...] = (_barred, _checkered, _noisy, _bright)


def _png(image: ImageU8) -> bytes:
    done, encoded = cv2.imencode(".png", image)
    if not done:
        raise GateError("a golden frame could not be encoded as PNG")
    return encoded.tobytes()
