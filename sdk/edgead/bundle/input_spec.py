"""The part of the manifest that says how a frame becomes the graph's input, whole or cut into tiles."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgead.types import MOST_TILES

Triple = tuple[float, float, float]


class TileSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a frame is cut: rows x columns tiles of the input's size, each `overlap` pixels over its neighbors.

    Tiles go into the graph as one batch, row by row. Their maps are blended linearly over the overlaps
    (`edgead.ops.tiles`) to one map of the frame.
    """

    rows: int
    columns: int
    overlap: int  # pixels of the input
    apart: bool = False  # the graph knows each tile by its place: a batch holds all tiles of a frame

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1 or not 2 <= self.count <= MOST_TILES:
            raise ValueError(f"{self.columns}x{self.rows} tiles are not 2 to {MOST_TILES}")
        if self.overlap < 0:
            raise ValueError(f"an overlap must be at least 0, not {self.overlap}")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def count(self) -> int:
        """Tiles of a frame."""
        return self.rows * self.columns


class InputSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From a BGR frame to the graph's `image` input: resize, then `pixel * scale + offset` per channel.

    Channels stay in BGR order; the order the network was trained in is folded into its first convolution.
    """

    height: int  # of the graph's input: a frame's, or with `tiles` that of each tile
    width: int
    scale: Triple
    offset: Triple
    bits: int = 16  # a 16-bit image's full scale: 10, 12, 14 or 16 significant bits
    resize: Literal["halve-bilinear"] = "halve-bilinear"  # see edgead.ops.resize
    tiles: TileSpec | None = None  # how a frame is cut after it is resized; None: it is not

    def __post_init__(self) -> None:
        if not (8 <= self.height <= 8192 and 8 <= self.width <= 8192):
            raise ValueError(f"an input of {self.width}x{self.height} is outside 8..8192")
        if self.bits not in (10, 12, 14, 16):
            raise ValueError(f"bits must be 10, 12, 14 or 16, not {self.bits}")
        if self.tiles is not None and 2 * self.tiles.overlap > min(self.height, self.width):
            raise ValueError(f"an overlap of {self.tiles.overlap} is more than half of {self.width}x{self.height}")

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width that a frame is resized to, in pixels: the input's, or of all tiles together."""
        if self.tiles is None:
            return self.height, self.width
        step = self.height - self.tiles.overlap, self.width - self.tiles.overlap
        return self.height + (self.tiles.rows - 1) * step[0], self.width + (self.tiles.columns - 1) * step[1]

    @property
    def batch(self) -> int:
        """Images that the graph is given of a frame: one, or its tiles."""
        return 1 if self.tiles is None else self.tiles.count

    def in_words(self) -> str:
        """The graph's input, and how a frame is cut into such inputs."""
        size = f"{self.width} x {self.height} pixels"
        if self.tiles is None:
            return size
        height, width = self.frame
        over = f", {self.tiles.overlap} of them over the next" if self.tiles.overlap else ""
        return (
            f"{self.tiles.columns} x {self.tiles.rows} tiles of {size}{over}, of frames resized to {width} x {height}"
        )
