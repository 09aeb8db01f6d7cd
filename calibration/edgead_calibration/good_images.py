"""Checks good images, wherever they come from: how many different parts they show, and what is odd.

A promise about false alarms rests on different parts. Frames of one part, filmed or copied, are one part whatever their
number, so they share a number here and count once. Two pictures show the same part in the same place when their
thumbnails of 32 x 32 cells differ by less than `NEAR` gray levels (root mean square, after the exposure is evened out).
Measured: frames with camera noise of 4 gray levels 0.4 to 0.9, consecutive frames of videos 0.1 to 0.5; the most
alike pairs of different parts 1.7 (dice, cubes), 2.6 (solar cells), 3.7 (bottles) and more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgead.bundle import HealthProfile
from edgead.bundle.manifest import Thresholds
from edgead.listing import LeftOut
from edgead.ops import resize
from edgead.stream.health import ImageStats, measure
from edgead.types import Frame, ImageU8
from edgead.wording import are, plural

NEAR = 1.0  # gray levels, root mean square, below which two thumbnails show one part
FLAT = 1.0  # gray levels of standard deviation below which a picture shows nothing
FEWEST = 3  # parts below which nothing can be said of the spread between parts
CELLS = 32
_GAIN = (0.9, 1.1)  # of exposure that is evened out between two pictures of one part
_NONE = np.empty(0, np.uint8)

Thumbnail = NDArray[np.float32]  # (CELLS * CELLS * 3,), its mean taken away


def thumbnail(image: ImageU8) -> Thumbnail:
    """What of an image, (H, W, 3) uint8, is compared with others."""
    cells = resize(image, CELLS, CELLS).astype(np.float32).ravel()
    return np.asarray(cells - cells.mean(), np.float32)


class PartNumbers:
    """Numbers pictures by the part they show: those that hardly differ from an earlier one have its number."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._first: NDArray[np.float32] = np.empty((16, CELLS * CELLS * 3), np.float32)
        self._squares: NDArray[np.float32] = np.empty(16, np.float32)
        self.count = 0  # different parts so far

    def add(self, one: Thumbnail) -> int:
        """The number of the part; a new one where no earlier part looks like it."""
        number = self._alike(one)
        if number == self.count:
            if self.count == len(self._first):
                self._first = np.resize(self._first, (2 * self.count, self._first.shape[1]))
                self._squares = np.resize(self._squares, 2 * self.count)
            self._first[self.count], self._squares[self.count] = one, float(one @ one)
            self.count += 1
        self.numbers.append(number)
        return number

    def _alike(self, one: Thumbnail) -> int:
        if not self.count:
            return 0
        first, squares = self._first[: self.count], self._squares[: self.count]
        products, square = first @ one, float(one @ one)
        gains = np.clip(products / np.maximum(squares, 1e-9), *_GAIN)
        rest = np.maximum(square - 2 * gains * products + gains * gains * squares, 0) / one.size
        best = int(rest.argmin())
        return best if rest[best] < NEAR * NEAR else self.count


def part_numbers(thumbnails: Iterable[Thumbnail]) -> list[int]:
    """A number for each thumbnail, in order; equal where two show one part."""
    parts = PartNumbers()
    for one in thumbnails:
        parts.add(one)
    return parts.numbers


def one_each(values: Sequence[float], numbers: Sequence[int]) -> list[float]:
    """The largest value of each part, in the order of the parts; all values where there are fewer than `FEWEST` parts,
    since of a material without structure every picture looks the same."""
    if len(set(numbers)) < FEWEST:
        return list(values)
    largest: dict[int, float] = {}
    for value, number in zip(values, numbers, strict=True):
        largest[number] = max(value, largest.get(number, value))
    return list(largest.values())


@dataclass(slots=True)
class GoodImages:
    """Looks at good images one by one, as they are read, and says at the end what was odd about them."""

    names: list[str] = field(default_factory=list)  # of those taken
    left: list[LeftOut] = field(default_factory=list)
    parts: PartNumbers = field(default_factory=PartNumbers)
    stats: list[ImageStats] = field(default_factory=list)
    _seen: dict[bytes, str] = field(default_factory=dict)

    def taken(self, frames: Iterable[Frame]) -> Iterator[ImageU8]:
        """The images of those frames that are no copies and show something, (H, W, 3) BGR uint8."""
        for frame in frames:
            if self._take(frame):
                yield frame.image

    def _take(self, frame: Frame) -> bool:
        name = frame.name if Path(frame.name).is_file() else f"image {frame.index}"
        digest = hashlib.blake2b(np.ascontiguousarray(frame.image).data, digest_size=16).digest()
        stats = measure(frame.image)
        if digest in self._seen:
            self.left.append(LeftOut(Path(name), f"is a duplicate: it has the same pixels as {self._seen[digest]}"))
            return False
        if stats.contrast < FLAT:
            self.left.append(LeftOut(Path(name), "is constant: there is no contrast in it"))
            return False
        self._seen[digest] = Path(name).name
        self.names.append(name)
        self.stats.append(replace(stats, sample=_NONE))
        self.parts.add(thumbnail(frame.image))
        return True

    def findings(self, profile: HealthProfile | None = None) -> Iterator[str]:
        """What a person should know, in plain sentences: what was left out, how many parts there are, other light."""
        yield from left_in_words(self.left)
        if sentence := parts_in_words(self.parts.numbers):
            yield sentence
        if profile is not None:
            yield from unlike_profile(self.stats, profile)


def left_in_words(left: Sequence[LeftOut], most: int = 5) -> Iterator[str]:
    """Each of the first few that were left out, and how many more."""
    for one in left[:most]:
        yield f"left out {one}"
    if len(left) > most:
        yield f"left out {plural(len(left) - most, 'more image')} for the like reasons"


def parts_in_words(numbers: Sequence[int], *, linked: bool = False) -> str:
    """That the images show fewer parts than they are; empty where each shows another. `linked` where that is taken from
    their order (`similar_images`)."""
    count = len(set(numbers))
    if count == len(numbers):
        return ""
    shown = f"{plural(len(numbers), 'image')} show {'about ' if linked else ''}{plural(count, 'different part')}"
    if linked and count >= FEWEST:
        return (
            f"{shown} or scenes, in several pictures each: a part is left out as a whole and counts once, so "
            f"promises rest on {count} and not on {len(numbers)}; where each image shows another part, give --groups no"
        )
    if count < FEWEST:
        return (
            f"{shown}: they hardly differ. Where they are frames of one part nothing is known of others, and the "
            "threshold will refuse good ones: give images of different parts"
        )
    return f"{shown}: frames that hardly differ count once, so promises rest on {plural(count, 'part')}"


def unlike_profile(stats: Sequence[ImageStats], profile: HealthProfile) -> Iterator[str]:
    """How the light or the focus of good images differs from that of the images a bundle was built from."""
    if not stats:
        return
    brightness, sharpness = (
        float(np.median([getattr(one, name) for one in stats])) for name in ("brightness", "sharpness")
    )
    low, high = profile.brightness
    margin = max(2.0, 0.5 * (high - low))
    if not low - margin <= brightness <= high + margin:
        word = "darker" if brightness < low else "brighter"
        yield (
            f"these images are {word} than those of the build (mean gray level {brightness:.0f}, there {low:.0f} to "
            f"{high:.0f}): where the light has changed, mend it, or build again with images in this light"
        )
    if sharpness < 0.8 * profile.sharpness[0]:
        yield "these images are less sharp than those of the build: focus, dirt on the lens, or other motion?"


def moved_in_words(scores: Sequence[float], old: Thresholds, new: Thresholds) -> str:
    """That most of the images would have been refused until now, with what follows; empty where they would not."""
    refused = sum(score > old.image for score in scores)
    if refused <= len(scores) // 2:
        return ""
    factor = (new.image - old.image_center) / (old.image - old.image_center)
    return (
        f"{refused} of {plural(len(scores), 'image')} {are(refused)} NG by the threshold until now, and the new one "
        f"lies {factor:.1f} times as far from a usual part: light, camera or part has changed, or these are no good "
        "parts. Defects may pass; building again is safer"
    )
