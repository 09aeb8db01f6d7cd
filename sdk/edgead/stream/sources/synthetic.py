"""Generates frames for tests and demos: a plate with holes that moves a little from frame to frame.

`synthetic:640x480@30,defects=20,faults=100,frames=500,seed=1`: at 30 frames a second like a camera, or, without
`@30`, one after the other like files; every 20th with a scratch; after every 100 three that show one of the troubles
of a camera, in turn: black, saturated, blurred, shifted, gray. The same words give the same frames.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from edgead.closing import Closing
from edgead.errors import SourceError, nearest
from edgead.stream.sources.live import LiveSource
from edgead.types import Frame, ImageU8

FAULTS = ("black", "saturated", "blurred", "shifted", "gray")
_SPEC = re.compile(r"(?:(\d+)x(\d+))?(?:@(\d+(?:\.\d+)?))?((?:,[a-z]+=\d+)*)")
_OPTIONS = ("defects", "faults", "frames", "seed")
_FAULT_FRAMES = 3


@dataclass(frozen=True, slots=True)
class Scene:
    """What is shown."""

    width: int = 640
    height: int = 480
    fps: float = 0.0  # 0: in step
    defects: int = 0  # every so many-th part has one; 0: none
    faults: int = 0  # every so many frames the camera has a trouble; 0: never
    frames: int = 0  # after which it ends; 0: never
    seed: int = 0

    def fault(self, index: int) -> str:
        """The camera's trouble in a frame, or ""."""
        if not self.faults or index < self.faults or index % self.faults >= _FAULT_FRAMES:
            return ""
        return FAULTS[(index // self.faults - 1) % len(FAULTS)]

    def defect(self, index: int) -> bool:
        """Whether the part in a frame is scratched."""
        return self.defects > 0 and index % self.defects == self.defects - 1

    def picture(self, index: int) -> ImageU8:
        """The frame with that number, (height, width, 3) BGR."""
        random = np.random.default_rng((self.seed, index))
        unit = min(self.width, self.height) / 100
        image = np.full((self.height, self.width, 3), (38, 34, 30), np.uint8)
        x, y = (0.5 * self.width, 0.5 * self.height) + unit * random.uniform(-1.5, 1.5, 2)
        box = ((x, y), (80 * unit, 60 * unit), float(random.uniform(-1, 1)))
        cv2.fillPoly(image, [cv2.boxPoints(box).astype(np.int32)], (96, 120, 138), cv2.LINE_AA)
        for across, down in ((-28, -18), (28, -18), (-28, 18), (28, 18), (0, 0)):
            center = (round(x + across * unit), round(y + down * unit))
            cv2.circle(image, center, round((5 if across else 11) * unit), (44, 40, 36), cv2.FILLED, cv2.LINE_AA)
        if self.defect(index):
            middle = np.array((x, y)) + unit * random.uniform(-15, 15, 2)
            along = unit * np.array((14, random.uniform(-3, 3)))
            ends = np.stack([middle - along, middle + along]).astype(np.int32)
            cv2.polylines(image, [ends], False, (235, 240, 245), max(2, round(1.5 * unit)), cv2.LINE_AA)
        noise = random.integers(-4, 5, (self.height, self.width, 1), np.int16)
        lit = np.clip(image * random.uniform(0.97, 1.03) + noise, 0, 255).astype(np.uint8)
        return _troubled(lit, self.fault(index))


def _troubled(image: ImageU8, fault: str) -> ImageU8:
    """What a camera in that trouble shows instead."""
    if fault == "black":
        return image // 40
    if fault == "saturated":
        return np.asarray(cv2.convertScaleAbs(image, alpha=6.0), np.uint8)
    if fault == "blurred":
        return np.asarray(cv2.GaussianBlur(image, (0, 0), max(2.0, min(image.shape[:2]) / 40)), np.uint8)
    if fault == "shifted":
        return np.asarray(np.roll(image, image.shape[1] // 10, axis=1), np.uint8)
    if fault == "gray":
        return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)
    return image


def parse_scene(name: str) -> Scene:
    """The scene that is written as WIDTHxHEIGHT@FPS,OPTION=NUMBER..., all of it optional; raises SourceError."""
    match = _SPEC.fullmatch(name if not name or name[0] in "0123456789@," else f",{name}")
    if match is None:
        raise SourceError(f"'synthetic:{name}' cannot be read: write synthetic:640x480@30,defects=20, say")
    options = dict(option.split("=") for option in match[4].split(",") if option)
    for option in options:
        if option not in _OPTIONS:
            raise SourceError(f"a synthetic source has no '{option}': {nearest(option, _OPTIONS)}")
    width, height, fps = int(match[1] or 640), int(match[2] or 480), float(match[3] or 0)
    if not (32 <= width <= 8192 and 32 <= height <= 8192):
        raise SourceError(f"a synthetic frame has 32 to 8192 pixels a side, not {width}x{height}")
    return Scene(width, height, fps, **{option: int(number) for option, number in options.items()})


class SceneCapture:
    """A `Capture` of a scene, at its pace."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._index = -1
        self._start = time.monotonic()
        self._interrupted = threading.Event()

    def grab(self) -> bool:
        self._index += 1
        if self._scene.frames and self._index >= self._scene.frames:
            return False
        return not self._interrupted.wait(max(0.0, self._start + self._index / self._scene.fps - time.monotonic()))

    def retrieve(self) -> tuple[bool, Any]:
        return True, self._scene.picture(self._index)

    def get(self, propId: int, /) -> float:
        return self._scene.fps if propId == cv2.CAP_PROP_FPS else float(self._scene.frames)

    def interrupt(self) -> None:
        self._interrupted.set()

    def release(self) -> None:
        pass


class SceneSource(Closing):
    """The frames of a scene one after the other, as fast as they are taken."""

    live = False
    fps = 0.0
    timeout = 0.0
    unreadable = 0

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._open = True

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while self._open and not 0 < self._scene.frames <= index:
            yield Frame(self._scene.picture(index), index, "synthetic")
            index += 1

    def close(self) -> None:
        """End the iteration before the next frame."""
        self._open = False


def open_synthetic(name: str, bits: int, timeout: float) -> LiveSource | SceneSource:
    """The scene that `name` describes."""
    scene = parse_scene(name)
    return LiveSource(SceneCapture(scene), "synthetic", bits, timeout) if scene.fps else SceneSource(scene)
