"""Finds the mask of a frame from where a bundle with components sees the part in good images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np

from edgead import Bundle, Detector
from edgead.bundle import FusionSpec
from edgead.config import BuildConfig
from edgead.errors import DataError, UsageError
from edgead.progress import Reporter
from edgead.types import ImageU8
from edgead_calibration.images import evenly_spaced
from edgead_tools.data.foreground import Foreground, read_foreground, shrink_foreground
from edgead_tools.pipeline.images import BuildImages

MASK = "mask.png"  # the member that holds what is judged
MOST_IMAGES = 64  # good images at most in which a bundle with components looks for the part
SEEN = 0.02  # of the good images: where a component lies more often than this it may lie


def read_foreground_of(config: BuildConfig, images: BuildImages, reporter: Reporter) -> Foreground:
    """What the build's mask says is judged; a bundle with components looks for the part in some of the good images."""
    if Path(config.mask).suffix != ".edgead":
        return read_foreground(Path(config.mask), images.frame_size())
    samples = evenly_spaced(images.parts.train, MOST_IMAGES)
    with reporter.stage("looking where the part is") as on_progress:

        def frames() -> Iterator[ImageU8]:
            for count, sample in enumerate(samples, start=1):
                yield images.frame(sample)
                on_progress(count, len(samples))

        return foreground_from_components(open_segmentation(Path(config.mask)), frames())


def masked_fusion(fusion: FusionSpec, foreground: Foreground) -> tuple[FusionSpec, bytes]:
    """The fusion with a mask, and the mask as PNG. The score keeps its share of the cells, now of those judged."""
    cells = shrink_foreground(foreground, fusion.height, fusion.width)
    top = max(1, round(fusion.score.top * float(cells.mean()) / 255))
    score = msgspec.structs.replace(fusion.score, top=top)
    encoded = cv2.imencode(".png", cells)[1].tobytes()
    return msgspec.structs.replace(fusion, mask=MASK, score=score), encoded


def open_segmentation(path: Path) -> Bundle:
    """The bundle whose components say where the part is; raises UsageError where it knows none."""
    bundle = Bundle.open(path)
    if bundle.manifest.fusion.components is None:
        raise UsageError(f"{path} knows no components, so it cannot say where the part is: build it with --method csad")
    return bundle


def foreground_from_components(bundle: Bundle, frames: Iterable[ImageU8]) -> Foreground:
    """White in each of the bundle's cells where some component lies in good frames, and in the cells around.

    Raises DataError where no component is found in any.
    """
    seen, count = np.zeros(()), 0
    with Detector(bundle) as detector:
        for frame in frames:
            branches = detector.read(frame).branches
            assert branches is not None  # it knows components
            seen = seen + (branches.labels > 0)
            count += 1
    mask = np.asarray(seen > SEEN * count, np.uint8)
    if not mask.any():
        raise DataError("the segmentation finds no component in the good images: paint a mask instead")
    return np.asarray(255 * cv2.dilate(mask, np.ones((3, 3), np.uint8)), np.uint8)
