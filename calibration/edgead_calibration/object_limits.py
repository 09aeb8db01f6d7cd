"""Chooses which masks are objects: the widest limits of area within which good images agree on the number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgead.errors import DataError

AGREED = 0.9  # of the good images must show the usual number of objects
MARGIN = 1.25  # times the area seen, by which limits reach beyond it where nothing lies there
STEPS = 48  # limits that are tried, each way


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of area, shares of the picture, and the number of objects within them."""

    smallest: float
    largest: float
    count: int
    share: float  # of the good images that show that number


def choose_limits(areas: Sequence[Sequence[float]]) -> Limits:
    """The widest limits, on a logarithmic scale, of those in which most images show the same number, from the areas of
    every image's masks.

    Any that `AGREED` of the images agree on would do, but each image that does not is a false alarm later. Raises
    DataError where there is no mask.
    """
    every = np.sort(np.concatenate([np.asarray(one, np.float64) for one in areas]))
    if not len(every):
        raise DataError(
            "no object was found in the good images: lay the parts on a ground from which they stand out, "
            "or take --method csad"
        )
    ends = np.geomspace(every[0] / MARGIN, min(1.0, every[-1] * MARGIN), STEPS)
    counts = np.stack([np.searchsorted(np.sort(np.asarray(one, np.float64)), ends) for one in areas])  # (N, ends)
    found = []
    for low in range(len(ends)):
        for high in range(low + 1, len(ends)):
            numbers = counts[:, high] - counts[:, low]
            usual = int(np.bincount(numbers).argmax())
            if usual:
                found.append(Limits(float(ends[low]), float(ends[high]), usual, float((numbers == usual).mean())))
    most = _usual_number(found)
    fitting = [one for one in found if one.count == most]
    share = max(one.share for one in fitting)
    return max((one for one in fitting if one.share >= share), key=lambda one: one.largest / one.smallest)


def _usual_number(found: Sequence[Limits]) -> int:
    """The largest number that enough images agree on; where there is none, the one that most agree on."""
    agreed = [one.count for one in found if one.share >= AGREED]
    return max(agreed) if agreed else max(found, key=lambda one: (one.share, one.largest / one.smallest)).count
