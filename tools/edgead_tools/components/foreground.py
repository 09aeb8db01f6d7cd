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

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from torch.nn import functional

from edgead.types import ImageU8, Mask
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.methods.lite import CHUNK, lite_tensor

SAMPLES = 20_000  # cells that are clustered
CLUSTERS = 8
MAJORITY = 0.5  # of all cells: the clusters that are ground for sure cover at least as many
CONTRAST = 3.0  # of an item against the ground, in deviations of the ground's own color
NOISE = 3.0  # gray levels: the least deviation of a ground's color
NEAR, FAR = 0.04, 0.16  # of the side: how far around a pixel the ground is looked at, and where there is none so near
DISTRUST = 1e-3  # weight of ground that is far against ground that is near
COARSER = 4
Cells = NDArray[np.bool_]  # (h, w)


def find_ground(trunk: EfficientNetLite, images: NDArray[np.uint8], seed: int) -> NDArray[np.bool_]:
    """Which cells are ground, (N, H/4, W/4), in images (N, H, W, 3) uint8 BGR; taps at 1/4, 1/8 and 1/16."""
    features = _features(trunk, images)
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
    return np.isin(found, order[before < MAJORITY]).reshape(count, height, width)


def cut_out(image: ImageU8, ground: Cells) -> Mask:
    """Which pixels of an image (H, W, 3) are items, (H, W), given which cells are ground for sure."""
    height, width = image.shape[:2]
    colors = cv2.cvtColor(cv2.GaussianBlur(image, (3, 3), 0), cv2.COLOR_BGR2LAB).astype(np.float32)
    sure = _enlarged(cv2.erode(ground.astype(np.uint8), np.ones((3, 3), np.uint8)), height, width)
    open_to_doubt = _enlarged(cv2.dilate((~ground).astype(np.uint8), np.ones((3, 3), np.uint8)), height, width) > 0
    if not sure.any():
        return np.zeros((height, width), np.bool_)
    weight = sure.astype(np.float32)
    away = colors - _mean_around(colors, weight)
    spread = np.sqrt((away**2 * weight[:, :, None]).sum((0, 1)) / weight.sum())
    distance = np.sqrt(((away / np.maximum(spread, NOISE)) ** 2).mean(axis=2))
    items = ((distance > CONTRAST) & open_to_doubt).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    cleaned = cv2.morphologyEx(cv2.morphologyEx(items, cv2.MORPH_CLOSE, kernel), cv2.MORPH_OPEN, kernel)
    return np.asarray(cleaned > 0)


def propose(trunk: EfficientNetLite, images: NDArray[np.uint8], seed: int) -> Iterable[list[Mask]]:
    """For each image one mask of everything that is no ground; refining it splits it into items."""
    for image, cells in zip(images, find_ground(trunk, images, seed), strict=True):
        yield [cut_out(np.ascontiguousarray(image), cells)]


@torch.no_grad()
def _features(trunk: EfficientNetLite, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The taps on the grid of the first, standardized, every tap of the same weight; (N, h, w, C)."""
    device = next(trunk.parameters()).device
    levels: list[list[torch.Tensor]] = []
    for start in range(0, len(images), CHUNK):
        batch = lite_tensor(np.ascontiguousarray(images[start : start + CHUNK]), str(device))
        levels.append([tap.cpu() for tap in trunk(batch).values()])
    stacked = [torch.cat(level) for level in zip(*levels, strict=True)]
    grid = stacked[0].shape[2:]
    scaled = []
    for tap in stacked:
        mean, deviation = tap.mean((0, 2, 3), keepdim=True), tap.std((0, 2, 3), keepdim=True).clamp(min=1e-6)
        level = (tap - mean) / deviation / tap.shape[1] ** 0.5
        scaled.append(functional.interpolate(level, grid, mode="bilinear", align_corners=False))
    smooth = functional.avg_pool2d(torch.cat(scaled, 1), 3, 1, 1, count_include_pad=False)
    return smooth.permute(0, 2, 3, 1).contiguous().numpy()


def _mean_around(colors: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean color of the ground around every pixel, from further away where there is none near.

    It changes slowly, so it is computed on a quarter of the pixels each way.
    """
    height, width = weight.shape
    small = (max(1, width // COARSER), max(1, height // COARSER))
    both = np.concatenate([colors * weight[:, :, None], weight[:, :, None]], axis=2)
    shrunk = cv2.resize(both, small, interpolation=cv2.INTER_AREA)
    near, far = (cv2.GaussianBlur(shrunk, (0, 0), radius * max(small)) for radius in (NEAR, FAR))
    total = near + DISTRUST * far
    mean = total[:, :, :3] / np.maximum(total[:, :, 3:], 1e-9)
    return np.asarray(cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _enlarged(cells: Any, height: int, width: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
