"""Uses a bundle as a teacher: its anomaly maps, which a smaller network learns to give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead import Bundle, Detector
from edgead.closing import Closing


class MapTeacher(Closing):
    """The anomaly maps of a bundle, in its own calibration: 0 a typical good part, 1 the pixel threshold."""

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        """Open the bundle at `path`; raises BundleError or EngineError."""
        self._detector = Detector(Bundle.open(path), threads=threads)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images it wants, in pixels."""
        return self._detector.bundle.manifest.input.frame

    def maps(self, images: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
        """Maps (B, height, width) of images (B, H, W, 3) uint8 BGR, which are best of its own size."""
        thresholds = self._detector.artifact.thresholds
        raw = [reading.anomaly_map for reading in self._detector.read_many(list(images))]
        resized = np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_AREA) for one in raw])
        calibrated = (resized - thresholds.pixel_center) / (thresholds.pixel - thresholds.pixel_center)
        return calibrated.astype(np.float32)

    def provenance(self) -> dict[str, Any]:
        """What the student's bundle records of it."""
        manifest = self._detector.bundle.manifest
        return {"name": manifest.name, "method": manifest.method, "sha256": self._detector.bundle.digest}

    def close(self) -> None:
        """Release the engine; calling it again does nothing."""
        self._detector.close()
