"""The heatmap of `edgead.overlay.tint` on the GPU, over a frame that is there, from a map that is there."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from edgead.bundle.manifest import Thresholds
from edgead.cuda.buffers import TILE, HostDeviceBuffer, blocks
from edgead.cuda.context import CudaContext, Stream, record
from edgead.cuda.frame_buffer import PICTURE
from edgead.cuda.kernels import Kernels
from edgead.overlay import FULL_SCALE, OPACITY
from edgead.types import ImageU8

OVERLAY = np.dtype(  # struct Overlay of overlay.cu
    [
        ("frame", PICTURE),
        ("out", "u8"),
        ("map", "u8"),
        ("palette", "u8"),
        ("rows", "i4"),
        ("columns", "i4"),
        ("center", "f4"),
        ("span", "f4"),
        ("full_scale", "f4"),
        ("opacity", "f4"),
    ]
)


class Overlay:
    """Draws previews of frames of one size, one at a time, from raw maps of one grid."""

    def __init__(
        self, gpu: CudaContext, kernels: Kernels, height: int, width: int, grid: tuple[int, int], thresholds: Thresholds
    ) -> None:
        self._overlay = kernels.get("overlay", "overlay", OVERLAY)
        self._picture = HostDeviceBuffer(gpu, (height, width, 3), np.uint8)
        self._palette = HostDeviceBuffer(gpu, (256, 3), np.uint8)
        levels = np.arange(256, dtype=np.uint8)[:, np.newaxis]
        self._palette.host[...] = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, 0]
        self._record = record(OVERLAY)
        self._record["out"], self._record["palette"] = self._picture.address, self._palette.address
        self._record["rows"], self._record["columns"] = grid
        self._record["center"] = thresholds.pixel_center
        self._record["span"] = thresholds.pixel - thresholds.pixel_center
        self._record["full_scale"], self._record["opacity"] = FULL_SCALE, OPACITY
        self._is_sent = False

    def draw(self, picture: Any, map_address: int, stream: Stream) -> ImageU8:
        """The preview, (height, width, 3) BGR, of one of `FrameBuffer.pictures` or of what `Resize.launch` gives."""
        self.launch(picture, map_address, stream)
        self._picture.download(stream)
        stream.synchronize()
        return self._picture.host.copy()

    def launch(self, picture: Any, map_address: int, stream: Stream) -> None:
        """Draw it and leave it on the device."""
        height, width, _ = self._picture.host.shape
        assert (picture["height"], picture["width"]) == (height, width)
        if not self._is_sent:
            self._palette.upload(stream)
            self._is_sent = True
        self._record["frame"], self._record["map"] = picture, map_address
        stream.launch(self._overlay, blocks(height, width, 1), TILE, self._record)
