"""The disagreement of two streams as a map: whitened, then judged by what is usual at each place.

A residual is the difference between what one stream sees and what the other expects, (B, C, h, w). Its length
means little by itself: channels differ in scale, they are correlated, and edges are harder to predict than flat
ground. Both are learned from good images: a shared covariance of the residuals (Mahalanobis length), and the mean
and the spread of the whitened length at every cell. Few images cannot tell cells apart, so with n images the
statistics of a cell count n / (n + POSITION_IMAGES) and those of all cells together the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

SHRINKAGE = 0.05  # of the covariance towards a multiple of the identity
POSITION_BLUR = 0.5  # sigma of the per-cell statistics, in cells
POSITION_IMAGES = 100  # good images that are worth as much as the assumption that all cells are alike
FLOOR = 1e-6  # of the mean squared residual, under the root

Batches = Callable[[], Iterable[Tensor]]  # gives the same batches at every call


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


def fit_residual_map(residuals: Batches) -> ResidualMap:
    """Fit the statistics to the residuals of good images, in two passes over the batches."""
    mean, whitening = fit_whitening(residuals())
    weight, shift = whitening[:, :, None, None].float(), -(whitening @ mean).float()
    usual, spread = _fit_positions(_length(functional.conv2d(batch, weight, shift)) for batch in residuals())
    return ResidualMap(mean, whitening, usual, spread)


def fit_whitening(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """The mean (C,) and a matrix W (C, C), both float64, with W (x - mean) of unit covariance over all positions.

    W is the inverse of the Cholesky factor of the covariance shrunk towards a multiple of the identity.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for batch in batches:
        rows = batch.permute(0, 2, 3, 1).reshape(-1, batch.shape[1]).double()
        count, total, squares = count + len(rows), total + rows.sum(0), squares + rows.T @ rows
    mean = total / count
    covariance = squares / count - torch.outer(mean, mean)
    identity = torch.eye(len(mean), dtype=torch.float64)
    level = covariance.diagonal().mean().clamp(min=1e-12)
    shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * level * identity
    return mean, torch.linalg.solve_triangular(torch.linalg.cholesky(shrunk), identity, upper=False)


def _fit_positions(maps: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of maps (B, h, w) at every cell, smoothed and shrunk."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for batch in maps:
        batch = batch.double()
        count, total, squares = count + len(batch), total + batch.sum(0), squares + (batch**2).sum(0)
    mean = total / count
    variance = (squares / count - mean**2).clamp(min=0)
    trust = count / (count + POSITION_IMAGES)
    level, spread = mean.mean(), variance.mean() + mean.var(correction=0)  # over all cells, as if they were alike
    usual = trust * _blur(mean) + (1 - trust) * level
    variance = trust * _blur(variance) + (1 - trust) * spread
    return usual, variance.clamp(min=1e-6).sqrt()


def _length(whitened: Tensor) -> Tensor:
    """Root of the mean squared component: (B, C, h, w) -> (B, h, w)."""
    return torch.sqrt((whitened * whitened).mean(1) + FLOOR)


def _blur(statistic: Tensor) -> Tensor:
    """A small separable Gaussian over an (h, w) statistic, edges replicated."""
    offsets = torch.arange(-2, 3, dtype=statistic.dtype)
    kernel = torch.exp(-0.5 * (offsets / POSITION_BLUR) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(statistic[None, None], (2, 2, 2, 2), mode="replicate")
    return functional.conv2d(functional.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])[0, 0]
