"""What good images say of the camera: whether they have color, and how much of their detail reaches the network.

Detail is the energy of the differences between neighboring pixels by spatial frequency, from the power spectra of
sampled rows and columns. Natural pictures have about as much of it in every octave (power falls with the square of the
frequency), so that its share below the input's Nyquist frequency says what resizing keeps. Where power does not rise
above twice that of the camera's noise, which is as strong at all frequencies, there is no detail.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.bundle import InputSpec
from edgead.stream.health import ImageStats
from edgead.types import ImageU8
from edgead_tools.data.input_size import LEAST, STEP
from edgead_tools.pipeline.input_survey import MOST_TILES

GRAY = 2.0  # gray levels between the strongest and the weakest channel of what has no color, at most
COLORED = 6.0  # of what has: where all good images reach it, health.py refuses a gray picture
LINES = 64  # rows and columns of each
BINS = 64  # of frequencies, up to half a cycle a pixel
QUIET = 0.1  # share of the upper half of frequencies that noise alone is in
ALL = 0.95  # of the detail: what is beyond is told from noise by nobody
EDGES = np.linspace(0, 0.5, BINS + 1)  # of the bins, cycles a pixel
FEW_TILES = 4  # which are as well seen at once, by a larger input


@dataclass(frozen=True, slots=True)
class Detail:
    """How much detail images hold, and an input shows."""

    kept: float  # share of the detail that is left at the input
    sharp: float  # times that frames can be shrunk with `ALL` of the detail left


def image_findings(
    stats: Sequence[ImageStats], images: Iterable[ImageU8], spec: InputSpec, *, overlap: int | None, square: bool
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """The rows for the findings of a build, and the figures for the bundle.

    `stats` are of all good images, `images` (H, W, 3) BGR some of them, `spec` is the network's input. `overlap` is
    that of tiles, or None where the method takes none; `square` says whether it takes square inputs alone.
    """
    width, height = (round(float(np.median(sides))) for sides in zip(*(one.size for one in stats), strict=True))
    found = [measure_detail(image, spec.frame) for image in images]
    detail = Detail(*(float(np.median(values)) for values in zip(*map(astuple, found), strict=True)))
    larger = larger_input((height, width), detail, spec, overlap, square=square)
    colors = [one.color for one in stats]
    figures = {"frame": [height, width], "color": round(float(np.median(colors)), 2)}
    figures |= {"kept": round(detail.kept, 4), "sharp": round(detail.sharp, 2)}
    return [*color_findings(colors), detail_finding((height, width), detail, spec, larger)], figures


def color_findings(colors: Sequence[float]) -> list[dict[str, str]]:
    """Whether there is color in images whose channels differ by so many gray levels; nothing where it is faint."""
    gray, least, most = sum(color <= GRAY for color in colors), min(colors), max(colors)
    if gray == len(colors):
        row = {
            "found": "the images are gray",
            "figures": f"channels differ by {most:.0f} gray levels at most",
            "chosen": "a defect that only color shows is not found",
            "overrule": "training on images in color",
        }
    elif gray and most >= COLORED:
        row = {
            "found": f"{gray} of {len(colors)} images are gray, others in color",
            "figures": f"channels differ by {least:.0f} to {most:.0f} gray levels",
            "chosen": "both count as good",
            "overrule": "--exclude with the images of one kind",
        }
    elif least >= COLORED:
        row = {
            "found": "the images are in color",
            "figures": f"channels differ by {least:.0f} gray levels at least",
            "chosen": "a color that no good part has stands out, and a gray frame is INVALID",
            "overrule": "training on gray images",
        }
    else:
        return []
    return [row]


def larger_input(frame: tuple[int, int], detail: Detail, spec: InputSpec, overlap: int | None, *, square: bool) -> str:
    """The option of the smallest input that would show `ALL` detail of frames of that height and width; --tiles auto
    where that takes more than `MOST_TILES`."""
    size = tuple(max(LEAST, STEP * math.ceil(side / detail.sharp / STEP)) for side in frame)
    if square:
        return f"--size {max(size)}"
    if overlap is not None:
        tile = spec.height, spec.width
        rows, columns = (math.ceil((side - overlap) / (one - overlap)) for side, one in zip(size, tile, strict=True))
        if rows * columns > FEW_TILES:
            return f"--tiles {columns}x{rows}" if rows * columns <= MOST_TILES else "--tiles auto"
    return f"--size {size[1]}x{size[0]}"


def detail_finding(frame: tuple[int, int], detail: Detail, spec: InputSpec, larger: str) -> dict[str, str]:
    """What the input shows of frames of that height and width; `larger` is the option of one that would show all."""
    (height, width), (rows, columns) = frame, spec.frame
    shrunk = max(height / rows, width / columns)
    figures = f"frames of {width} x {height} are seen at {columns} x {rows}"
    if shrunk > 1:
        figures += f", {shrunk:.1f} times smaller, which keeps {detail.kept:.0%} of their detail"
    if detail.kept >= ALL:
        found, chosen = "the input shows all detail of the frames", "a larger input would show nothing finer"
        return {"found": found, "figures": figures, "chosen": chosen, "overrule": "--size"}
    more = "tells which tiles show more" if larger == "--tiles auto" else f"would show {ALL:.0%}"
    return {
        "found": "the frames hold more detail than the input shows",
        "figures": figures,
        "chosen": f"{detail.kept:.0%} of the detail counts, where {larger} {more}",
        "overrule": larger,
    }


def measure_detail(image: ImageU8, size: tuple[int, int]) -> Detail:
    """The detail of an image, (H, W, 3) BGR, as it is and at an input of that height and width."""
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    energy = [_energy(lines) for lines in (gray.T, gray)]
    total = float(sum(one.sum() for one in energy))
    if total == 0:
        return Detail(1.0, 1.0)
    below = [np.concatenate([[0.0], np.cumsum(one)]) / total for one in energy]  # at `EDGES`
    limits = [0.5 * min(1.0, now / before) for now, before in zip(size, gray.shape, strict=True)]
    kept = sum(float(np.interp(limit, EDGES, one)) for limit, one in zip(limits, below, strict=True))
    return Detail(kept, 0.5 / float(np.interp(ALL, below[0] + below[1], EDGES)))


def _energy(lines: NDArray[Any]) -> NDArray[np.float64]:
    """The energy of differences between neighbors along some lines (N, L), beyond that of noise, (BINS,)."""
    some = lines[np.linspace(0, len(lines) - 1, min(LINES, len(lines))).round().astype(int)].astype(np.float32)
    length = some.shape[1]
    window = np.hanning(length).astype(np.float32)
    power = (np.abs(np.fft.rfft((some - some.mean(1, keepdims=True)) * window, axis=1)) ** 2).mean(0)
    frequencies = np.fft.rfftfreq(length)
    numbers = np.minimum((2 * BINS * frequencies).astype(int), BINS - 1)
    counts = np.bincount(numbers, minlength=BINS)
    means = np.bincount(numbers, power, BINS) / np.maximum(counts, 1)
    centers = (EDGES[1:] + EDGES[:-1]) / 2
    filled = np.interp(centers, centers[counts > 0], means[counts > 0])
    noise = np.quantile(filled[BINS // 2 :], QUIET)
    return np.asarray(np.where(filled > 2 * noise, filled - noise, 0.0) * np.sin(np.pi * centers) ** 2, np.float64)
