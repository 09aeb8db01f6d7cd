"""A memory of good patches inside the graph: how far each cell is from the most similar patch of a good part.

The idea is PatchCore's (Roth et al., arXiv 2106.08265): features of a pretrained network, a greedy choice of k centers
among those of good images, the distance to the nearest. Here it costs one matrix product and a minimum, of static
shapes: taps are pooled to 1/16, standardized per channel over good images and projected to their principal components,
and |q - b|^2 = |q|^2 + min_k(|b_k|^2 - 2 q b_k) is a product with [q, 1].

Where parts lie still, every region of the picture has patches of its own (`Layout`): a cell is compared with as many
patches as before, but with those of its surroundings, so that the memory as a whole holds many more. Whether they do
is found out from good images: with regions, images of other folds must not be farther away than without. Of frames in
tiles every tile is such a region, which a graph knows by its place in the batch (`TileLayout`).

A patch that no image of another fold comes near to costs what it lies beyond the others: a part that looks like nothing
but one good image is believed less than one that looks like several, so that a defective image among the good ones
does not make its defect a good part's (in the spirit of SoftPatch, Jiang et al., arXiv 2403.14233).

Several bad parts of one kind come near each other, and each would hide the others. So the strangest images are left out
together once more: those that do not belong to the tail of the others then (`tails.find_outliers`) keep the distances
that they have without one another, and their patches cost as much. So do pictures that are strange as a whole
(`image_statistics.find_strange_pictures`). They are reported as outliers, for a person to look at.

Distances are judged by what is usual of images that the memory did not hold: their mean and spread over other folds,
of each cell where parts lie still (`residual_map.usual_at_cells`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgead_calibration.tails import MOST_OUTLIERS, find_outliers
from edgead_tools.layers.patches import Patches, as_product, choose_patches, distances_to, nearest, take
from edgead_tools.layers.projection import Projection, fit_projection, project
from edgead_tools.layers.regions import Layout, TileLayout, circle
from edgead_tools.layers.residual_map import trust, usual_at_cells

SHARED = 2  # times as many patches are held where regions are not told apart
SHARED_BY_TILES = 4  # the same of frames in tiles, which show more different places
STILL = 1.05  # largest ratio of distances with regions to those without, of parts that lie still
STILL_IN_TILES = 0.8  # the same of tiles: a memory of each wants all of a frame at once, which takes memory on a CPU
COMMON = 0.99  # quantile of distances to other folds from which on a patch costs something
COMPARED = 1024  # patches with which turned images are compared
# Of the mean squared length: the least spread of distances. FP32 resolves a squared distance to 1e-6 of the length,
# which in units of the spread of frames that hardly differ (2e-5 was seen) is more than any engine may differ by.
NARROWEST = 1e-3
HIGHEST = 3  # cells whose mean says how far a picture is


class MemoryMap(nn.Module):
    """Cells (B, C, h, w) -> a map (B, h, w): 0 is usual of good parts that the memory does not hold, 1 one standard
    deviation above it."""

    weight: Tensor
    bias: Tensor
    patches: Tensor
    usual: Tensor
    spread: Tensor

    def __init__(self, projection: Projection, patches: Patches, layout: Layout, usual: Tensor, spread: Tensor) -> None:
        """`usual` and `spread` (h, w), of squared distances, or (T, h, w) of those of the tiles of a frame."""
        super().__init__()
        weight, bias = projection
        self.layout = layout
        self.register_buffer("weight", torch.cat([weight, torch.zeros_like(weight[:1])])[:, :, None, None])
        self.register_buffer("bias", torch.cat([bias, torch.ones_like(bias[:1])]))  # the constant after the components
        self.register_buffer("patches", as_product(patches))
        self.register_buffer("usual", usual.float())
        self.register_buffer("spread", spread.float())

    def distances(self, cells: Tensor) -> Tensor:
        """Squared distances to the nearest patch, (B, h, w)."""
        query = functional.conv2d(cells, self.weight, self.bias)
        height, width = cells.shape[2:]
        return self.layout.scatter(nearest(self.layout.gather(query), self.patches), height, width)

    def forward(self, cells: Tensor) -> Tensor:
        return judge_cells(self.distances(cells), self.usual, self.spread)


@dataclass(frozen=True, slots=True, eq=False)
class FittedMemory:
    """The memory of all good images, and what it says of those that it would not have held."""

    map: MemoryMap
    first: MemoryMap  # the memory without the images of the first fold
    left_out: Tensor  # (N, h, w): every good image's map by a memory without its fold
    strange: Tensor  # indices of images that are believed less
    still: float  # distances with regions, as a share of those without

    @property
    def group(self) -> int:
        """Images of a batch that belong together: the tiles of a frame, where they are told apart."""
        return self.map.layout.regions if isinstance(self.map.layout, TileLayout) else 1


def pool_taps(fine: Tensor, coarse: Tensor) -> Tensor:
    """Both levels at 1/16: (B, F, 2h, 2w) and (B, C, h, w) give (B, F + C, h, w)."""
    return torch.cat([functional.avg_pool2d(fine, 2), coarse], 1)


def average_taps(coarse: Tensor) -> Tensor:
    """The level at 1/16 averaged over 3 x 3 cells: what surrounds a cell. Beyond the edge are zeros, which tells cells
    at the edge from others."""
    return functional.avg_pool2d(coarse, 3, 1, 1)


def judge_cells(values: Tensor, usual: Tensor, spread: Tensor) -> Tensor:
    """(B, h, w) in spreads from what is usual of the cell, (h, w), or of each tile's, (T, h, w)."""
    if usual.ndim == 2:
        return (values - usual) / spread
    by_tile = values.reshape(-1, *usual.shape)
    return ((by_tile - usual) / spread).reshape(-1, *usual.shape[1:])


@torch.no_grad()
def fit_memory_map(
    cells: Tensor,
    count: int,
    folds: Sequence[Tensor],
    *,
    images: int | None = None,
    places: bool | None = None,
    seed: int = 0,
    tiles: int = 1,
    doubts: bool = False,
    divided: Sequence[Tensor] = (),
    suspects: Tensor | None = None,
) -> FittedMemory:
    """The memory of good images' cells (N, C, h, w) with `count` patches for each region.

    `folds` are the indices of images that are left out together, every image in one of them. Where `cells` are more
    than `images`, those after them are turned copies of the same images in the same order, as often as they go.
    `places` says whether regions and cells are told apart; None finds it out. Of frames in `tiles` each tile is a
    region. With `doubts` strange images are found, by other folds where `folds` are whole groups of images of one part:
    such as are `divided` hold some of every group, which tells strange ones better. `suspects` are indices of images,
    at most `tails.MOST_OUTLIERS` of them, that are strange by something else.
    """
    images = len(cells) if images is None else images
    folds, divided = ([with_copies(fold, images, len(cells)) for fold in some] for some in (folds, divided))
    generator = torch.Generator().manual_seed(seed)
    projection = fit_projection(cells)
    projected = project(cells, projection)
    apart = Layout.dividing(*cells.shape[2:]) if tiles == 1 else TileLayout(tiles, 1)
    shared = (SHARED if tiles == 1 else SHARED_BY_TILES) * count
    layout, still = _choose_layout(projected, apart, (count, shared), folds[-1], places, generator)
    size = count if layout.regions > 1 else shared
    chosen = [choose_patches(projected, layout, size, generator, without=fold) for fold in folds]
    distances = _left_out(projected, layout, [take(projected, patches) for patches in chosen], folds)
    excess = _excess(distances, distances)
    strange = torch.empty(0, dtype=torch.long)
    if doubts:
        if divided:
            others = [choose_patches(projected, layout, size, generator, without=fold) for fold in divided]
            found = _left_out(projected, layout, [take(projected, one) for one in others], divided)
        apart_from = found if divided else distances
        strange, costs = _find_strange(projected, layout, size, images, apart_from, generator, suspects)
        rows = with_copies(strange, images, len(cells))
        excess[rows] = excess[rows].maximum(costs)
    memories = [take(projected, patches, excess) for patches in chosen]
    values = _left_out(projected, layout, memories, folds)[:images].double()
    trusted = torch.isin(torch.arange(images), strange, invert=True)
    usual, spread = _usual(values[trusted], layout, in_places=layout.regions > 1 or places is True)
    spread = spread.clamp(min=NARROWEST * float(projected.square().sum(1).mean()))
    patches = take(projected, choose_patches(projected, layout, size, generator), excess)
    return FittedMemory(
        map=MemoryMap(projection, patches, layout, usual, spread),
        first=MemoryMap(projection, memories[0], layout, usual, spread),
        left_out=judge_cells(values, usual, spread).float(),
        strange=strange,
        still=still,
    )


@torch.no_grad()
def find_places(cells: Tensor, count: int, folds: Sequence[Tensor], *, seed: int = 0) -> tuple[bool, float]:
    """The `places` that `fit_memory_map` finds for itself of whole pictures, and its `FittedMemory.still`."""
    generator = torch.Generator().manual_seed(seed)
    projected = project(cells, fit_projection(cells))
    apart = Layout.dividing(*cells.shape[2:])
    layout, still = _choose_layout(projected, apart, (count, SHARED * count), folds[-1], None, generator)
    return layout.regions > 1, still


def with_copies(fold: Tensor, images: int, rows: int) -> Tensor:
    """The rows of those images and of their turned copies."""
    return torch.cat([fold + start for start in range(0, rows, images)])


def turned_ratio(cells: Tensor, turned: Tensor, fold: Tensor, *, seed: int = 0) -> float:
    """How far turned images are from the patches of upright ones, as a share of how far they were before, within the
    circle into which nothing comes from outside the picture.

    `turned` are the cells of the fold's images, turned, as often as they go; `cells` (N, C, h, w) those of all images.
    """
    generator = torch.Generator().manual_seed(seed)
    projection = fit_projection(cells)
    projected = project(cells, projection)
    layout = Layout(1, 1)
    patches = take(projected, choose_patches(projected, layout, COMPARED, generator, without=fold))
    inside = circle(*cells.shape[2:])
    upright, after = (level(distances_to(some, layout, patches)[:, None, inside]) for some in
                      (projected[fold], project(turned, projection)))  # fmt: skip
    return after / max(upright, 1e-12)


def _left_out(projected: Tensor, layout: Layout, memories: Sequence[Patches], folds: Sequence[Tensor]) -> Tensor:
    """Squared distances (N, h, w) of every image to the memory without its fold."""
    distances = torch.empty(len(projected), *projected.shape[2:])
    for patches, fold in zip(memories, folds, strict=True):
        distances[fold] = distances_to(projected[fold], layout, patches)
    return distances


def _excess(distances: Tensor, of: Tensor) -> Tensor:
    """How far distances lie beyond the common ones of others."""
    count = max(1, round((1 - COMMON) * of.numel()))
    return (distances - of.flatten().topk(count).values[-1]).clamp(min=0)


def _find_strange(
    projected: Tensor,
    layout: Layout,
    size: int,
    images: int,
    distances: Tensor,
    generator: torch.Generator,
    suspects: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Indices of the images, of squared distances (N, h, w), that are outliers once the strangest are left out
    together, `suspects` in any case, and by how much theirs, and after them those of their turned copies, exceed the
    common ones then.

    The strangest look stranger without one another, good ones of a rare kind too. So their number tells something only
    where bad parts show by other means: among the suspects, or before any were left out together."""
    usual, spread = _usual(distances[:images].double(), layout, in_places=layout.regions > 1)
    levels = _highest(judge_cells(distances[:images].double(), usual, spread))
    ranked, known = levels.clone(), torch.empty(0, dtype=torch.long) if suspects is None else suspects
    ranked[known] = torch.inf
    shown = len(known) > 0 or len(find_outliers(levels.numpy())) > 0
    strangest = ranked.topk(max(1, int(MOST_OUTLIERS * images))).indices
    rows = with_copies(strangest, images, len(projected))
    without = take(projected, choose_patches(projected, layout, size, generator, without=rows))
    alone = distances[rows].maximum(distances_to(projected[rows], layout, without))
    levels[strangest] = _highest(judge_cells(alone[: len(strangest)].double(), usual, spread))
    outliers = torch.tensor(find_outliers(levels.numpy(), by_number=shown), dtype=torch.long)
    found = torch.isin(strangest, torch.cat([outliers, known]))
    return strangest[found], _excess(alone, distances)[found.repeat(len(rows) // len(strangest))]


def _highest(maps: Tensor) -> Tensor:
    """The mean of the highest cells of maps (N, h, w), (N,)."""
    return maps.flatten(1).topk(min(HIGHEST, maps[0].numel())).values.mean(1)


def _usual(distances: Tensor, layout: Layout, *, in_places: bool) -> tuple[Tensor, Tensor]:
    """What is usual of distances (N, h, w) and their spread, (h, w), or (T, h, w) where tiles are told apart."""
    if not isinstance(layout, TileLayout):
        share = trust(len(distances)) if in_places else 0.0
        return usual_at_cells(distances.mean(0), (distances * distances).mean(0), share)
    by_tile = distances.reshape(-1, layout.regions, *distances.shape[1:])
    share = trust(len(by_tile))
    pairs = [usual_at_cells(one.mean(0), (one * one).mean(0), share) for one in by_tile.unbind(1)]
    usual, spread = (torch.stack(side) for side in zip(*pairs, strict=True))
    return usual, spread


def _choose_layout(
    projected: Tensor,
    apart: Layout,
    counts: tuple[int, int],
    fold: Tensor,
    places: bool | None,
    generator: torch.Generator,
) -> tuple[Layout, float]:
    """`apart` or no regions, and how far the images of a fold are from the others' patches with regions, as a share of
    how far they are without; 1 where that is not looked at. `counts` are patches with regions, of each, and without."""
    alike = Layout(1, 1)
    if places is not None or apart == alike:
        return (alike if places is False else apart), 1.0
    levels = []
    for layout, size in zip((apart, alike), counts, strict=True):
        patches = take(projected, choose_patches(projected, layout, size, generator, without=fold))
        levels.append(level(distances_to(projected[fold], layout, patches)))
    still = levels[0] / max(levels[1], 1e-12)
    return (apart if still <= (STILL_IN_TILES if isinstance(apart, TileLayout) else STILL) else alike), still


def level(maps: Tensor) -> float:
    """How high maps (N, h, w) usually reach: the median of the mean of their highest cells."""
    return float(_highest(maps).median())
