"""Checks images that other libraries have put on the GPU, waits for them, and fetches them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from edgead.arrays import AnyImage, DeviceImage
from edgead.cuda.context import CudaContext
from edgead.cuda.driver_api import DriverApi
from edgead.errors import DataError, EngineError
from edgead.types import ImageU8

_ORDINAL = 9  # CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL


class DeviceArrays:
    """Images on one GPU, whose context must be current."""

    def __init__(self, gpu: CudaContext) -> None:
        self._gpu, self._api = gpu, DriverApi()

    def wait_for(self, images: Sequence[AnyImage]) -> None:
        """Wait until what they hold is there; nothing for images of the host.

        Raises DataError for one that does not lie on this GPU: to read it would end all work on it.
        """
        there = [image for image in images if isinstance(image, DeviceImage)]
        for image in there:
            for address in (image.address, image.address + image.layout.size - 1):
                self._check(address)
        for stream in {image.stream for image in there if image.stream is not None}:
            self._api.call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def fetch(self, image: DeviceImage) -> ImageU8:
        """The pixels, (H, W, 3) BGR uint8, as they are there now."""
        self.wait_for([image])
        memory = np.empty(image.layout.size, np.uint8)
        target, source = ctypes.c_void_p(memory.ctypes.data), ctypes.c_uint64(image.address)
        self._api.call("cuMemcpyDtoH_v2", target, source, ctypes.c_size_t(memory.size))
        return image.layout.read(memory)

    def _check(self, address: int) -> None:
        ordinal = ctypes.c_int(-1)
        try:
            self._api.call("cuPointerGetAttribute", ctypes.byref(ordinal), _ORDINAL, ctypes.c_uint64(address))
        except EngineError as error:
            raise DataError(f"an image that is said to lie on a GPU is not there, or not all of it: {error}") from error
        if ordinal.value != self._gpu.ordinal:
            raise DataError(
                f"the image lies on GPU {ordinal.value} and GPU {self._gpu.ordinal} judges: copy it there, or choose "
                f"the GPU with device={ordinal.value}"
            )
