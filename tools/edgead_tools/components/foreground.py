"""Proposes masks without a foundation model: what differs from the background, separated where its color changes.

Two steps, since neither is enough. The pretrained trunk's features know ground whatever the light, but on a grid of
four pixels and with a seam around each item: the cells of all good images are clustered, and the largest and most
alike clusters, which together are the majority, are ground for sure. Then each pixel elsewhere is compared with the
color of the ground around it: what lies `CONTRAST` deviations of the ground away is an item's, which follows its edge
to the pixel and holds in any light.

It serves where items lie on a ground (trays, plates, bags, boards). Items that touch come out as one; the steps after
this one find that such a mask is like no other and leave the image unlabeled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch.nn import functional

from edgead.ops.proposals import cut_out
from edgead.types import Mask
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.methods.lite import CHUNK, lite_tensor

SAMPLES = 20_000  # cells that are clustered
CLUSTERS = 8
MAJORITY = 0.5  # of all cells: the clusters that are ground for sure cover at least as many


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Clusters of features, some of which are ground for sure."""

    centers: NDArray[np.float32]  # (K, C)
    certain: tuple[int, ...]  # of the clusters
    cells: NDArray[np.bool_]  # (N, h, w): which cells of the images are ground


def find_ground(trunk: EfficientNetLite, images: NDArray[np.uint8], seed: int) -> NDArray[np.bool_]:
    """Which cells are ground, (N, H/4, W/4), in images (N, H, W, 3) uint8 BGR; taps at 1/4, 1/8 and 1/16."""
    return cluster_cells(combine_taps(_taps(trunk, images)), seed).cells


def cluster_cells(features: NDArray[np.float32], seed: int) -> Ground:
    """The clusters of cells' features (N, h, w, C), and which of them are ground."""
    count, height, width, channels = features.shape
    rows = features.reshape(-1, channels)
    random = np.random.default_rng(seed)
    chosen = random.choice(len(rows), min(SAMPLES, len(rows)), replace=False)
    clusters = KMeans(CLUSTERS, n_init=2, random_state=seed).fit(rows[chosen])
    distances = np.asarray(clusters.transform(rows))
    found = distances.argmin(axis=1)
    share = np.bincount(found, minlength=CLUSTERS) / len(found)
    scatter = np.bincount(found, distances.min(axis=1) ** 2, minlength=CLUSTERS) / np.maximum(share * len(found), 1)
    order = np.argsort(-share / np.maximum(scatter, 1e-9))
    before = np.cumsum(share[order]) - share[order]
    certain = order[before < MAJORITY]
    cells = np.isin(found, certain).reshape(count, height, width)
    return Ground(np.asarray(clusters.cluster_centers_, np.float32), tuple(sorted(certain.tolist())), cells)


def propose(trunk: EfficientNetLite, images: NDArray[np.uint8], seed: int) -> Iterable[list[Mask]]:
    """For each image one mask of everything that is no ground; refining it splits it into items."""
    for image, cells in zip(images, find_ground(trunk, images, seed), strict=True):
        yield [cut_out(np.ascontiguousarray(image), cells)]


@torch.no_grad()
def _taps(trunk: EfficientNetLite, images: NDArray[np.uint8]) -> list[torch.Tensor]:
    """The taps of all images, standardized."""
    device = next(trunk.parameters()).device
    levels: list[list[torch.Tensor]] = []
    for start in range(0, len(images), CHUNK):
        batch = lite_tensor(np.ascontiguousarray(images[start : start + CHUNK]), str(device))
        levels.append([tap.cpu() for tap in trunk(batch).values()])
    scaled = []
    for level in zip(*levels, strict=True):
        tap = torch.cat(level)
        mean, deviation = tap.mean((0, 2, 3), keepdim=True), tap.std((0, 2, 3), keepdim=True).clamp(min=1e-6)
        scaled.append((tap - mean) / deviation)
    return scaled


def combine_taps(taps: Sequence[torch.Tensor]) -> NDArray[np.float32]:
    """Standardized taps (N, C, h, w) on the grid of the first, every tap of the same weight, smoothed; (N, h, w, C)."""
    grid = taps[0].shape[2:]
    large = [
        functional.interpolate(tap / tap.shape[1] ** 0.5, grid, mode="bilinear", align_corners=False) for tap in taps
    ]
    smooth = functional.avg_pool2d(torch.cat(large, 1), 3, 1, 1, count_include_pad=False)
    return smooth.permute(0, 2, 3, 1).contiguous().numpy()
