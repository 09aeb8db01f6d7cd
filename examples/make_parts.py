"""Draw pictures of a machined flange, good ones and defective ones, to try edgead without a camera:

python examples/make_parts.py parts/flange
edgead build --data parts/flange --budget 2m
edgead eval flange.edgead parts/flange --report report.html
"""

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

SIDE = 320  # pixels
HOLES = 6
Random = np.random.Generator


def flange(random: Random) -> np.ndarray:
    """A good part, (SIDE, SIDE, 3) uint8: turned metal with a bore and six holes, placed and lit a little anew."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    cx, cy = SIDE / 2 + random.uniform(-3, 3, 2)
    radius, angle = np.hypot(x - cx, y - cy), np.arctan2(y - cy, x - cx)
    rings = cv2.GaussianBlur(random.normal(0, 1, (1, 400)).astype(np.float32), (0, 0), 0.8)[0]
    metal = 132 + 9 * np.interp(radius, np.arange(400), rings) + 26 * np.cos(2 * angle + 0.6) + 12 * (x - cx) / SIDE
    picture = np.where(radius < 0.43 * SIDE, metal, 28 + 6 * y / SIDE)
    picture = np.where(np.abs(radius - 0.42 * SIDE) < 2, 196, picture)
    picture = np.where(radius < 0.15 * SIDE, 22, picture)
    picture = np.where(np.abs(radius - 0.15 * SIDE) < 2, 205, picture)
    turn = random.uniform(-0.03, 0.03)
    for hole in range(HOLES):
        at = turn + 2 * np.pi * hole / HOLES
        away = np.hypot(x - cx - 0.29 * SIDE * np.cos(at), y - cy - 0.29 * SIDE * np.sin(at))
        picture = np.where(away < 0.045 * SIDE, 26, picture)
        picture = np.where(np.abs(away - 0.045 * SIDE) < 1.5, 190, picture)
    picture = picture * random.uniform(0.95, 1.05) + random.normal(0, 2.5, picture.shape)
    soft = cv2.GaussianBlur(np.clip(picture, 0, 255).astype(np.uint8), (0, 0), 0.7)
    return np.stack([soft, soft, np.clip(soft * 0.98 + 2, 0, 255).astype(np.uint8)], axis=2)


def scratch(mask: np.ndarray, random: Random) -> tuple[int, int, int]:
    angles = random.uniform(0, 2 * np.pi) + np.linspace(0, 0.7, 8)
    away = random.uniform(0.24, 0.36) * SIDE + np.cumsum(random.normal(0, 0.008 * SIDE, 8))
    points = SIDE / 2 + away[:, np.newaxis] * np.stack([np.cos(angles), np.sin(angles)], 1)
    cv2.polylines(mask, [points.astype(np.int32)], False, (255,), 2)
    return 232, 236, 240


def stain(mask: np.ndarray, random: Random) -> tuple[int, int, int]:
    angle, away = random.uniform(0, 2 * np.pi), random.uniform(0.2, 0.36) * SIDE
    center = (int(SIDE / 2 + away * np.cos(angle)), int(SIDE / 2 + away * np.sin(angle)))
    cv2.ellipse(mask, center, (int(random.uniform(8, 20)), int(random.uniform(6, 14))), 30, 0, 360, (255,), -1)
    return 40, 62, 88


def plugged_hole(mask: np.ndarray, random: Random) -> tuple[int, int, int]:
    angle = 2 * np.pi * random.integers(HOLES) / HOLES
    center = (int(SIDE / 2 + 0.29 * SIDE * np.cos(angle)), int(SIDE / 2 + 0.29 * SIDE * np.sin(angle)))
    cv2.circle(mask, center, int(0.055 * SIDE), (255,), -1)
    return 128, 128, 130


DEFECTS: dict[str, Callable[[np.ndarray, Random], tuple[int, int, int]]] = {
    "plugged_hole": plugged_hole,
    "scratch": scratch,
    "stain": stain,
}


def damage(picture: np.ndarray, kind: str, random: Random) -> tuple[np.ndarray, np.ndarray]:
    """The part with a defect, and its mask (SIDE, SIDE) of 0 and 255."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    color = DEFECTS[kind](mask, random)
    share = cv2.GaussianBlur(mask, (0, 0), 1.0)[:, :, np.newaxis] / 255 * 0.85
    grain = random.normal(0, 3, picture.shape)
    return np.clip(picture * (1 - share) + (np.array(color) + grain) * share, 0, 255).astype(np.uint8), mask


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture)


def main(folder: Path, good: int = 120, tested: int = 15) -> None:
    """Lay the pictures out as MVTec AD does."""
    random = np.random.default_rng(0)
    for part, count in (("train", good), ("test", tested)):
        for index in range(count):
            write(folder / part / "good" / f"{index:03d}.png", flange(random))
    for kind in DEFECTS:
        for index in range(tested):
            picture, mask = damage(flange(random), kind, random)
            write(folder / "test" / kind / f"{index:03d}.png", picture)
            write(folder / "ground_truth" / kind / f"{index:03d}_mask.png", mask)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
