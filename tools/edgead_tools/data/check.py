"""Checks images before training: what cannot be learned from is left out, with the reason.

What is left out, and why:

    unreadable  missing, empty, cut short, damaged, not 8 or 16 bit
    black       a 16-bit file that uses so little of its range that `bits` must be wrong
    constant    no contrast: a covered lens, a lamp that was off
    duplicate   the same pixels as an image before it
    odd-sized   of another kind than the rest: a thumbnail, a screenshot

Odd sizes. Sets of mixed sizes are legitimate, so an image is not compared with the average but asked whether
sizes lead from the rest to it in small steps: sorted aspect ratios break into groups where neighbors differ
by more than 1.5x, sorted areas where they differ by more than 4x. Images outside the largest group are odd,
unless they are more than a tenth (of few images, half): then the set is of several kinds and is kept whole.
Measured largest steps (aspect, area): magnetic_tile's train side 1.26x, 1.27x (762 images, 710 sizes), its
test side 1.17x, 1.12x; natural 1.33x, 1.28x; textures 1.22x, 1.22x; the six other sets have one size each.
Distance from the median, the obvious rule, would throw out 272 of magnetic_tile's 762 at 1.5x.

Contrast. The flattest image of all those sets has a standard deviation of 9.6 gray levels; below 1 is flat.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError
from edgead.images import read_file, to_bgr
from edgead.listing import LeftOut
from edgead.ops import resize
from edgead.stream.health import ImageStats
from edgead.types import ImageU8
from edgead_calibration.good_images import Thumbnail, part_numbers, thumbnail
from edgead_calibration.health import measure_good
from edgead_calibration.similar_images import find_groups
from edgead_tools.data.cache import Cache, Progress, Rows, in_parallel, new_rows, open_rows
from edgead_tools.data.decoded import DecodedImages
from edgead_tools.data.samples import Sample

ASPECT_STEP = 1.5
AREA_STEP = 4.0
ODD_SHARE = 0.1  # more than this share of other sizes (and more than one image) is a mixed set
FLAT = 1.0  # gray levels of standard deviation
BLACK = 16  # gray levels; 12 significant bits read as 16 reach 16


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """What the check let through."""

    accepted: tuple[Sample, ...]  # in the order they were given
    rejected: tuple[LeftOut, ...]
    digest: str  # SHA-256 over the names and contents of the accepted files, in whatever order
    images: Rows | None = None  # row i is accepted[i] at the cache's size, read-only; None without a cache
    large: Rows | None = None  # the same at the size of the second cache
    stats: tuple[ImageStats, ...] = ()  # of accepted[i], for the profile of the camera's health
    parts: tuple[int, ...] = ()  # the number of the part on accepted[i]: frames that hardly differ have the same
    linked: bool = False  # whether so have others that were taken in a row of one thing (`similar_images`)

    def rows(self, samples: Iterable[Sample]) -> NDArray[np.intp]:
        """The rows of `images` that hold `samples`."""
        position = {sample: row for row, sample in enumerate(self.accepted)}
        return np.array([position[sample] for sample in samples], np.intp)

    def parts_of(self, samples: Iterable[Sample]) -> list[int]:
        """The number of the part that each of the samples shows."""
        number = dict(zip(self.accepted, self.parts, strict=True))
        return [number[sample] for sample in samples]


@dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """What one reading of a file told."""

    problem: str
    contents: str = ""  # SHA-256 of the file
    pixels: str = ""  # digest of the decoded image
    size: tuple[int, int] = (1, 1)  # (H, W)
    thumbnail: Thumbnail | None = None
    stats: ImageStats | None = None


def check(
    samples: Sequence[Sample],
    bits: int = 16,
    *,
    cache: Cache | None = None,
    large: Cache | None = None,
    decoded: DecodedImages | None = None,
    groups: Literal["auto", "yes", "no"] = "auto",
    on_progress: Progress | None = None,
) -> Checked:
    """Read every image once and keep those to learn from; `bits` is the full scale of 16-bit files.

    The same reading also resizes the images into `cache` and `large` where they are given, and keeps them in `decoded`,
    so that nothing is decoded twice. `groups` says whether images that look alike are of one
    part; auto: where they were taken in a row (`similar_images`). Raises DataError when a cache cannot be written.
    """
    if not samples:
        return _conclude(samples, [], None, None, "no")
    decoded = decoded or DecodedImages(bits, limit=0)
    with ExitStack() as stack:
        targets = [
            stack.enter_context(new_rows(one.path, len(samples), one.height, one.width))
            for one in (cache, large)
            if one is not None
        ]

        def look_and_keep(index: int) -> _Look:
            return _look(samples[index], bits, decoded, [rows[index] for rows in targets])

        looks = list(in_parallel(look_and_keep, range(len(samples)), on_progress))
    return _conclude(samples, looks, cache, large, groups)


def _look(sample: Sample, bits: int, decoded: DecodedImages, rows: Sequence[ImageU8]) -> _Look:
    """Read one image, and write it into each of `rows` at its size."""
    try:
        raw = read_file(sample.path)
        pixels = decoded.pixels(sample, raw)
        image = to_bgr(pixels, sample.path, bits=bits)
    except DataError as error:
        return _Look(str(error).removeprefix(f"{sample.path} "))
    for row in rows:
        row[:] = resize(image, row.shape[0], row.shape[1])
    digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).hexdigest()
    contents = hashlib.sha256(raw).hexdigest()
    return _Look(_fault(image, pixels, bits), contents, digest, image.shape[:2], thumbnail(image), measure_good(image))


def _fault(image: ImageU8, pixels: NDArray[Any], bits: int) -> str:
    """Why nothing can be learned from an image by itself, or ""."""
    peak = int(pixels.max())
    if pixels.dtype == np.uint16 and image.max() <= BLACK and peak >= 64:
        needed = next(count for count in (10, 12, 14, 16) if peak < 2**count)
        if needed < bits:
            return (
                f"is almost black: its values reach {peak} of {2**bits - 1}, as {needed}-bit pixels in a 16-bit file "
                f"do; set bits to {needed} if the camera has {needed} bits"
            )
    if cv2.meanStdDev(image)[1].max() < FLAT:
        return "is constant: there is no contrast in it"
    return ""


def _conclude(
    samples: Sequence[Sample],
    looks: Sequence[_Look],
    cache: Cache | None,
    large: Cache | None,
    groups: Literal["auto", "yes", "no"],
) -> Checked:
    """Judge the images by themselves, then against each other."""
    problems = [look.problem for look in looks]
    first: dict[tuple[str, tuple[int, int]], Sample] = {}
    for index, (sample, look) in enumerate(zip(samples, looks, strict=True)):
        if not problems[index]:
            twin = first.setdefault((look.pixels, look.size), sample)
            problems[index] = f"is a duplicate: it has the same pixels as {twin.name}" if twin is not sample else ""
    sound = [index for index, problem in enumerate(problems) if not problem]
    sizes = [looks[index].size for index in sound]
    for index, is_odd in zip(sound, odd_sizes(sizes), strict=True):
        if is_odd:
            problems[index] = _odd(looks[index].size, sizes)
    accepted = [index for index in sound if not problems[index]]
    thumbnails = [one for index in accepted if (one := looks[index].thumbnail) is not None]
    parts = part_numbers(thumbnails)
    names = [samples[index].path.stem for index in accepted]
    linked = parts if groups == "no" else find_groups(thumbnails, parts, names, always=groups == "yes")
    images, larger = (_drop_rows(one, accepted, len(samples)) if one and accepted else None for one in (cache, large))
    return Checked(
        tuple(samples[index] for index in accepted),
        tuple(LeftOut(samples[index].path, problem) for index, problem in enumerate(problems) if problem),
        _digest((samples[index].name, looks[index].contents) for index in accepted),
        images,
        larger,
        tuple(stats for index in accepted if (stats := looks[index].stats) is not None),
        tuple(linked),
        linked != parts,
    )


def odd_sizes(sizes: Sequence[tuple[int, int]]) -> list[bool]:
    """Which of the sizes (H, W) are grossly unlike the rest, as the module's docstring defines it."""
    if not sizes:
        return []
    height, width = np.array(sizes, np.float64).T
    groups = list(zip(_groups(width / height, ASPECT_STEP), _groups(width * height, AREA_STEP), strict=True))
    main, count = Counter(groups).most_common(1)[0]
    others = len(sizes) - count
    is_mixed = others > max(1, int(len(sizes) * ODD_SHARE)) or others >= count
    return [not is_mixed and group != main for group in groups]


def _groups(values: NDArray[np.float64], step: float) -> list[int]:
    """A number for each value; sorted neighbors share it while their ratio is at most `step`."""
    order = np.argsort(values)
    breaks = values[order[1:]] > step * values[order[:-1]]
    numbers = np.zeros(len(values), np.int64)
    numbers[order[1:]] = np.cumsum(breaks)
    return [int(number) for number in numbers]


def _odd(size: tuple[int, int], sizes: Sequence[tuple[int, int]]) -> str:
    (height, width), count = Counter(sizes).most_common(1)[0]
    usual = f"{count} of {len(sizes)} are {width}x{height}" if count > 1 else "the others are of another kind"
    return f"has an odd size: {size[1]}x{size[0]}, while {usual}"


def _digest(files: Iterable[tuple[str, str]]) -> str:
    total = hashlib.sha256()
    for name, contents in sorted(files):
        total.update(f"{contents} {name}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _drop_rows(cache: Cache, accepted: Sequence[int], count: int) -> Rows:
    """The cache with only the accepted rows in it."""
    if len(accepted) < count:
        full = open_rows(cache.path)
        with new_rows(cache.path, len(accepted), cache.height, cache.width) as rows:
            for row, index in enumerate(accepted):
                rows[row] = full[index]
    return open_rows(cache.path)
