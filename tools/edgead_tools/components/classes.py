"""Groups described items into classes, and finds the images whose classes agree (CSAD, 6.4 and 6.5).

Items cluster by MeanShift; a class is a cluster with at least `ALPHA` members an image that most images show, the rest
is background. Images cluster by how much of each class they show (HDBSCAN); of the largest cluster, or of all images
where none has half of them, the half nearest to the median is labeled. The other images are good parts without a
label. What is rare or miscut so costs labels, not correctness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN, MeanShift
from sklearn.neighbors import NearestNeighbors

from edgead.errors import DataError
from edgead.types import Labels, Mask

BACKGROUND = "background"
ALPHA = 0.5  # members an image that make a class
TYPICAL = 0.75  # quantile over items of the distance within which an item finds as many others as make a class
REACH = 1.5  # of that distance: MeanShift's bandwidth
SMALLEST = 0.001  # mean share of the image that makes a class
COMMON = 0.5  # share of the images that must show a class
SHARE = 0.1  # of the images, that make a cluster of images
MAIN = 0.5  # of the images, that the largest cluster must have: of few images the clusters say nothing
LEAST = 4  # labeled images, where there are as many


@dataclass(frozen=True, slots=True, eq=False)
class ComponentLabels:
    """Label maps of some of the good images, by their index."""

    names: tuple[str, ...]  # of the classes, the background first
    labels: Mapping[int, Labels]  # (H, W)
    unlabeled: tuple[int, ...]  # the other images that were looked at

    def shares(self) -> NDArray[np.float64]:
        """Each class's share of every labeled image, (images, classes), the background included."""
        counts = [np.bincount(one.ravel(), minlength=len(self.names)) / one.size for one in self.labels.values()]
        return np.stack(counts)


def group(items: Sequence[Sequence[Mask]], descriptors: NDArray[np.float32]) -> ComponentLabels:
    """Label maps from the items of every image and the descriptors of all items, (items, C), in their order.

    Raises DataError where no class is found.
    """
    found = cluster_items(descriptors, max(2, round(ALPHA * len(items))))
    maps, start = [], 0
    for masks in items:
        maps.append(_label_image(masks, found[start : start + len(masks)]))
        start += len(masks)
    maps = _without_rare(maps)
    count = max((int(one.max()) for one in maps if one is not None), default=0)
    if count == 0:
        raise DataError(
            "no components were found that good parts have in common: draw label maps of a few images instead "
            "(see `edgead components --help`)"
        )
    chosen = alike([one for one in maps if one is not None], count + 1)
    filled = [index for index, one in enumerate(maps) if one is not None]
    labeled = {filled[index]: maps[filled[index]] for index in chosen}
    return ComponentLabels(
        names=(BACKGROUND, *(f"component {number}" for number in range(1, count + 1))),
        labels={index: one for index, one in labeled.items() if one is not None},
        unlabeled=tuple(index for index in range(len(items)) if index not in labeled),
    )


def from_drawn(names: Sequence[str], labels: Mapping[int, Labels], count: int) -> ComponentLabels:
    """Label maps that a person drew of some of `count` images."""
    return ComponentLabels(tuple(names), labels, tuple(index for index in range(count) if index not in labels))


def cluster_items(descriptors: NDArray[np.float32], least: int) -> NDArray[np.int64]:
    """The class of every item, 1 and up, or 0 where its cluster has fewer than `least` members.

    MeanShift's bandwidth comes from the rule itself: an item of a class has at least `least` others near it.
    """
    if len(descriptors) <= least:
        return np.zeros(len(descriptors), np.int64)
    distances, _ = NearestNeighbors(n_neighbors=least + 1).fit(descriptors).kneighbors(descriptors)
    bandwidth = REACH * float(np.quantile(distances[:, -1], TYPICAL))
    found = np.asarray(MeanShift(bandwidth=max(bandwidth, 1e-6)).fit(descriptors).labels_)
    sizes = np.bincount(found)
    kept = [cluster for cluster in np.argsort(-sizes, kind="stable") if sizes[cluster] >= least]
    numbers = np.zeros(len(sizes), np.int64)
    numbers[kept] = np.arange(1, len(kept) + 1)
    return np.asarray(numbers[found])


def alike(maps: Sequence[Labels], classes: int) -> list[int]:
    """Which images show the usual amount of every class: the half of the largest cluster nearest to its median."""
    shares = np.stack([np.bincount(one.ravel(), minlength=classes)[1:] / one.size for one in maps])
    scaled = shares / np.maximum(np.median(shares, axis=0), SMALLEST)
    members = _largest_cluster(scaled)
    away = np.abs(scaled - np.median(scaled[members], axis=0)).max(axis=1)
    nearest = sorted(members, key=lambda index: (away[index], index))
    return sorted(nearest[: max(min(LEAST, len(nearest)), len(nearest) // 2)])


def _largest_cluster(rows: NDArray[np.float64]) -> list[int]:
    """The rows of the largest cluster; all where no least size of a cluster, from `SHARE` of them down, gives one that
    has `MAIN` of them."""
    for size in range(max(2, round(SHARE * len(rows))), 1, -1):
        if size > len(rows):
            continue
        found = HDBSCAN(min_cluster_size=size, allow_single_cluster=True, copy=True).fit(rows).labels_
        sizes = np.bincount(found[found >= 0])
        if len(sizes) and sizes.max() >= MAIN * len(rows):
            return [int(index) for index in np.flatnonzero(found == sizes.argmax())]
    return list(range(len(rows)))


def _label_image(masks: Sequence[Mask], classes: NDArray[np.int64]) -> Labels | None:
    """The label map of one image, or None where it has no item."""
    if not masks:
        return None
    labels = np.zeros(masks[0].shape, np.uint8)
    for mask, number in zip(masks, classes, strict=True):
        labels[mask] = number
    return labels


def _without_rare(maps: Sequence[Labels | None]) -> list[Labels | None]:
    """The maps without classes that cover too little of the images or that too few show, the others numbered anew."""
    filled = [one for one in maps if one is not None]
    if not filled:
        return list(maps)
    shares = np.stack([np.bincount(one.ravel(), minlength=256) / one.size for one in filled])
    large = shares.sum(axis=0) > SMALLEST * len(maps)
    common = (shares > 0).sum(axis=0) >= COMMON * len(maps)
    kept = [number for number in range(1, 256) if large[number] and common[number]]
    table = np.zeros(256, np.uint8)
    table[kept] = np.arange(1, len(kept) + 1)
    return [None if one is None else table[one] for one in maps]
