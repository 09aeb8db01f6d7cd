"""Cameras made of lists, handed to the real sources in place of OpenCV's."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np


class FakeCapture:
    """Delivers `images` in turn, None as a damaged one. Then it is lost, or hangs until it is told to end.

    It hangs for its `timeout`, and longer than it was told to where that is longer than its source's, as a driver may.
    """

    def __init__(
        self,
        images: Sequence[Any],
        *,
        hang: bool = False,
        count: float = -1.0,
        failure: Any = None,
        timeout: float = 10.0,
    ) -> None:
        self.released = 0
        self.timeout = timeout
        self.hung = threading.Event()  # set when a read begins to hang
        self.end = threading.Event()
        self._images = list(images)
        self._hang = hang
        self._count = count
        self._failure = failure

    def grab(self) -> bool:
        if self._images:
            return True
        if self._failure is not None:
            raise self._failure
        if self._hang:
            self.hung.set()
            self.end.wait(self.timeout)
        return False

    def retrieve(self) -> tuple[bool, Any]:
        image = self._images.pop(0)
        return image is not None, image

    def get(self, propId: int, /) -> float:
        return {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_FRAME_COUNT: self._count}.get(propId, 0.0)

    def interrupt(self) -> None:
        pass  # OpenCV's cannot be woken either

    def release(self) -> None:
        self.released += 1
        self.end.set()


class Endless(FakeCapture):
    """A camera that never stops."""

    def grab(self) -> bool:
        threading.Event().wait(0.001)
        return True

    def retrieve(self) -> tuple[bool, Any]:
        return True, np.zeros((8, 8, 3), np.uint8)


def gray(level: int) -> np.ndarray:
    """A small frame that can be told from others."""
    return np.full((8, 8, 3), level, np.uint8)
