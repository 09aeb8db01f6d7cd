"""Draws the heatmap of `edgead.overlay.tint` on the GPU, from a frame and a map that are in its memory."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from edgead.bundle.manifest import Thresholds
from edgead.cuda.buffers import TILE, HostDeviceBuffer, blocks
from edgead.cuda.context import CudaContext, Stream, kernel_args
from edgead.cuda.frame_buffer import DEVICE_FRAME
from edgead.cuda.kernels import Kernels
from edgead.overlay import FULL_SCALE, OPACITY
from edgead.types import ImageU8

OVERLAY = np.dtype(  # struct Overlay of overlay.cu
    [
        ("frame", DEVICE_FRAME),
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
        self._preview = HostDeviceBuffer(gpu, (height, width, 3), np.uint8)
        self._palette = HostDeviceBuffer(gpu, (256, 3), np.uint8)
        levels = np.arange(256, dtype=np.uint8)[:, np.newaxis]
        self._palette.host[...] = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[:, 0]
        self._args = kernel_args(OVERLAY)
        self._args["out"], self._args["palette"] = self._preview.address, self._palette.address
        self._args["rows"], self._args["columns"] = grid
        self._args["center"] = thresholds.pixel_center
        self._args["span"] = thresholds.pixel - thresholds.pixel_center
        self._args["full_scale"], self._args["opacity"] = FULL_SCALE, OPACITY
        self._is_sent = False

    def draw(self, frame: Any, map_address: int, stream: Stream) -> ImageU8:
        """The preview, (height, width, 3) BGR, of one of `FrameBuffer.frames` or of what `Resize.launch` gives."""
        self.launch(frame, map_address, stream)
        self._preview.download(stream)
        stream.synchronize()
        return self._preview.host.copy()

    def launch(self, frame: Any, map_address: int, stream: Stream) -> None:
        """Draw it and leave it on the device."""
        height, width, _ = self._preview.host.shape
        assert (frame["height"], frame["width"]) == (height, width)
        if not self._is_sent:
            self._palette.upload(stream)
            self._is_sent = True
        self._args["frame"], self._args["map"] = frame, map_address
        stream.launch(self._overlay, blocks(height, width, 1), TILE, self._args)
