"""Generated pictures whose defects are logical: kits of parts on a tray, right only if nothing is missing or misplaced.

    python tests/support/trays.py data/trays

A good tray has two bolts and two washers on its left half, three nuts and a fuse on its right half, anywhere within
their half and turned as they fell. Each part of a logically wrong tray looks right; a structurally wrong tray has all
its parts, and one of them, or the tray, is damaged.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import mvtec
import numpy as np

SIDE = 320  # pixels of the full picture
Random = np.random.Generator
Color = tuple[int, int, int]


class Item(NamedTuple):
    """One part on the tray."""

    kind: str
    half: int  # 0 left, 1 right
    x: float  # of the side
    y: float
    turn: float  # radians


KIT = (("bolt", 0), ("bolt", 0), ("washer", 0), ("washer", 0), ("nut", 1), ("nut", 1), ("nut", 1), ("fuse", 1))
REACH = {"bolt": 0.095, "washer": 0.065, "nut": 0.06, "fuse": 0.085}  # of the side, from an item's center


def _polygon(canvas: np.ndarray, points: Any, item: Item, color: Color) -> None:
    turn = np.array([[np.cos(item.turn), -np.sin(item.turn)], [np.sin(item.turn), np.cos(item.turn)]])
    placed = (np.asarray(points, float) @ turn.T + (item.x, item.y)) * len(canvas) * 16
    cv2.fillPoly(canvas, [np.round(placed).astype(np.int32)], color, cv2.LINE_AA, 4)


def _ring(canvas: np.ndarray, item: Item, radius: float, color: Color) -> None:
    side = len(canvas)
    center = (round(item.x * side * 16), round(item.y * side * 16))
    cv2.circle(canvas, center, round(radius * side * 16), color, cv2.FILLED, cv2.LINE_AA, 4)


def _hexagon(radius: float) -> np.ndarray:
    angles = np.arange(6) * np.pi / 3
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _bar(left: float, right: float, half: float) -> list[tuple[float, float]]:
    return [(left, -half), (right, -half), (right, half), (left, half)]


def _bolt(canvas: np.ndarray, item: Item) -> None:
    _polygon(canvas, _bar(-0.045, 0.09, 0.016), item, (150, 152, 150))
    for start in np.arange(0.0, 0.085, 0.012):
        _polygon(canvas, _bar(start, start + 0.005, 0.017), item, (95, 98, 96))
    _polygon(canvas, _bar(-0.085, -0.045, 0.036), item, (188, 190, 186))


def _washer(canvas: np.ndarray, item: Item) -> None:
    _ring(canvas, item, 0.055, (120, 170, 190))
    _ring(canvas, item, 0.024, TRAY[item.half])


def _nut(canvas: np.ndarray, item: Item) -> None:
    _polygon(canvas, _hexagon(0.052), item, (95, 90, 88))
    _ring(canvas, item, 0.036, (128, 124, 120))
    _ring(canvas, item, 0.026, (42, 42, 40))


def _fuse(canvas: np.ndarray, item: Item) -> None:
    _polygon(canvas, _bar(-0.075, 0.075, 0.022), item, (60, 70, 205))
    for start in (-0.075, 0.05):
        _polygon(canvas, _bar(start, start + 0.025, 0.024), item, (185, 185, 182))


TRAY: tuple[Color, Color] = ((92, 70, 52), (62, 86, 66))  # of each half
DRAW: dict[str, Callable[[np.ndarray, Item], None]] = {"bolt": _bolt, "washer": _washer, "nut": _nut, "fuse": _fuse}


def place(kinds: Sequence[tuple[str, int]], random: Random) -> list[Item]:
    """A place for every item, (kind, half), where it touches no other."""
    while True:
        items: list[Item] = []
        for kind, half in sorted(kinds, key=lambda entry: -REACH[entry[0]]):
            for _ in range(200):
                reach = REACH[kind]
                x = random.uniform(0.03 + reach, 0.49 - reach) + 0.48 * half
                y = random.uniform(0.04 + reach, 0.96 - reach)
                if all(np.hypot(x - o.x, y - o.y) > reach + REACH[o.kind] for o in items):
                    items.append(Item(kind, half, x, y, random.uniform(0, 2 * np.pi)))
                    break
        if len(items) == len(kinds):
            return items


def draw(items: Sequence[Item], random: Random, side: int = SIDE) -> np.ndarray:
    """The picture, (side, side, 3) uint8 BGR, lit a little differently each time."""
    canvas = np.full((side, side, 3), (34, 34, 36), np.uint8)
    for half in (0, 1):
        left = round((0.02 + 0.49 * half) * side)
        cv2.rectangle(
            canvas, (left, round(0.02 * side)), (left + round(0.47 * side), round(0.98 * side)), TRAY[half], -1
        )
    for item in items:
        DRAW[item.kind](canvas, item)
    return _lit(canvas, random)


def labels(items: Sequence[Item], side: int = SIDE) -> np.ndarray:
    """What a person would draw: (side, side) uint8, 0 the tray, then the kinds in the order of DRAW."""
    drawn = np.zeros((side, side), np.uint8)
    for item in items:
        canvas = np.zeros((side, side, 3), np.uint8)
        DRAW[item.kind](canvas, item._replace(half=1))
        drawn[canvas.any(axis=2)] = 1 + list(DRAW).index(item.kind)
    return drawn


def _lit(canvas: np.ndarray, random: Random) -> np.ndarray:
    slope = np.linspace(-1, 1, len(canvas), dtype=np.float32) * random.uniform(-0.08, 0.08)
    light = random.uniform(0.9, 1.1) + slope
    picture = cv2.GaussianBlur(canvas, (0, 0), 0.6 * len(canvas) / SIDE) * light[None, :, None]
    return np.clip(picture + random.normal(0, 3, canvas.shape), 0, 255).astype(np.uint8)


def good(random: Random) -> list[Item]:
    return place(KIT, random)


def missing(random: Random) -> list[Item]:
    kinds = list(KIT)
    kinds.pop(random.integers(len(kinds)))
    return place(kinds, random)


def extra(random: Random) -> list[Item]:
    return place([*KIT, KIT[random.integers(len(KIT))]], random)


def swapped(random: Random) -> list[Item]:
    """One item of each half lies in the other."""
    kinds = list(KIT)
    for index in (random.integers(4), 4 + random.integers(4)):
        kinds[index] = (kinds[index][0], 1 - kinds[index][1])
    return place(kinds, random)


def misplaced(random: Random) -> list[Item]:
    kinds = list(KIT)
    index = random.integers(len(kinds))
    kinds[index] = (kinds[index][0], 1 - kinds[index][1])
    return place(kinds, random)


def wrong_kind(random: Random) -> list[Item]:
    """One item in place of one of another kind."""
    kinds = list(KIT)
    index = random.integers(len(kinds))
    other = [kind for kind in DRAW if kind != kinds[index][0]][random.integers(3)]
    kinds[index] = (other, kinds[index][1])
    return place(kinds, random)


LOGICAL: dict[str, Callable[[Random], list[Item]]] = {
    "extra": extra,
    "misplaced": misplaced,
    "missing": missing,
    "swapped": swapped,
    "wrong_kind": wrong_kind,
}


def damaged(random: Random, side: int = SIDE) -> np.ndarray:
    """A complete tray with a scratch, a stain, or a part that is broken or corroded."""
    items = good(random)
    picture = draw(items, random, side).astype(np.float32)
    item = items[random.integers(len(items))]
    x, y = (round(value * side) for value in (item.x, item.y))
    mask = np.zeros((side, side), np.uint8)
    kind = random.integers(4)
    if kind == 0:  # a scratch in the tray
        start = random.uniform(0.1, 0.9, 2) * side
        points = start + np.cumsum(random.normal(0, 0.03 * side, (6, 2)) + random.normal(0, 0.03 * side, 2), axis=0)
        cv2.polylines(mask, [points.astype(np.int32)], False, 255, max(1, side // 160), cv2.LINE_AA)
        color = (200, 205, 210)
    elif kind == 1:  # oil
        center = tuple(int(value) for value in random.uniform(0.15, 0.85, 2) * side)
        axes = tuple(int(value) for value in random.uniform(0.03, 0.07, 2) * side)
        cv2.ellipse(mask, center, axes, float(random.uniform(0, 180)), 0, 360, 255, cv2.FILLED)
        color = (18, 22, 26)
    elif kind == 2:  # a piece broken off
        away = random.uniform(-0.03, 0.03, 2) * side
        cv2.circle(mask, (x + int(away[0]), y + int(away[1])), int(0.028 * side), 255, cv2.FILLED)
        color = TRAY[item.half]
    else:  # rust
        for _ in range(12):
            away = random.normal(0, 0.022, 2) * side
            cv2.circle(mask, (x + int(away[0]), y + int(away[1])), max(1, int(0.009 * side)), 255, cv2.FILLED)
        color = (30, 70, 140)
    share = cv2.GaussianBlur(mask, (0, 0), 0.8)[:, :, None] / np.float32(255)
    picture = picture * (1 - share) + (np.array(color) + random.normal(0, 4, picture.shape)) * share
    return np.clip(picture, 0, 255).astype(np.uint8)


def write(folder: Path, train: int = 120, tested: int = 24) -> None:
    """Lay pictures out as MVTec AD does."""
    random = np.random.default_rng(0)

    def drawn(make: Callable[[Random], Sequence[Item]]) -> Callable[[], np.ndarray]:
        return lambda: draw(make(random), random)

    logical = {f"test/{name}": (tested, drawn(make)) for name, make in LOGICAL.items()}
    good_ones = {"train/good": (train, drawn(good)), "test/good": (2 * tested, drawn(good))}
    mvtec.write(folder, good_ones | logical | {"test/damaged": (2 * tested, lambda: damaged(random))})


if __name__ == "__main__":
    write(Path(sys.argv[1]))
