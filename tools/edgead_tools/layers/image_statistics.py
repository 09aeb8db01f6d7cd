"""The picture as a whole: are the means and deviations of its features those of good parts?

Every channel's mean and deviation over all cells, at every level it is given, make one vector for a picture. Its
Mahalanobis distance from good pictures finds what no single cell shows: another batch of material, a part that is worn
all over. The covariance of so many numbers from few pictures is shrunk toward a multiple of the identity as much as the
number of pictures asks for (oracle approximating shrinkage: Chen et al., IEEE TSP 58(10), 2010, equation 23). Distances
are judged by what is usual of pictures that the statistics were not fitted to.

Bad pictures among the good ones show best here where parts have many looks, but draw mean and covariance toward
themselves. So the strangest are left out together before distances are compared (a concentration step of Rousseeuw and
Van Driessen's fast MCD, 1999, out of fold): `find_strange_pictures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgead_calibration.tails import MOST_OUTLIERS, find_outliers

VARIANCE = 1e-6  # added under the root of every deviation
NARROWEST = 1e-3  # the least spread of distances


class ImageStatistics(nn.Module):
    """Taps (B, C, h, w) of any number of levels -> (B, 1, 1): 0 is usual, 1 one standard deviation above it."""

    mean: Tensor
    factor: Tensor

    def __init__(self, mean: Tensor, factor: Tensor, usual: float, spread: float) -> None:
        """`mean` (V,) of the vectors, or (T, V) of those of each tile of a frame; `factor` (V, V) with
        |(v - mean) factor| their distance."""
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("factor", factor.float())
        self.usual, self.spread = usual, spread

    def forward(self, *taps: Tensor) -> Tensor:
        distance = _distance(image_descriptor(*taps), self.mean, self.factor)
        return ((distance - self.usual) / self.spread)[:, None, None]


@dataclass(frozen=True, slots=True, eq=False)
class FittedStatistics:
    """The statistics of all good pictures, and what they say of those that they would not have been fitted to."""

    statistics: ImageStatistics
    left_out: Tensor  # (N,)


def image_descriptor(*taps: Tensor) -> Tensor:
    """Mean and deviation of every channel of every level, (B, V)."""
    parts = []
    for level in taps:
        mean = level.mean((2, 3), keepdim=True)
        away = level - mean
        parts += [mean[:, :, 0, 0], ((away * away).mean((2, 3)) + VARIANCE).sqrt()]
    return torch.cat(parts, 1)


@torch.no_grad()
def find_strange_pictures(vectors: Tensor, folds: Sequence[Tensor], *, images: int | None = None) -> Tensor:
    """Indices of the pictures, of vectors (N, V), that are outliers (`tails.find_outliers`) once the strangest are left
    out together. Arguments are as `fit_image_statistics` takes them."""
    images = len(vectors) if images is None else images
    vectors = vectors.double()
    first = _left_out(vectors, folds, images)
    strangest = first.topk(int(MOST_OUTLIERS * images)).indices
    return torch.tensor(find_outliers(_left_out(vectors, folds, images, without=strangest).numpy()), dtype=torch.long)


@torch.no_grad()
def fit_image_statistics(
    vectors: Tensor,
    folds: Sequence[Tensor],
    tiles: int = 1,
    *,
    images: int | None = None,
    without: Tensor | None = None,
) -> FittedStatistics:
    """The statistics of good pictures' vectors (N, V); `folds` are indices of pictures that are left out together, and
    `without` those of pictures that are believed nowhere.

    With `tiles` above 1 each tile of a frame has a mean of its own, and all share the covariance around their means.
    Where vectors are more than `images`, those after them are of turned copies, in the same order again and again.
    """
    images = len(vectors) if images is None else images
    vectors = vectors.double()
    distances, kept = _left_out(vectors, folds, images, tiles, without), _all_but(images, without)
    usual, spread = float(distances[kept].median()), max(NARROWEST, float(distances[kept].std(correction=0)))
    statistics = ImageStatistics(*_gaussian(_rows(vectors, kept), int(kept.sum()), tiles), usual, spread)
    return FittedStatistics(statistics, ((distances - usual) / spread).float())


def _left_out(
    vectors: Tensor, folds: Sequence[Tensor], images: int, tiles: int = 1, without: Tensor | None = None
) -> Tensor:
    """The distance (N,) of every picture from those of other folds, `without` some."""
    distances = torch.empty(images, dtype=torch.float64)
    for fold in folds:
        kept = _all_but(images, without)
        kept[fold] = False
        distances[fold] = _distance(vectors[fold], *_gaussian(_rows(vectors, kept), int(kept.sum()), tiles))
    return distances


def _all_but(images: int, without: Tensor | None) -> Tensor:
    kept = torch.ones(images, dtype=torch.bool)
    if without is not None:
        kept[without] = False
    return kept


def _rows(vectors: Tensor, kept: Tensor) -> Tensor:
    """The vectors of those pictures and of their turned copies."""
    return vectors[kept.repeat(len(vectors) // len(kept))]


def _distance(vectors: Tensor, mean: Tensor, factor: Tensor) -> Tensor:
    """Root of the mean squared whitened component, (N,)."""
    away = vectors - mean if mean.ndim == 1 else (vectors.reshape(-1, *mean.shape) - mean).reshape(-1, mean.shape[1])
    whitened = away @ factor
    return (whitened * whitened).mean(1).sqrt()


def _gaussian(vectors: Tensor, images: int, tiles: int) -> tuple[Tensor, Tensor]:
    """The mean (V,), or (T, V) of each tile, and a factor (V, V) that whitens, of entries that are standardized first;
    vectors of so many images, turned copies of which say little more."""
    count, size = vectors.shape
    by_tile = vectors.reshape(-1, tiles, size)
    mean = by_tile.mean(0)
    away = (by_tile - mean).reshape(count, size)
    deviation = (away * away).mean(0).sqrt().clamp(min=1e-6)
    standard = away / deviation
    covariance = standard.T @ standard / count
    share = shrinkage(covariance, images)
    identity = torch.eye(size, dtype=vectors.dtype)
    shrunk = (1 - share) * covariance + share * covariance.diagonal().mean().clamp(min=1e-6) * identity
    inverse = torch.linalg.inv(torch.linalg.cholesky(shrunk)).T
    return mean if tiles > 1 else mean[0], inverse / deviation[:, None]


def shrinkage(covariance: Tensor, count: int) -> float:
    """The share, 0..1, of the multiple of the identity in the covariance of so many vectors."""
    size = len(covariance)
    trace, squares = float(covariance.trace()), float((covariance * covariance).sum())
    above = (1 - 2 / size) * squares + trace**2
    below = (count + 1 - 2 / size) * (squares - trace**2 / size)
    return 1.0 if below <= 0 else min(1.0, above / below)
