"""Divides maps of cells into regions that have patches of their own: parts of a picture, or the tiles of a frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

MARGIN = 1  # cells by which a region's patches reach beyond it


@dataclass(frozen=True, slots=True)
class Layout:
    """How a picture is divided: regions from top to bottom and from left to right, of as many cells each."""

    rows: int
    columns: int

    @classmethod
    def dividing(cls, height: int, width: int) -> Layout:
        """At most 4 x 4 regions that divide so many cells evenly."""
        rows, columns = (next(count for count in (4, 3, 2, 1) if side % count == 0) for side in (height, width))
        return cls(rows, columns)

    @property
    def regions(self) -> int:
        return self.rows * self.columns

    def gather(self, cells: Tensor) -> Tensor:
        """(B, D, h, w) as (B, regions, h w / regions, D)."""
        _, channels, height, width = cells.shape
        h, w = height // self.rows, width // self.columns
        split = cells.reshape(-1, channels, self.rows, h, self.columns, w)
        return split.permute(0, 2, 4, 3, 5, 1).reshape(-1, self.regions, h * w, channels)

    def scatter(self, values: Tensor, height: int, width: int) -> Tensor:
        """(B, regions, h w / regions) as (B, h, w), the inverse of `gather`."""
        h, w = height // self.rows, width // self.columns
        return values.reshape(-1, self.rows, self.columns, h, w).permute(0, 1, 3, 2, 4).reshape(-1, height, width)

    def surroundings(self, cells: Tensor) -> Iterator[Tensor]:
        """The rows (M, D) of every region and of `MARGIN` cells around it, of all pictures (N, D, h, w)."""
        height, width = cells.shape[2:]
        h, w = height // self.rows, width // self.columns
        for top in range(0, height, h):
            for left in range(0, width, w):
                across = slice(max(0, left - MARGIN), left + w + MARGIN)
                part = cells[:, :, max(0, top - MARGIN) : top + h + MARGIN, across]
                yield part.permute(0, 2, 3, 1).reshape(-1, cells.shape[1])


@dataclass(frozen=True, slots=True)
class TileLayout(Layout):
    """Frames in tiles: every tile of `rows` x `columns` is a region. A batch holds whole frames."""

    def gather(self, cells: Tensor) -> Tensor:
        """(B, D, h, w) as (B / regions, regions, h w, D)."""
        return cells.flatten(2).transpose(1, 2).reshape(-1, self.regions, cells[0, 0].numel(), cells.shape[1])

    def scatter(self, values: Tensor, height: int, width: int) -> Tensor:
        """(B / regions, regions, h w) as (B, h, w), the inverse of `gather`."""
        return values.reshape(-1, height, width)

    def surroundings(self, cells: Tensor) -> Iterator[Tensor]:
        """The rows (M, D) of every tile, of all frames (N regions, D, h, w)."""
        for index in range(self.regions):
            yield cells[index :: self.regions].permute(0, 2, 3, 1).reshape(-1, cells.shape[1])


def circle(height: int, width: int) -> Tensor:
    """Which cells (h, w) lie within the largest circle around the center, and at least the innermost."""
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    return x * x + y * y <= max(0.5, (min(height, width) / 2 - 1) ** 2)
