"""The part of the manifest that says what size of defect a bundle finds."""

from __future__ import annotations

import msgspec


class PlantedDefect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A defect of known kind, size and contrast in a good part, and the score it was given."""

    kind: str
    size: float  # the square root of its area, as a share of the frame's shorter side
    contrast: float  # mean change of the pixels it covers, gray levels
    score: float  # raw, of the whole image


class DetectionCurve(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The probability of detection of planted defects by size, at one threshold (edgead_calibration.detection)."""

    kind: str
    planted: int
    found: int
    a90: float | None  # the size found in 90 % of cases, in shares of the shorter side; None: none that was planted
    a90_95: float | None  # the size of which 95 % confidence says so
    sizes: tuple[float, ...]
    probability: tuple[float, ...]
    low: tuple[float, ...]  # 95 % limits, each one-sided
    high: tuple[float, ...]

    def in_words(self, frame: tuple[int, int], mm_per_pixel: float = 0.0) -> str:
        """What is found, for frames of (height, width) pixels."""
        text = f"{self.kind}: {self.found} of {self.planted} planted defects found; "
        if self.a90_95 is None:
            return text + f"90 % with 95 % confidence at no size up to {_length(self.sizes[-1], frame, mm_per_pixel)}"
        return text + f"90 % of those of {_length(self.a90_95, frame, mm_per_pixel)} or more, with 95 % confidence"


def _length(size: float, frame: tuple[int, int], mm_per_pixel: float) -> str:
    pixels = size * min(frame)
    return f"{pixels * mm_per_pixel:.3g} mm" if mm_per_pixel > 0 else f"{pixels:.1f} pixels of a frame"


class Detection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What size of defect is found, by defects planted in good images."""

    frame: tuple[int, int]  # height and width in pixels of the frames they were planted in
    planted: tuple[PlantedDefect, ...]
    curves: tuple[DetectionCurve, ...]  # of every kind together, then of each
