"""Fires when a part comes into the picture, for lines without any signal: an area that differs from the empty line.

The line must be empty when it starts: what is seen then is the background, which follows slow changes of the light
while the area is empty. Hysteresis and a pause keep one part from firing twice.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.errors import UsageError
from edgead.stream.sinks.options import checked
from edgead.stream.trigger.base import TriggerControl, TriggerSource
from edgead.types import Frame, ImageU8

LEARNED = 5  # frames of the empty line before the first trigger
_SIDE = 32  # cells of the area's sample in each direction
_FOLLOWS = 0.05  # share of an empty frame in the background


class MotionGate:
    """Says of each frame of one camera whether a part has just come, from its pixels alone."""

    def __init__(self, box: tuple[int, int, int, int], level: float, pause: float) -> None:
        """`box` is x, y, width and height in pixels of the frame, all 0 for the whole of it; `level` the mean
        difference in gray levels from which on the area is occupied; `pause` seconds without a second trigger."""
        self._box, self._level, self._pause = box, level, pause
        self._background: NDArray[np.float32] | None = None
        self._seen = 0
        self._occupied = False
        self._last = -np.inf

    def is_new_part(self, image: ImageU8, clock: float) -> bool:
        """Whether the area, empty before, is occupied now; `clock` is the time of capture in seconds."""
        sample = self._sample(image)
        if self._background is None or self._background.shape != sample.shape:
            self._background, self._seen = sample, 0
        self._seen += 1
        difference = float(np.abs(sample - self._background).mean())
        if self._seen <= LEARNED or difference < self._level / 2:
            self._occupied = False
            self._background = self._background + _FOLLOWS * (sample - self._background)
            return False
        if self._occupied or difference < self._level:
            return False
        self._occupied = True
        if clock - self._last < self._pause:
            return False
        self._last = clock
        return True

    def _sample(self, image: ImageU8) -> NDArray[np.float32]:
        x, y, width, height = self._box
        area = image[y : y + height, x : x + width] if width else image
        if not area.size:
            area = image
        small = cv2.resize(area, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        return np.asarray(small, np.float32)


class MotionTrigger(TriggerSource):
    """A gate in the picture of one camera, or of the only one."""

    def __init__(self, area: str = "", *, camera: str = "", level: float = 8.0, pause: float = 0.1) -> None:
        """`area` is X,Y,WIDTH,HEIGHT in pixels of the frame, else all of it; for the others see `MotionGate`.

        Raises UsageError.
        """
        checked("the trigger 'motion': level", level, 0.5, 255)
        checked("the trigger 'motion': pause", pause, 0, 3600)
        self._camera = camera
        self._gate = MotionGate(_box(area), level, pause)
        self._control: TriggerControl | None = None
        self._lock = threading.Lock()  # a camera that hangs is read by another thread

    def start(self, control: TriggerControl) -> None:
        self._control = control

    def watch(self, camera: str, frame: Frame) -> None:
        if self._control is None or (self._camera and camera != self._camera):
            return
        with self._lock:
            new = self._gate.is_new_part(frame.image, frame.clock)
        if new:
            self._control.fire(f"motion{f', {camera}' if camera else ''}", clock=frame.clock)

    def close(self) -> None:
        self._control = None


def _box(area: str) -> tuple[int, int, int, int]:
    numbers = [part.strip() for part in area.split(",")] if area else ["0"] * 4
    if len(numbers) != 4 or not all(number.isdecimal() and len(number) < 6 for number in numbers):
        raise UsageError(f"the trigger 'motion' has an area like 200,0,80,480, not '{area}'")
    x, y, width, height = map(int, numbers)
    if area and not (width and height):
        raise UsageError(f"the area '{area}' of the trigger 'motion' is empty: its last numbers are width and height")
    return x, y, width, height
