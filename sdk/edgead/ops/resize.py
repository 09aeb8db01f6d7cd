"""Turns a frame into the network's input. Resizing is part of the model: training and runtime share this file.

The resize halves by 2x2 means while the frame is at least twice the target in both directions, then
interpolates bilinearly (half-pixel centers). One bilinear step from 1080p to 256 reads 0.4 % of the pixels
and aliases; OpenCV's area average reads them all and costs ten times as much. An odd last row or column of
a frame that is halved takes no part in the means.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.bundle.input_spec import InputSpec
from edgead.errors import DataError
from edgead.ops.nv12 import NV12, check_nv12, nv12_to_bgr
from edgead.ops.tiles import cut_tiles
from edgead.types import ImageU8, Tensor

COLORS = ("bgr", "rgb", *NV12)


def as_image(pixels: NDArray[Any], *, color: str = "bgr", bits: int = 16) -> ImageU8:
    """Check an image and return it as (H, W, 3) BGR uint8, without a copy if it is.

    Accepts (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or uint16. Alpha is dropped; `color` ("bgr" or
    "rgb") says the order of the color channels; `bits` is the full scale of 16-bit pixels. With a `color` of `NV12`
    it accepts (3 H / 2, W) uint8. Raises DataError.
    """
    if not isinstance(pixels, np.ndarray):
        raise DataError(f"an image must be a numpy array, not {type(pixels).__name__}: read it with cv2.imread")
    check_color(color)
    if color in NV12:
        if pixels.dtype != np.uint8:
            raise DataError(f"an NV12 image must be uint8, not {pixels.dtype}")
        return cvt_nv12(pixels, color)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(f"an image must be uint8 (or uint16), not {pixels.dtype}: convert it, scaled to 0..255")
    if pixels.ndim == 2:
        pixels = pixels[:, :, np.newaxis]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or 0 in pixels.shape:
        raise DataError(f"an image must have the shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), not {pixels.shape}")
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=255.0 / (2**bits - 1)).reshape(pixels.shape)
    if pixels.shape[2] == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR))
    if color == "rgb":
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGR))
    return np.asarray(pixels if pixels.shape[2] == 3 else cv2.cvtColor(pixels, cv2.COLOR_BGRA2BGR))


def check_color(color: str) -> None:
    """Raise DataError for an order of channels that is not known here."""
    if color not in COLORS:
        raise DataError(f"color must be 'bgr', 'rgb' or one of {', '.join(NV12)}, not '{color}'")


def cvt_nv12(planes: NDArray[np.uint8], color: str) -> ImageU8:
    """`nv12_to_bgr`, by OpenCV where that has the weights: the numpy form takes twenty times as long."""
    if color == "nv12":
        check_nv12(planes.shape)
        return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_NV12))
    return nv12_to_bgr(planes, NV12[color])


def resize(image: ImageU8, height: int, width: int) -> ImageU8:
    """`image` (H, W, 3) uint8 at (height, width), as the module's docstring defines it."""
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        h, w = image.shape[0] // 2, image.shape[1] // 2
        image = np.asarray(cv2.resize(image[: 2 * h, : 2 * w], (w, h), interpolation=cv2.INTER_AREA))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


def normalize(image: ImageU8, spec: InputSpec, out: Tensor) -> None:
    """Write `pixel * scale + offset` of an image at network size into `out` (3, H, W), in one pass a channel."""
    for channel, plane in enumerate(cv2.split(image)):
        scale, offset = spec.scale[channel], spec.offset[channel]
        cv2.addWeighted(plane, scale, plane, 0.0, offset, dst=out[channel], dtype=cv2.CV_32F)


def to_batch(image: ImageU8, spec: InputSpec) -> Tensor:
    """The network's input for a frame (H, W, 3) BGR uint8: (1, 3, height, width) float32, (T, ...) of its tiles."""
    batch = np.empty((spec.batch, 3, spec.height, spec.width), np.float32)
    for tile, out in zip(cut_tiles(resize(image, *spec.frame), spec), batch, strict=True):
        normalize(tile, spec, out)
    return batch


def to_input(image: ImageU8, spec: InputSpec, out: Tensor | None = None) -> Tensor:
    """The network's input (3, height, width) float32 for one frame (H, W, 3) BGR uint8 that is not cut into tiles,
    written into `out` if given."""
    if out is None:
        out = np.empty((3, spec.height, spec.width), np.float32)
    normalize(resize(image, spec.height, spec.width), spec, out)
    return out
