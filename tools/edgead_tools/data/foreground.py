"""Reads the foreground as drawn by a person: white counts, black does not, and gray is one of the two."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError
from edgead.images import read_area
from edgead.ops import resize
from edgead.stream.roi import SMALLEST

TOLERANCE = 0.01  # of the aspect ratio: a mask drawn on a smaller copy of an image may be off by a pixel

Foreground = NDArray[np.uint8]  # (H, W)


def read_foreground(path: Path, frame_size: tuple[int, int]) -> Foreground:
    """A mask image for frames of (H, W), 255 where it is painted in a gray level of 128 or more, else 0.

    Raises DataError where it cannot be read, has not the shape of the frames, or has nothing painted.
    """
    mask = read_area(path)
    (height, width), (frame_height, frame_width) = mask.shape, frame_size
    if abs(width * frame_height / (height * frame_width) - 1) > TOLERANCE:
        raise DataError(
            f"the mask {path} has {width}x{height} pixels and the images have {frame_width}x{frame_height}: "
            "draw it on one of them"
        )
    if not mask.any():
        raise DataError(f"the mask {path} is all black, so nothing would be judged: paint white what counts")
    return mask


def shrink_foreground(mask: Foreground, height: int, width: int) -> Foreground:
    """The mask on a grid of (height, width) cells, shrunk as the frames are (`edgead.ops.resize`).

    Raises DataError where what is white in it is too small to be seen there.
    """
    cells = resize(np.ascontiguousarray(cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR)), height, width)[:, :, 0]
    if cells.max() < SMALLEST:
        raise DataError("what is white in the mask is smaller than a cell of the map: paint more of it")
    return np.ascontiguousarray(cells)
