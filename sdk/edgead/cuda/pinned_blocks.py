"""Page-locks the blocks of frame pools, so that the GPU copies from them by itself, or reads them where they are.

The driver locks memory once for all contexts of a process, and refuses a second time: so what an engine has locked
serves every other engine, and is unlocked by the last one. The memory itself is the pools' and outlives engines.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import weakref
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead.cuda.context import CudaContext
from edgead.cuda.driver_api import DriverApi
from edgead.errors import EngineError
from edgead.frame_pool import Block

MOST = 64  # blocks of an engine
MOST_READ = 16  # where the GPU reads them in place: each has a CUDA graph of its own
_PORTABLE, _MAPPED = 1, 2  # CU_MEMHOSTREGISTER_PORTABLE, CU_MEMHOSTREGISTER_DEVICEMAP
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Locked:
    """Memory that is page-locked."""

    memory: NDArray[np.uint8]  # held as long as it is
    block: weakref.ref[Block]
    engines: int = 0  # that use it


_locked: dict[int, _Locked] = {}  # by the number of the block
_lock = threading.Lock()


class PinnedBlocks:
    """The blocks that one engine has seen. The GPU's context must be current."""

    def __init__(self, gpu: CudaContext) -> None:
        self._most = MOST_READ if gpu.is_integrated else MOST
        self._api = DriverApi()
        self._mine: dict[int, int] = {}  # the number of a block, and where the GPU reads it (0 where it only copies)
        self._is_mapped = gpu.is_integrated
        self._is_refused = False
        gpu.on_close(self._release)

    def address(self, block: Block) -> int | None:
        """Where the GPU reads a block, 0 where it can only copy from it; None where it can do neither."""
        if block.number in self._mine:
            return self._mine[block.number]
        if self._is_refused:
            return None
        self._forget_dead()
        if len(self._mine) >= self._most:
            return None
        try:
            self._page_lock(block)
        except EngineError as error:
            self._is_refused = True
            _log.info("frames are copied before they are uploaded: their memory cannot be page-locked (%s)", error)
            return None
        return self._mine[block.number]

    def _page_lock(self, block: Block) -> None:
        start = ctypes.c_void_p(block.memory.ctypes.data)
        with _lock:
            if block.number not in _locked:
                size = ctypes.c_size_t(block.memory.nbytes)
                self._api.call("cuMemHostRegister_v2", start, size, _PORTABLE | _MAPPED)
                _locked[block.number] = _Locked(block.memory, weakref.ref(block))
            _locked[block.number].engines += 1
        self._mine[block.number] = 0
        if not self._is_mapped:
            return
        address = ctypes.c_void_p()
        try:
            self._api.call("cuMemHostGetDevicePointer_v2", ctypes.byref(address), start, 0)
        except EngineError:
            self._unlock(block.number)
            raise
        self._mine[block.number] = int(address.value or 0)

    def _forget_dead(self) -> None:
        """Unlock what no pool has any more."""
        for number in [number for number in self._mine if (one := _locked.get(number)) is None or one.block() is None]:
            self._unlock(number)

    def _unlock(self, number: int) -> None:
        del self._mine[number]
        with _lock:
            one = _locked[number]
            one.engines -= 1
            if one.engines == 0:
                del _locked[number]
                with suppress(EngineError):  # after a fault of the GPU nothing can be, and all of it is
                    self._api.call("cuMemHostUnregister", ctypes.c_void_p(one.memory.ctypes.data))

    def _release(self) -> None:
        for number in list(self._mine):
            self._unlock(number)
