"""Turns the disagreement of two streams into a map: whitened, then compared with what is usual at each place.

A residual is the difference between what one stream sees and what the other expects, (B, C, h, w). Its length
means little by itself: channels differ in scale, they are correlated, and edges are harder to predict than flat
ground. Both are learned from good images: a shared covariance of the residuals (Mahalanobis length), and the mean
and the spread of the whitened length at every cell. Few images cannot tell cells apart, so the statistics of a cell
count as much as `trust` in their number says and those of all cells together the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgead_tools.layers.moments import Moments, add_sums, means, moments

SHRINKAGE = 0.05  # of the covariance toward a multiple of the identity
POSITION_BLUR = 0.5  # sigma of the per-cell statistics, in cells
TRUSTED = 100  # good images that are worth as much as what is assumed without them
RESOLUTION = 1e-9  # of a variance, against the mean square
FLOOR = 1e-6  # of the mean squared residual, under the root

Batches = Callable[[], Iterable[Sequence[Tensor]]]  # residuals of every level, (B, C, h, w); the same at every call


class ResidualMap(nn.Module):
    """Residuals (B, C, h, w) -> maps (B, h, w): 0 is usual for the cell, 1 one standard deviation above it."""

    whitening: Tensor
    shift: Tensor
    usual: Tensor
    spread: Tensor

    def __init__(self, mean: Tensor, whitening: Tensor, usual: Tensor, spread: Tensor) -> None:
        """`mean` (C,), `whitening` (C, C), `usual` and `spread` (h, w)."""
        super().__init__()
        self.register_buffer("whitening", whitening[:, :, None, None].float())
        self.register_buffer("shift", -(whitening @ mean).float())
        self.register_buffer("usual", usual.float())
        self.register_buffer("spread", spread.float())

    @property
    def channels(self) -> int:
        return len(self.shift)

    def whiten(self, residual: Tensor) -> Tensor:
        """Residuals of unit covariance over good images, (B, C, h, w)."""
        return functional.conv2d(residual, self.whitening, self.shift)

    def rate(self, whitened: Tensor) -> Tensor:
        """The map of residuals that are already whitened."""
        return (_length(whitened) - self.usual) / self.spread

    def forward(self, residual: Tensor) -> Tensor:
        return self.rate(self.whiten(residual))


def trust(images: int) -> float:
    """The share, 0..1, of what was learned from so many good images against what is assumed without them."""
    return images / (images + TRUSTED)


def fit_residual_maps(residuals: Batches) -> list[ResidualMap]:
    """One map for each level of the residuals of good images, in two passes over the batches."""
    rows = ([_rows(level) for level in levels] for levels in residuals())
    whitenings = [_whitening(mean, squares) for _, mean, squares in moments(rows)]
    lengths = (_lengths(levels, whitenings) for levels in residuals())
    places = [_places(*statistics) for statistics in moments(lengths)]
    return [ResidualMap(*whitening, *place) for whitening, place in zip(whitenings, places, strict=True)]


def fit_residual_maps_in_folds(
    residuals: Batches, folds: NDArray[np.intp]
) -> tuple[list[ResidualMap], list[NDArray[np.float32]]]:
    """The same maps in the same two passes, and for each level the maps (N, h, w) that good images get from statistics
    that their own fold has no part in.

    `folds` has the fold of each image in the order of the batches, 0 and up without a gap, at least two.
    """
    models = range(int(folds.max()) + 2)  # the statistics without each fold, and last those over all images
    sums: list[list[Moments]] = [[] for _ in models]
    for members, levels in _with_folds(residuals(), folds):
        for model in models:
            kept = members != model
            sums[model] = add_sums(sums[model], [_rows(level[kept]) for level in levels])
    whitenings = [[_whitening(mean, squares) for _, mean, squares in means(one)] for one in sums]
    sums = [[] for _ in models]
    left_out: list[list[tuple[int, list[Tensor]]]] = []
    for members, levels in _with_folds(residuals(), folds):
        lengths = [_lengths(levels, whitenings[model]) for model in models]
        for model in models:
            kept = members != model
            sums[model] = add_sums(sums[model], [one[kept] for one in lengths[model]])
        left_out.append([(int(fold), [one[row] for one in lengths[int(fold)]]) for row, fold in enumerate(members)])
    places = [[_places(*statistics) for statistics in means(one)] for one in sums]
    maps = [ResidualMap(*whitening, *place) for whitening, place in zip(whitenings[-1], places[-1], strict=True)]
    found = [
        np.stack([_rated(lengths[level], places[fold][level]) for batch in left_out for fold, lengths in batch])
        for level in range(len(maps))
    ]
    return maps, found


def stack_levels(fine: Tensor, coarse: Tensor) -> Tensor:
    """Both levels at the fine one's grid, twice the coarse one's: (B, C, 2h, 2w) and (B, D, h, w) give
    (B, C + D, 2h, 2w). The fine one is averaged over 3x3 cells, which its receptive field overlaps anyway."""
    smooth = functional.avg_pool2d(fine, 3, 1, 1, count_include_pad=False)
    raised = functional.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False)
    return torch.cat([smooth, raised], 1)


def _with_folds(
    batches: Iterable[Sequence[Tensor]], folds: NDArray[np.intp]
) -> Iterable[tuple[NDArray[np.intp], Sequence[Tensor]]]:
    """Every batch with the folds of its images."""
    start = 0
    for levels in batches:
        yield folds[start : start + len(levels[0])], levels
        start += len(levels[0])


def _lengths(levels: Sequence[Tensor], whitenings: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """The whitened length of every level's residuals, (B, h, w) each."""
    weights = [(matrix[:, :, None, None].float(), -(matrix @ mean).float()) for mean, matrix in whitenings]
    return [_length(functional.conv2d(level, *weight)) for level, weight in zip(levels, weights, strict=True)]


def _rated(length: Tensor, place: tuple[Tensor, Tensor]) -> NDArray[np.float32]:
    usual, spread = place
    return np.asarray(((length - usual) / spread).float().cpu().numpy())


def _rows(residual: Tensor) -> Tensor:
    """The vectors at all positions, (B h w, C)."""
    return residual.permute(0, 2, 3, 1).reshape(-1, residual.shape[1])


def _whitening(mean: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (C,) and a matrix W (C, C) with W (x - mean) of unit covariance over all positions.

    W is the inverse of the Cholesky factor of the covariance shrunk toward a multiple of the identity.
    """
    covariance = squares - torch.outer(mean, mean)
    identity = torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
    rounding = RESOLUTION * squares.diagonal().mean()  # what the variance of a still residual may come out as
    level = covariance.diagonal().mean().clamp(min=1e-12).maximum(rounding)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * level * identity
    return mean, torch.linalg.solve_triangular(torch.linalg.cholesky(shrunk), identity, upper=False)


def _places(count: int, mean: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    return usual_at_cells(mean, squares, trust(count))


def usual_at_cells(mean: Tensor, squares: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The usual value and its standard deviation at every cell (h, w), from the mean and the mean of squares there.

    They are smoothed, and `share` (0..1) says how much a cell's own count beside those of all cells together.
    """
    variance = (squares - mean * mean).clamp(min=0)
    level, spread = mean.mean(), variance.mean() + mean.var(correction=0)  # over all cells, as if they were alike
    usual = share * _blur(mean) + (1 - share) * level
    variance = share * _blur(variance) + (1 - share) * spread
    return usual, variance.clamp(min=1e-6).sqrt()


def _length(whitened: Tensor) -> Tensor:
    """Root of the mean squared component: (B, C, h, w) -> (B, h, w)."""
    return torch.sqrt((whitened * whitened).mean(1) + FLOOR)


def _blur(statistic: Tensor) -> Tensor:
    """A small separable Gaussian over an (h, w) statistic, edges replicated."""
    offsets = torch.arange(-2, 3, dtype=statistic.dtype, device=statistic.device)
    kernel = torch.exp(-0.5 * (offsets / POSITION_BLUR) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(statistic[None, None], (2, 2, 2, 2), mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])[0, 0]
