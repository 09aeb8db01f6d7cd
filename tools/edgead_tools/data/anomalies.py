"""Makes pseudo-anomalies: textures pasted into good images through random masks.

Source: DRAEM's Perlin masks in the form DeSTSeg and STLM use (a lattice of 2^a x 2^b cells, a and b in 0..5, noise
times sqrt(2), rotated by -90..90 degrees, kept above 0.5; the texture shows through with 1 - beta, beta in [0, 0.8)).
Cracks and blobs are ours: on small parts and fine grain Perlin masks are all large. Every draw comes from the given
generator. A mask may come out empty; that is part of the scheme.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError
from edgead.images import EXTENSIONS, read_image
from edgead.listing import list_images
from edgead.types import ImageU8, MapF32, Mask

EXPONENTS = 6  # lattice of 2^0 .. 2^5 cells a side
LEVEL = 0.5
TURN = 90.0  # degrees

Kind = Literal["perlin", "crack", "blob"]
Random = np.random.Generator


class Textures(Protocol):
    """Where pasted texture comes from."""

    def draw(self, height: int, width: int, random: Random) -> ImageU8:
        """A texture (height, width, 3) uint8 BGR."""


@dataclass(frozen=True, slots=True)
class Anomalies:
    """Turns a good image into one with a pasted anomaly, or leaves it as it is."""

    textures: Textures
    probability: float = 0.5  # of pasting anything
    beta: tuple[float, float] = (0.0, 0.8)  # how much of the image shows through: from, up to
    kinds: tuple[Kind, ...] = ("perlin",)  # one is drawn for each image, evenly

    def draw(self, image: ImageU8, random: Random) -> tuple[ImageU8, Mask]:
        """A new image (H, W, 3) uint8 BGR, and its mask (H, W), true where texture was pasted."""
        height, width = image.shape[:2]
        if random.random() >= self.probability:
            return image.copy(), np.zeros((height, width), np.bool_)
        mask = MASKS[self.kinds[random.integers(len(self.kinds))]](height, width, random)
        beta = random.uniform(*self.beta)
        if not mask.any():
            return image.copy(), mask
        return blend(image, self.textures.draw(height, width, random), mask, beta), mask


def blend(image: ImageU8, texture: ImageU8, mask: Mask, beta: float) -> ImageU8:
    """(1 - M) image + (1 - beta) M texture + beta M image, as a new uint8 image; outside M it is the image."""
    blended = image.copy()
    blended[mask] = np.float32(1 - beta) * texture[mask] + np.float32(beta) * image[mask]  # truncates, as published
    return blended


def perlin_noise(height: int, width: int, rows: int, columns: int, random: Random) -> MapF32:
    """Gradient noise (height, width) over a lattice of rows x columns cells, in about -0.71..0.71.

    At a pixel it is a sum over the cell's corners of fade(v) fade(u) (gx u + gy v), which separates: two products of
    (pixels x nodes) matrices replace the sum over pixels.
    """
    angle = random.uniform(0.0, 2 * np.pi, (rows + 1, columns + 1)).astype(np.float32)
    fade_y, slope_y = _axis(height, rows)
    fade_x, slope_x = _axis(width, columns)
    noise: MapF32 = fade_y @ np.cos(angle) @ slope_x.T + slope_y @ np.sin(angle) @ fade_x.T
    return noise


def _axis(size: int, cells: int) -> tuple[MapF32, MapF32]:
    """For each pixel and node of one axis: the fade weight, and the weight times the distance to the node."""
    place = np.arange(size, dtype=np.float32) * np.float32(cells / size)
    cell = np.minimum(place.astype(np.intp), cells - 1)
    t = place - cell.astype(np.float32)
    weight = t**3 * (t * (t * 6 - 15) + 10)
    fade = np.zeros((size, cells + 1), np.float32)
    slope = np.zeros_like(fade)
    pixel = np.arange(size)
    fade[pixel, cell], fade[pixel, cell + 1] = 1 - weight, weight
    slope[pixel, cell], slope[pixel, cell + 1] = (1 - weight) * t, weight * (t - 1)
    return fade, slope


def perlin_mask(height: int, width: int, random: Random) -> Mask:
    """STLM's mask: large and small patches, (height, width)."""
    rows, columns = (2 ** int(exponent) for exponent in random.integers(0, EXPONENTS, 2))
    noise = perlin_noise(height, width, rows, columns, random) * np.float32(np.sqrt(2))
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), random.uniform(-TURN, TURN), 1.0)
    rotated = cv2.warpAffine(noise, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(rotated > LEVEL)


def crack_mask(height: int, width: int, random: Random) -> Mask:
    """A thin, jagged line of 1 to 3 pixels (at 256), a tenth to six tenths of the image long."""
    side = min(height, width)
    count = int(random.integers(6, 20))
    steps = np.cumsum(random.normal(0.0, 0.35, count)) + random.uniform(0, 2 * np.pi)
    length = random.uniform(0.1, 0.6) * side / count
    start = random.uniform(0.1, 0.9, 2) * (width, height)
    points = start + np.cumsum(length * np.stack([np.cos(steps), np.sin(steps)], 1), 0)
    thickness = max(1, round(random.uniform(0.5, 3.0) * side / 256))
    canvas = np.zeros((height, width), np.uint8)
    cv2.polylines(canvas, [np.rint(points).astype(np.int32)], False, (1,), thickness)
    return np.asarray(canvas, np.bool_)


def blob_mask(height: int, width: int, random: Random) -> Mask:
    """One to four small ellipses with radii of 0.6 to 6 % of the shorter side."""
    side = min(height, width)
    canvas = np.zeros((height, width), np.uint8)
    for _ in range(int(random.integers(1, 5))):
        center = random.uniform(0.05, 0.95, 2) * (width, height)
        radii = np.maximum(1, side * 10 ** random.uniform(-2.2, -1.2, 2))
        turn = float(random.uniform(0, 180))
        cv2.ellipse(canvas, _pixel(center), _pixel(radii), turn, 0, 360, (1,), cv2.FILLED)
    return np.asarray(canvas, np.bool_)


def _pixel(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


MASKS: dict[Kind, Callable[[int, int, Random], Mask]] = {
    "perlin": perlin_mask,
    "crack": crack_mask,
    "blob": blob_mask,
}


@dataclass(frozen=True, slots=True)
class ProceduralTextures:
    """Textures made of noise, stripes, cells and gradients in random colors; they need no files."""

    def draw(self, height: int, width: int, random: Random) -> ImageU8:
        pattern = PATTERNS[int(random.integers(len(PATTERNS)))](height, width, random)
        share = cv2.normalize(pattern, None, 0.0, 1.0, cv2.NORM_MINMAX)  # type: ignore[call-overload]
        grain = random.standard_normal((height, width), np.float32) * random.uniform(0.0, 20.0)
        colors = random.uniform(0, 255, (3, 2)).tolist()
        planes = [cv2.addWeighted(share, b - a, grain, 1.0, a, dtype=cv2.CV_8U) for a, b in colors]
        return np.asarray(cv2.merge(planes), np.uint8)


def _noise(height: int, width: int, random: Random) -> MapF32:
    """Grain: white noise, smoothed over 0.3 to 6 pixels."""
    white = random.standard_normal((height, width), np.float32)
    return np.asarray(cv2.GaussianBlur(white, (0, 0), random.uniform(0.3, 6.0)), np.float32)


def _clouds(height: int, width: int, random: Random) -> MapF32:
    """Gradient noise in octaves."""
    total = np.zeros((height, width), np.float32)
    for octave in range(int(random.integers(1, 4)), 6):
        total += perlin_noise(height, width, 2**octave, 2**octave, random) * np.float32(0.6**octave)
    return total


def _stripes(height: int, width: int, random: Random) -> MapF32:
    """Waves with a period of 3 to 60 pixels, bent by noise, soft or hard."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    turn, period = random.uniform(0, np.pi), 3 * 20 ** random.uniform()
    bent = perlin_noise(height, width, 4, 4, random) * np.float32(random.uniform(0, 2 * period))
    wave = np.sin((x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn)) + bent) * np.float32(2 * np.pi / period))
    return np.asarray(np.sign(wave) if random.random() < 0.5 else wave, np.float32)


def _cells(height: int, width: int, random: Random) -> MapF32:
    """Distance to the nearest of 10 to 300 points: pebbles, or grains of one shade each."""
    seeds = np.ones((height, width), np.uint8)
    count = int(10 * 30 ** random.uniform())
    seeds[random.integers(0, height, count), random.integers(0, width, count)] = 0
    distance, labels = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    if random.random() < 0.5:
        return np.asarray(distance, np.float32)
    shades = random.random(int(labels.max()) + 1, np.float32)
    return np.asarray(shades[labels], np.float32)


def _gradient(height: int, width: int, random: Random) -> MapF32:
    """A slope, or a plain color under the grain."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    along, across = random.normal(size=2).astype(np.float32)
    return np.asarray(along * y / height + across * x / width, np.float32)


PATTERNS = (_noise, _clouds, _stripes, _cells, _gradient)


@dataclass(frozen=True, slots=True, eq=False)
class AlteredCrops:
    """Crops of the training images under strong changes of geometry, contrast and color."""

    images: NDArray[np.uint8]  # (N, H, W, 3) BGR

    def draw(self, height: int, width: int, random: Random) -> ImageU8:
        image = self.images[random.integers(len(self.images))]
        share = random.uniform(0.15, 0.7)
        h, w = (max(2, round(size * share)) for size in image.shape[:2])
        top, left = random.integers(image.shape[0] - h + 1), random.integers(image.shape[1] - w + 1)
        crop = np.rot90(image[top : top + h, left : left + w], int(random.integers(4)))
        crop = cv2.resize(np.ascontiguousarray(crop), (width, height), interpolation=cv2.INTER_LINEAR)
        planes = cv2.split(crop)
        contrast = random.uniform(0.4, 3.0) * (1 if random.random() < 0.5 else -1)  # below zero: inverted
        changed = []
        for channel in random.permutation(3).tolist():
            plane = planes[channel]
            middle = float(plane.mean())
            brightness = (255.0 - middle if contrast < 0 else middle) + random.normal(0.0, 50.0)
            offset = brightness - contrast * middle
            changed.append(cv2.addWeighted(plane, contrast, plane, 0.0, offset, dtype=cv2.CV_8U))
        return np.asarray(cv2.merge(changed), np.uint8)


@dataclass(frozen=True, slots=True)
class FolderTextures:
    """The images of a folder and the folders in it, each stretched to the asked size (such as DTD)."""

    paths: tuple[Path, ...]

    @classmethod
    def open(cls, folder: Path) -> FolderTextures:
        """List the folder; raises DataError where it holds no images."""
        paths = tuple(list_images(folder.resolve(), deep=True).images)
        if not paths:
            raise DataError(f"there are no texture images ({', '.join(sorted(EXTENSIONS))}) in {folder}")
        return cls(paths)

    def draw(self, height: int, width: int, random: Random) -> ImageU8:
        path = self.paths[random.integers(len(self.paths))]
        return np.asarray(cv2.resize(read_image(path), (width, height), interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True, slots=True)
class MixedTextures:
    """One of several sources for each draw, evenly."""

    sources: Sequence[Textures]

    def draw(self, height: int, width: int, random: Random) -> ImageU8:
        return self.sources[int(random.integers(len(self.sources)))].draw(height, width, random)


def default_textures(images: NDArray[np.uint8], folder: Path | None = None) -> Textures:
    """The textures of `folder`; without one, procedural textures and altered crops of `images` (N, H, W, 3)."""
    if folder is not None:
        return FolderTextures.open(folder)
    return MixedTextures((ProceduralTextures(), AlteredCrops(images)))
