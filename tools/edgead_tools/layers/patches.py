"""The patches that a memory holds of every region, and how far cells are from the nearest of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from edgead_tools.layers.k_centers import k_centers
from edgead_tools.layers.projection import CHUNK
from edgead_tools.layers.regions import Layout, TileLayout

MOST_PATCHES = 8192  # of a region, among which centers are chosen; of a picture without regions eight times as many


class Patches(NamedTuple):
    """The patches of every region, (regions, K, D), projected, and what each adds to a squared distance to it,
    (regions, K)."""

    rows: Tensor
    cost: Tensor


def choose_patches(
    projected: Tensor, layout: Layout, count: int, generator: torch.Generator, *, without: Tensor | None = None
) -> Tensor:
    """Which patches every region holds, of images not in `without`: (regions, K), numbers of cells in the order of
    images, rows and columns. K is at most `count`: of fewer all are taken, repeated up to the others' K."""
    most = MOST_PATCHES if layout.regions > 1 else 8 * MOST_PATCHES
    cells, (height, width) = _rows(projected), projected.shape[2:]
    kept = torch.ones(len(projected), dtype=torch.bool)
    if without is not None:
        kept[without] = False
    numbers = torch.arange(len(cells)).reshape(-1, 1, height, width)[kept]
    regions = []
    for rows in layout.surroundings(numbers):
        some = rows[:, 0]
        if len(some) > most:
            some = some[torch.randperm(len(some), generator=generator)[:most]]
        regions.append(some[k_centers(cells[some], count, generator)])
    size = max(map(len, regions))
    return torch.stack([rows[torch.arange(size) % len(rows)] for rows in regions])


def take(projected: Tensor, chosen: Tensor, excess: Tensor | None = None) -> Patches:
    """The patches of those numbers (regions, K), which cost what `excess` (N, h, w) says of their cells."""
    cost = torch.zeros(chosen.shape) if excess is None else excess.flatten()[chosen]
    return Patches(_rows(projected)[chosen], cost)


def _rows(projected: Tensor) -> Tensor:
    """(N, D, h, w) as (N h w, D)."""
    return projected.permute(0, 2, 3, 1).reshape(-1, projected.shape[1])


def as_product(patches: Patches) -> Tensor:
    """Patches as what [q, 1] is multiplied with, (regions, D + 1, K)."""
    rows, cost = patches
    lengths = (rows * rows).sum(-1) + cost
    return torch.cat([-2 * rows, lengths[:, :, None]], -1).transpose(1, 2).contiguous()


def nearest(query: Tensor, patches: Tensor) -> Tensor:
    """|q|^2 + min_k(|b_k|^2 + cost_k - 2 q b_k) of rows [q, 1]: (B, regions, M, D + 1) to (B, regions, M)."""
    return (query @ patches).amin(-1) + ((query * query).sum(-1) - 1)


def distances_to(projected: Tensor, layout: Layout, patches: Patches) -> Tensor:
    """Squared distances of every cell (N, D, h, w) to the nearest of its region's patches, (N, h, w)."""
    height, width = projected.shape[2:]
    product = as_product(patches)
    query = functional.pad(projected, (0, 0, 0, 0, 0, 1), value=1.0)
    size = layout.regions if isinstance(layout, TileLayout) else CHUNK  # whole frames
    found = [layout.scatter(nearest(layout.gather(some), product), height, width) for some in torch.split(query, size)]
    return torch.cat(found)
