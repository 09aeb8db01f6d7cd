"""Divides the picture by looks where no components are found: the composition of the whole image.

Cells are classed by what the trunk sees of them (k-means over good images), the most frequent class is the background,
and how much of each there is in the picture and in its quarters stands in for the areas of components. Nothing is
trained, and the graph needs one 1x1 convolution: the nearest center of a cell q is that with the largest
2 q b - |b|^2, which is linear in q.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.components.classes import BACKGROUND
from edgead_tools.layers.projection import fit_projection, project
from edgead_tools.layers.residual_map import stack_levels
from edgead_tools.layers.standardized import Pair

LOOKS = 16  # classes, the background included
FITTED = 20_000  # cells that k-means sees, at most
STARTS = 3  # of k-means

Batches = Callable[[], Iterable[Pair]]  # standardized taps at 1/8 and 1/16


class LooksHead(nn.Module):
    """Standardized taps at 1/8 (B, F, 2h, 2w) and 1/16 (B, C, h, w) -> logits (B, LOOKS, 2h, 2w)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        """`weight` (LOOKS, F + C) and `bias` (LOOKS,)."""
        super().__init__()
        self.register_buffer("weight", weight[:, :, None, None].float())
        self.register_buffer("bias", bias.float())

    def forward(self, taps: Mapping[int, Tensor], standard: Pair) -> Tensor:
        """`standard` are the taps that are read; all that the trunk gives is not."""
        fine, coarse = standard
        weight, bias = self.get_buffer("weight"), self.get_buffer("bias")
        return functional.conv2d(stack_levels(fine, coarse), weight, bias)


def looks_names() -> tuple[str, ...]:
    """The classes' names, the background first."""
    return (BACKGROUND, *(f"look {number}" for number in range(1, LOOKS)))


@torch.no_grad()
def fit_looks(taps: Batches, seed: int) -> LooksHead:
    """The classes of good images' cells."""
    cells = torch.cat([stack_levels(fine, coarse).half().cpu() for fine, coarse in taps()])
    projection = fit_projection(cells)
    projected = project(cells, projection).permute(0, 2, 3, 1).reshape(-1, len(projection.bias))
    random = np.random.default_rng(seed)
    rows = projected.numpy()[np.sort(random.permutation(len(projected))[:FITTED])]
    found = KMeans(LOOKS, n_init=STARTS, random_state=seed).fit(rows)
    order = np.argsort(-np.bincount(found.labels_, minlength=LOOKS), kind="stable")
    centers = torch.from_numpy(found.cluster_centers_[order].astype(np.float32))
    weight = 2 * centers @ projection.weight
    bias = 2 * centers @ projection.bias - (centers * centers).sum(1)
    return LooksHead(weight, bias)
