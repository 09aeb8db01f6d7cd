"""Fits the health profile of a bundle: what the camera shows of good parts, as data for the line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from edgead.bundle import HealthProfile
from edgead.bundle.manifest import Range
from edgead.errors import DataError
from edgead.stream.health import ImageStats, measure, offset, red_over_blue
from edgead.types import ImageU8

ENOUGH = 100  # images: more say little more
_NONE = np.empty(0, np.uint8)
SIZES = 8  # different sizes beyond which any size is taken


def fit_health(images: Iterable[ImageU8]) -> HealthProfile:
    """The profile of good images, (H, W, 3) BGR uint8 as the camera gives them; raises DataError without any."""
    return fit_profile([measure_good(image) for image in images])


def measure_good(image: ImageU8) -> ImageStats:
    """What a profile is fitted to, of one image; small, for there may be thousands."""
    return replace(measure(image), sample=_NONE)


def fit_profile(stats: Sequence[ImageStats]) -> HealthProfile:
    """The profile of good images that were measured; raises DataError without any."""
    if not stats:
        raise DataError("a health profile needs at least one good image: give some")
    pictures = np.stack([one.thumbnail for one in stats])
    reference = pictures.mean(axis=0).round().astype(np.uint8)
    places = [offset(picture, reference) for picture in pictures]
    sizes = Counter(one.size for one in stats)
    return HealthProfile(
        images=len(stats),
        sizes=tuple(sorted(sizes)) if len(sizes) <= SIZES else (),
        brightness=_range([one.brightness for one in stats]),
        contrast=_range([one.contrast for one in stats]),
        saturated=_range([one.saturated for one in stats]),
        sharpness=_range([one.sharpness for one in stats]),
        color=_range([one.color for one in stats]),
        reach=(max(abs(right) for right, *_ in places), max(abs(down) for _, down, *_ in places)),
        likeness=min(best for _, _, best, _ in places),
        likeness_of_color=min(red_over_blue(picture, reference) for picture in pictures),
        thumbnail=reference.tobytes(),
    )


def spread_out(count: int) -> Sequence[int]:
    """Which of `count` images to take: all, or `ENOUGH` evenly spread over them."""
    return range(count) if count <= ENOUGH else [index * count // ENOUGH for index in range(ENOUGH)]


def _range(values: Sequence[float]) -> Range:
    return round(min(values), 4), round(max(values), 4)
