"""Lends memory for frames that is used again and again, so that no frame costs new pages of the system.

A camera has a pool, and its source decodes into arrays of that (`FramePool.empty`). A block comes back when nobody
knows its array any more; where all are out a new array is an ordinary one. Blocks begin at a page and stay where they
are, so that an engine on a GPU can have them page-locked and copy from them without a copy of its own (`block_of`,
`edgead.cuda.pinned_blocks`).
"""

from __future__ import annotations

import itertools
import math
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_BLOCKS = 8  # of one camera: what waits, is judged, and is written by sinks
MOST_BYTES = 256 << 20  # of all of them
PAGE = 4096
_NUMBERS = itertools.count()


class Block:
    """Whole pages of memory."""

    def __init__(self, size: int) -> None:
        pages = -(-size // PAGE) * PAGE
        whole = np.empty(pages + PAGE, np.uint8)
        start = -whole.ctypes.data % PAGE
        self.number = next(_NUMBERS)  # no other has it, ever
        self.memory: NDArray[np.uint8] = whole[start : start + pages]


class _Lease:
    """Holds a block for an array and everything that looks into it."""

    def __init__(self, block: Block, shape: tuple[int, ...], give_back: Callable[[Block], None]) -> None:
        self.block, self._give_back = block, give_back
        self.__array_interface__: dict[str, Any] = {
            "shape": shape,
            "typestr": "|u1",
            "data": (block.memory.ctypes.data, False),
            "version": 3,
        }

    def __del__(self) -> None:
        self._give_back(self.block)


class FramePool:
    """The memory of one camera's frames, which are all of one size as a rule. Any thread may use it."""

    def __init__(self, most: int = MOST_BLOCKS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._free: list[Block] = []
        self._back: deque[Block] = deque()  # given back; without the lock, since that may happen anywhere
        self._lent = 0

    def empty(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        """A uint8 array of that shape, contiguous and with any contents."""
        block = self._take(math.prod(shape))
        return np.empty(shape, np.uint8) if block is None else np.asarray(_Lease(block, shape, self._back.append))

    def _take(self, size: int) -> Block | None:
        with self._lock:
            while self._back:
                self._free.append(self._back.popleft())
                self._lent -= 1
            while self._free:
                block = self._free.pop()
                if size <= len(block.memory) < size + PAGE:  # else the camera has changed the size of its frames
                    self._lent += 1
                    return block
            if size == 0 or self._lent >= self._most or (self._lent + 1) * size > MOST_BYTES:
                return None
            self._lent += 1
            return Block(size)


def block_of(image: NDArray[Any]) -> Block | None:
    """The block that an array lies in; None for one that no pool lent."""
    base: object = image
    while isinstance(base, np.ndarray):
        base = base.base
    return base.block if isinstance(base, _Lease) else None
