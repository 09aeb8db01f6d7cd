"""Draws results: the heatmap over the frame, on one fixed color scale, so that images can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError
from edgead.ops.resize import as_image
from edgead.types import Branches, Change, ImageU8, Labels, MapF32, ObjectFinding, Region, Verdict

FULL_SCALE = 2.0  # the calibrated value drawn in the hottest color; 1.0, the pixel threshold, is mid-scale
OPACITY = 0.55  # of the hottest color
_COLORS = {  # BGR; told apart by the color-blind too (Okabe and Ito, 2008)
    Verdict.OK: (115, 158, 0),
    Verdict.REVIEW: (0, 159, 230),
    Verdict.NG: (0, 94, 213),
    Verdict.INVALID: (167, 121, 204),
    Verdict.LATE: (178, 114, 0),
}

_CHANGES: dict[Change, tuple[int, int, int]] = {  # BGR, of the same palette
    "missing": (66, 228, 240),
    "extra": (167, 121, 204),
    "moved": (233, 180, 86),
    "changed": (0, 159, 230),
}


class Drawable(Protocol):
    """What is drawn of a result."""

    @property
    def verdict(self) -> Verdict: ...

    @property
    def score(self) -> float: ...

    @property
    def regions(self) -> tuple[Region, ...]: ...

    @property
    def grid_map(self) -> MapF32: ...

    @property
    def frame_size(self) -> tuple[int, int]: ...

    @property
    def branches(self) -> Branches | None: ...

    @property
    def bits(self) -> int: ...


def heatmap(grid_map: np.ndarray, height: int, width: int) -> ImageU8:
    """A calibrated map as a color picture (height, width, 3) BGR: black at 0 and below, hottest at FULL_SCALE."""
    shown = np.clip(np.nan_to_num(grid_map, nan=FULL_SCALE), 0, FULL_SCALE) * np.float32(255.0 / FULL_SCALE)
    levels = cv2.resize(shown.astype(np.uint8), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO), np.uint8)


def draw(pixels: NDArray[Any], result: Drawable, *, components: bool = False, color: str = "bgr") -> ImageU8:
    """The judged image with the heatmap blended in, the regions boxed and the verdict written: new, (H, W, 3) BGR.

    See `Result.overlay`.
    """
    image = as_image(pixels, color=color, bits=result.bits)
    height, width = result.frame_size
    if image.shape[:2] != (height, width):
        raise DataError(f"an overlay needs the judged image, {width} x {height} pixels, not {pixels.shape}")
    branches = result.branches if components else None
    canvas = tint(image, result) if branches is None else paint(image, branches.labels)
    if result.branches is not None and result.verdict is not Verdict.OK:
        _draw_objects(canvas, result.branches.objects)
    _banner(canvas, f"{result.verdict} {result.score:.2f}", _COLORS[result.verdict], _unit(height, width))
    return canvas


def tint(image: ImageU8, result: Drawable) -> ImageU8:
    """`image` (H, W, 3) BGR, the judged frame in any size, with heatmap and boxes but no words, as a new image."""
    height, width = image.shape[:2]
    grid = np.nan_to_num(result.grid_map, nan=FULL_SCALE)
    alpha = np.clip(grid / FULL_SCALE, 0, 1).astype(np.float32)
    alpha = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR) * np.float32(OPACITY)
    canvas = np.asarray(cv2.blendLinear(image, heatmap(grid, height, width), 1 - alpha, alpha), np.uint8)
    down, across = height / result.frame_size[0], width / result.frame_size[1]
    for region in result.regions:
        first = (round(region.x * across), round(region.y * down))
        last = (round((region.x + region.width) * across) - 1, round((region.y + region.height) * down) - 1)
        cv2.rectangle(canvas, first, last, _COLORS[Verdict.NG], _unit(height, width))
    return canvas


def paint(image: ImageU8, labels: Labels) -> ImageU8:
    """`image` (H, W, 3) BGR in any size with every component of `labels` (h, w) in a color of its own, as a new image.

    The background stays as it is.
    """
    height, width = image.shape[:2]
    large = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    colored = cv2.addWeighted(image, 1 - OPACITY, component_colors()[large], OPACITY, 0)
    return np.asarray(np.where(large[:, :, None] > 0, colored, image), np.uint8)


def component_colors() -> ImageU8:
    """The color of each label, (256, 3) BGR: hues a golden angle apart, so that neighbors differ; 0 is black."""
    hues = np.arange(256) * 111.246 % 180  # of OpenCV's 180 steps around, rounded down
    plain = np.stack([hues, np.full(256, 200), np.full(256, 255)], axis=1).astype(np.uint8)
    colors = np.asarray(cv2.cvtColor(plain[None], cv2.COLOR_HSV2BGR)[0], np.uint8)
    colors[0] = 0
    return colors


def _draw_objects(canvas: ImageU8, objects: Sequence[ObjectFinding]) -> None:
    """Draw each object that is missing, extra, moved or changed as a box with words: dashed where nothing lies."""
    unit = _unit(*canvas.shape[:2])
    for one in objects:
        left, top, width, height = one.box((canvas.shape[0], canvas.shape[1]))
        color, corner = _CHANGES[one.change], (left + width - 1, top + height - 1)
        if one.change == "missing":
            _dash(canvas, (left, top), corner, color, unit)
        else:
            cv2.rectangle(canvas, (left, top), corner, color, unit)
        words = f"{one.change}: {one.object}"
        scale = 0.4 * unit
        (across, up), baseline = cv2.getTextSize(words, cv2.FONT_HERSHEY_SIMPLEX, scale, unit)
        x = max(0, min(left, canvas.shape[1] - across))
        y = top - baseline if top > up + baseline else min(top + height + up + unit, canvas.shape[0] - baseline)
        for shade, thickness in (((0, 0, 0), 3 * unit), (color, unit)):  # an edge, so that it is read on any ground
            cv2.putText(canvas, words, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, shade, thickness, cv2.LINE_AA)


def _dash(
    canvas: ImageU8, first: tuple[int, int], last: tuple[int, int], color: tuple[int, int, int], unit: int
) -> None:
    """A rectangle of dashes."""
    (left, top), (right, bottom) = first, last
    step = 4 * unit
    for x in range(left, right + 1, 2 * step):
        for y in (top, bottom):
            cv2.line(canvas, (x, y), (min(x + step, right), y), color, unit)
    for y in range(top, bottom + 1, 2 * step):
        for x in (left, right):
            cv2.line(canvas, (x, y), (x, min(y + step, bottom)), color, unit)


def _unit(height: int, width: int) -> int:
    """The thickness of a line, in pixels."""
    return max(1, round(min(height, width) / 300))


def _banner(canvas: ImageU8, text: str, color: tuple[int, int, int], unit: int) -> None:
    scale, pad = 0.5 * unit, 4 * unit
    (width, height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, unit)
    cv2.rectangle(canvas, (0, 0), (width + 2 * pad, height + baseline + pad), color, cv2.FILLED)
    cv2.putText(canvas, text, (pad, height + pad), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), unit, cv2.LINE_AA)
