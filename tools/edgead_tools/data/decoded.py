"""Decodes the images of a build once: what was decoded stays in memory while it fits into a limit."""

from __future__ import annotations

from threading import Lock
from typing import Any

from numpy.typing import NDArray

from edgead.images import decode, read_file, to_bgr
from edgead.types import ImageU8
from edgead_tools.data.samples import Sample

LIMIT = 256 << 20  # bytes of pixels


class DecodedImages:
    """Images by sample. The first that fit into `limit` bytes are kept; others are decoded whenever they are asked for.

    Threads may share it, as long as no two ask for the same sample.
    """

    def __init__(self, bits: int = 16, limit: int | None = None) -> None:
        """`bits` is the full scale of 16-bit files; `limit` is `LIMIT` where it is None."""
        self._bits, self._left = bits, LIMIT if limit is None else limit
        self._pixels: dict[Sample, NDArray[Any]] = {}
        self._lock = Lock()

    def pixels(self, sample: Sample, raw: bytes | None = None) -> NDArray[Any]:
        """The image in its file's own depth, (H, W) or (H, W, C), read-only; `raw` are the file's bytes where they are
        at hand. Raises DataError."""
        if (known := self._pixels.get(sample)) is not None:
            return known
        pixels = decode(read_file(sample.path) if raw is None else raw, sample.path)
        pixels.flags.writeable = False
        with self._lock:
            if pixels.nbytes <= self._left:
                self._left -= pixels.nbytes
                self._pixels[sample] = pixels
        return pixels

    def frame(self, sample: Sample) -> ImageU8:
        """The image as a camera would give it, (H, W, 3) BGR uint8, not to be written to. Raises DataError."""
        return to_bgr(self.pixels(sample), sample.path, bits=self._bits)
