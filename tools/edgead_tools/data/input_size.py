"""Chooses the size of a network's input: as asked for, or with the shape of the images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from statistics import median

from edgead.errors import DataError, UsageError
from edgead_calibration.images import evenly_spaced
from edgead_tools.data.decoded import DecodedImages
from edgead_tools.data.samples import Sample

STEP = 32  # pixels: the coarsest level that a network looks at is 1/32
LEAST = 64
SQUARE = 1.5  # the largest ratio of sides that is squeezed into a square
LOOKED_AT = 16  # images whose shape is looked at, at most


def choose_size(
    asked: tuple[int, int] | None, sides: Sequence[int], samples: Sequence[Sample], decoded: DecodedImages
) -> tuple[int, int]:
    """Height and width of the input: `asked`, or, where None, about side x side pixels in the images' shape.

    That side is the largest of `sides`, or the first of them where images have fewer pixels than it. Images whose sides
    differ by up to `SQUARE` become a square, which costs little and keeps networks comparable; longer ones keep their
    shape in steps of `STEP`. An image that cannot be read has no say.
    """
    if asked is not None:
        return asked
    shapes = [*_shapes(evenly_spaced(samples, LOOKED_AT), decoded)]
    ratio = median([width / height for height, width in shapes] or [1.0])
    pixels = median([height * width for height, width in shapes] or [0])
    side = max(sides) if pixels >= sides[0] ** 2 else sides[0]
    if 1 / SQUARE <= ratio <= SQUARE:
        return side, side
    return _rounded(side / math.sqrt(ratio)), _rounded(side * math.sqrt(ratio))


def check_square(size: tuple[int, int], preset: str) -> None:
    """Raise UsageError where a published model, whose input is a square, is asked for another shape."""
    height, width = size
    if preset == "paper" and height != width:
        raise UsageError(f"the preset 'paper' takes a square input, not {width}x{height}: give --size {width}")


def _shapes(samples: Sequence[Sample], decoded: DecodedImages) -> Iterator[tuple[int, int]]:
    """Height and width of those that can be read."""
    for sample in samples:
        with suppress(DataError):  # the check of all images says so
            height, width, _ = decoded.frame(sample).shape
            yield height, width


def _rounded(pixels: float) -> int:
    return max(LEAST, STEP * round(pixels / STEP))
