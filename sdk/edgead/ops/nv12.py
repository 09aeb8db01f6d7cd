"""Converts NV12, as video decoders give it: H rows of luma, and below them H / 2 rows of U, V pairs.

What a stream's numbers mean is told beside it: the matrix (BT.601 of SD video and most cameras, BT.709 of HD video) and
the range (limited: luma in 16..235; full: all of 0..255).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError
from edgead.types import ImageU8

SHIFT = 20  # bits after the point


class YuvWeights(NamedTuple):
    """What a level of luma, U and V counts, in 2**-SHIFT. Mirrored in cuda/kernels/frames.cuh."""

    black: int  # the luma of black
    luma: int
    blue_u: int
    green_u: int
    green_v: int
    red_v: int


# By what `color` says of an image, in the order of the kernels' formats. The first is what cv2.COLOR_YUV2BGR_NV12
# computes, whose factors are rounded; the others are ITU-R BT.601 and BT.709.
NV12 = {
    "nv12": YuvWeights(16, 1220542, 2116026, -409993, -852492, 1673527),
    "nv12-full": YuvWeights(0, 1048576, 1858077, -360853, -748826, 1470104),
    "nv12-709": YuvWeights(16, 1220945, 2215014, -223607, -558796, 1879825),
    "nv12-709-full": YuvWeights(0, 1048576, 1945738, -196424, -490864, 1651297),
}


def check_nv12(shape: tuple[int, ...]) -> tuple[int, int]:
    """The height and width of the frame in planes of that shape; raises DataError where they are none."""
    if len(shape) != 2 or 0 in shape or shape[0] % 3 or shape[0] // 3 * 2 % 2 or shape[1] % 2:
        raise DataError(f"an NV12 image must have the shape (3 H / 2, W) with H and W even, not {tuple(shape)}")
    return shape[0] // 3 * 2, shape[1]


def nv12_to_bgr(planes: NDArray[np.uint8], weights: YuvWeights) -> ImageU8:
    """The frame (H, W, 3) BGR uint8 of planes (3 H / 2, W) uint8; raises DataError for another shape."""
    height, width = check_nv12(planes.shape)
    pairs = planes[height:].reshape(height // 2, width // 2, 2).astype(np.int32) - 128
    u, v = np.repeat(np.repeat(pairs, 2, axis=0), 2, axis=1).transpose(2, 0, 1)
    base = np.maximum(planes[:height].astype(np.int32) - weights.black, 0) * weights.luma + (1 << (SHIFT - 1))
    channels = (
        base + weights.blue_u * u,
        base + weights.green_u * u + weights.green_v * v,
        base + weights.red_v * v,
    )
    return np.stack([np.clip(one >> SHIFT, 0, 255).astype(np.uint8) for one in channels], axis=2)
