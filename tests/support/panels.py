"""Generated pictures of a second family whose defects are logical: the front panels of a device.

    python tests/support/panels.py data/panels

A good panel carries a row of three lamps that are red, amber and green from left to right, four knobs in two rows of
two whose marks all point to one of eight places, a display above the knobs and a row of five screws along its bottom;
all of it lies nearly still. What is logically wrong is the number, the order or the agreement of the same parts; what
is structurally wrong is a scratch, a stain, a crack or a burnt lamp on a panel that is complete.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import mvtec
import numpy as np

SIDE = 320  # pixels of the full picture
Random = np.random.Generator
Color = tuple[int, int, int]

LAMPS: dict[str, Color] = {"red": (50, 50, 215), "amber": (40, 165, 240), "green": (70, 190, 60)}
KNOBS = ((0.3, 0.52), (0.7, 0.52), (0.3, 0.74), (0.7, 0.74))
SCREWS = tuple((0.14 + 0.18 * index, 0.92) for index in range(5))
PLATE, BODY = (176, 172, 168), (58, 54, 52)


@dataclass(frozen=True, slots=True)
class Panel:
    """What is on a panel."""

    lamps: tuple[str, ...] = ("red", "amber", "green")  # "" is a hole
    knobs: tuple[int, ...] = (0, 0, 0, 0)  # eighths of a turn; -1 is none
    screws: tuple[bool, ...] = (True,) * 5
    display: bool = True


def good(random: Random) -> Panel:
    return Panel(knobs=(int(random.integers(8)),) * 4)


def missing(random: Random) -> Panel:
    panel = good(random)
    if random.random() < 0.5:
        index = random.integers(5)
        return replace(panel, screws=tuple(one != index for one in range(5)))
    index = random.integers(4)
    return replace(panel, knobs=tuple(-1 if one == index else turn for one, turn in enumerate(panel.knobs)))


def swapped(random: Random) -> Panel:
    """Two lamps have changed places."""
    first, second = ((0, 1), (1, 2), (0, 2))[random.integers(3)]
    lamps = list(Panel().lamps)
    lamps[first], lamps[second] = lamps[second], lamps[first]
    return replace(good(random), lamps=tuple(lamps))


def doubled(random: Random) -> Panel:
    """One color is there twice and another not at all."""
    lamps = list(Panel().lamps)
    index = int(random.integers(3))
    lamps[index] = lamps[(index + 1 + int(random.integers(2))) % 3]
    return replace(good(random), lamps=tuple(lamps))


def blank(random: Random) -> Panel:
    """The display is not there."""
    return replace(good(random), display=False)


LOGICAL: dict[str, Callable[[Random], Panel]] = {
    "blank": blank,
    "doubled": doubled,
    "missing": missing,
    "swapped": swapped,
}


def _circle(canvas: np.ndarray, x: float, y: float, radius: float, color: Color) -> None:
    side = len(canvas)
    center = (round(x * side * 16), round(y * side * 16))
    cv2.circle(canvas, center, round(radius * side * 16), color, cv2.FILLED, cv2.LINE_AA, 4)


def draw(panel: Panel, random: Random, side: int = SIDE) -> np.ndarray:
    """The picture, (side, side, 3) uint8 BGR, moved and lit a little differently each time."""
    canvas = np.full((side, side, 3), BODY, np.uint8)
    edge = round(0.04 * side)
    cv2.rectangle(canvas, (edge, edge), (side - edge, side - edge), PLATE, cv2.FILLED)
    for index, color in enumerate(panel.lamps):
        x = 0.25 * (index + 1)
        _circle(canvas, x, 0.14, 0.052, (70, 70, 72))
        _circle(canvas, x, 0.14, 0.042, LAMPS.get(color, (30, 30, 30)))
        if color:
            _circle(canvas, x - 0.012, 0.128, 0.012, (235, 235, 238))
    if panel.display:
        left, top = round(0.2 * side), round(0.25 * side)
        cv2.rectangle(canvas, (left, top), (side - left, round(0.4 * side)), (40, 52, 44), cv2.FILLED)
        for row in (0.29, 0.33, 0.37):
            right = round(side * random.uniform(0.5, 0.75))
            cv2.line(canvas, (left + 8, round(row * side)), (right, round(row * side)), (120, 220, 150), 2, cv2.LINE_AA)
    for (x, y), turn in zip(KNOBS, panel.knobs, strict=True):
        if turn < 0:
            _circle(canvas, x, y, 0.018, (30, 30, 30))
            continue
        _circle(canvas, x, y, 0.085, (48, 46, 45))
        _circle(canvas, x, y, 0.068, (82, 80, 78))
        angle = turn * np.pi / 4
        start, end = ((x + r * np.cos(angle), y + r * np.sin(angle)) for r in (0.02, 0.066))
        ends = [tuple(round(value * side) for value in one) for one in (start, end)]
        cv2.line(canvas, ends[0], ends[1], (238, 240, 240), max(2, side // 90), cv2.LINE_AA)
    for (x, y), there in zip(SCREWS, panel.screws, strict=True):
        _circle(canvas, x, y, 0.024, (126, 124, 120) if there else (28, 28, 28))
        if there:
            _circle(canvas, x, y, 0.009, (52, 50, 48))
    return _seen(canvas, random)


def _seen(canvas: np.ndarray, random: Random) -> np.ndarray:
    side = len(canvas)
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), random.normal(0, 0.7), 1.0)
    matrix[:, 2] += random.normal(0, 0.006 * side, 2)
    moved = cv2.warpAffine(canvas, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
    light = random.uniform(0.9, 1.1) + np.linspace(-1, 1, side, dtype=np.float32) * random.uniform(-0.06, 0.06)
    picture = cv2.GaussianBlur(moved, (0, 0), 0.6 * side / SIDE) * light[None, :, None]
    return np.clip(picture + random.normal(0, 3, canvas.shape), 0, 255).astype(np.uint8)


def damaged(random: Random, side: int = SIDE) -> np.ndarray:
    """A complete panel with a scratch, a stain, a crack in the plate, or a lamp that is burnt."""
    picture = draw(good(random), random, side).astype(np.float32)
    mask, kind = np.zeros((side, side), np.uint8), random.integers(4)
    points = random.uniform(0.1, 0.9, 2) * side + np.cumsum(random.normal(0, 0.03 * side, (6, 2)), axis=0)
    center = tuple(int(value) for value in random.uniform(0.12, 0.88, 2) * side)
    color: Color = (215, 218, 222)
    if kind == 0:
        cv2.polylines(mask, [points.astype(np.int32)], False, 255, max(1, side // 160), cv2.LINE_AA)
    elif kind == 1:
        axes = tuple(int(value) for value in random.uniform(0.02, 0.05, 2) * side)
        cv2.ellipse(mask, center, axes, float(random.uniform(0, 180)), 0, 360, 255, cv2.FILLED)
        color = (60, 84, 104)
    elif kind == 2:
        cv2.polylines(mask, [points.astype(np.int32)], False, 255, max(1, side // 200), cv2.LINE_AA)
        color = (24, 24, 26)
    else:
        cv2.circle(mask, (round(0.25 * side * random.integers(1, 4)), round(0.14 * side)), round(0.03 * side), 255, -1)
        color = (30, 34, 40)
    share = 0.85 * cv2.GaussianBlur(mask, (0, 0), 0.8)[:, :, None] / np.float32(255)
    picture = picture * (1 - share) + np.array(color, np.float32) * share
    return np.clip(picture, 0, 255).astype(np.uint8)


def write(folder: Path, train: int = 120, tested: int = 24) -> None:
    """Lay pictures out as MVTec AD does."""
    random = np.random.default_rng(0)

    def drawn(make: Callable[[Random], Panel]) -> Callable[[], np.ndarray]:
        return lambda: draw(make(random), random)

    logical = {f"test/{name}": (tested, drawn(make)) for name, make in LOGICAL.items()}
    good_ones = {"train/good": (train, drawn(good)), "test/good": (2 * tested, drawn(good))}
    mvtec.write(folder, good_ones | logical | {"test/damaged": (2 * tested, lambda: damaged(random))})


if __name__ == "__main__":
    write(Path(sys.argv[1]))
