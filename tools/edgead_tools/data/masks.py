"""Where the defects are, as drawn by whoever made the data set.

Masks come as 0/255 (MVTec AD), as 0 and one gray value a file (MVTec LOCO), as small class numbers (VisA), or
as 0/255 with the blurred edges of a lossy format (magnetic tiles). One rule reads them all: a pixel is defect
when it is above 127 (half of the scale), or, in a file that has nothing above that, above 0.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgead.errors import DataError
from edgead.images import decode, read_file, read_image
from edgead.types import Mask
from edgead_tools.data.samples import Sample


def read_mask(sample: Sample, height: int | None = None, width: int | None = None) -> Mask:
    """The union of a sample's masks, (H, W) bool, at the masks' own size or bilinearly at (height, width).

    A good sample has an empty mask, of the image's own size when none is given. Raises DataError when an
    anomalous sample has no mask, when its masks differ in size, or when one cannot be read.
    """
    if not sample.masks and not sample.is_good:
        raise DataError(f"{sample.path} is anomalous ('{sample.label}') and has no mask")
    if sample.masks:
        mask = _union(sample)
    elif height and width:
        return np.zeros((height, width), np.bool_)
    else:
        return np.zeros(read_image(sample.path).shape[:2], np.bool_)
    if height and width and mask.shape != (height, width):
        coverage = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        mask = np.asarray(coverage >= 0.5)  # a line one pixel wide survives halving
    return mask


def _union(sample: Sample) -> Mask:
    union = _read(sample.masks[0])
    for path in sample.masks[1:]:
        mask = _read(path)
        if mask.shape != union.shape:
            raise DataError(f"{path} is {mask.shape[1]}x{mask.shape[0]} and {sample.masks[0]} is another size")
        union |= mask
    return union


def _read(path: Path) -> Mask:
    values = decode(read_file(path), path).max(axis=2)  # colors of a palette count too
    if values.dtype.kind != "u":
        raise DataError(f"{path} is no mask: its pixels are {values.dtype}, not 8 or 16 bit")
    half = np.iinfo(values.dtype).max // 2
    return np.asarray(values > (half if values.max() > half else 0))
