"""Checks the camera's health: a frame that cannot be judged is INVALID, with the reason in plain words.

Each frame is compared with what the good images showed when the bundle was built (the manifest's health profile):
the brightness, contrast and sharpness, the colors, where the scene stands, and the size. What varied among the
good images may vary here, and more: a frame is refused only where it is far outside, since a part with a large
defect must still be judged. All is measured on a sparse sample of the pixels, 0.7 ms for a 1080p frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.bundle.manifest import THUMBNAIL, HealthProfile
from edgead.types import Frame, ImageU8

FROZEN_S = 5.0  # seconds of pictures without any difference, noise included, after which a live camera is frozen
FROZEN_FRAMES = 10  # and at least so many

_SAMPLED = 4 * THUMBNAIL  # rows and columns of the sparse sample
_REACH = THUMBNAIL // 8  # cells that the scene is searched for in each direction
_LAG = 2  # pixels between those whose difference is sharpness: noise weighs less than between neighbors
_BLOWN = 250  # gray level from which a pixel is saturated
_LINES = 32  # distance of the rows and columns whose sharpness is measured, in pixels


@dataclass(frozen=True, slots=True, eq=False)
class ImageStats:
    """What is measured of one picture."""

    size: tuple[int, int]  # (width, height)
    brightness: float  # mean gray level, 0..255
    contrast: float  # standard deviation of the gray levels
    saturated: float  # share of pixels at the upper end
    sharpness: float  # mean of the strongest 1 % of differences over two pixels, in units of the contrast
    color: float  # mean difference between the strongest and the weakest channel, gray levels
    thumbnail: NDArray[np.uint8]  # (THUMBNAIL, THUMBNAIL, 3) BGR
    sample: NDArray[np.uint8]  # (_SAMPLED, _SAMPLED, 3), the sparse sample itself, to tell a frozen picture by


def measure(image: ImageU8) -> ImageStats:
    """The statistics of one image, (H, W, 3) BGR uint8 of any size."""
    height, width = image.shape[:2]
    sample = np.asarray(cv2.resize(image, (_SAMPLED, _SAMPLED), interpolation=cv2.INTER_NEAREST), np.uint8)
    gray = cv2.cvtColor(sample, cv2.COLOR_BGR2GRAY)
    mean, deviation = (float(value[0, 0]) for value in cv2.meanStdDev(gray))
    blue, green, red = cv2.split(sample)
    spread = cv2.subtract(cv2.max(cv2.max(blue, green), red), cv2.min(cv2.min(blue, green), red))
    return ImageStats(
        size=(width, height),
        brightness=mean,
        contrast=deviation,
        saturated=float(np.count_nonzero(gray >= _BLOWN)) / gray.size,
        sharpness=_sharpness(image) / (deviation + 1.0),
        color=float(cv2.mean(spread)[0]),
        thumbnail=np.asarray(cv2.resize(sample, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), np.uint8),
        sample=sample,
    )


def _sharpness(image: ImageU8) -> float:
    """The mean of the strongest 1 % of differences over two pixels, along rows and columns of full resolution."""
    step = max(1, min(image.shape[0] // 8, image.shape[1] // 8, _LINES))
    rows = np.ascontiguousarray(image[step // 2 :: step, :, 1])
    columns = np.ascontiguousarray(image[:, step // 2 :: step, 1])
    counts = np.zeros(256)
    for before, after in ((rows[:, :-_LAG], rows[:, _LAG:]), (columns[:-_LAG], columns[_LAG:])):
        if before.size:
            difference = cv2.absdiff(np.ascontiguousarray(before), np.ascontiguousarray(after))
            counts += cv2.calcHist([difference], [0], None, [256], [0, 256]).ravel()
    wanted = max(1.0, 0.01 * counts.sum())
    taken = np.diff(np.minimum(np.cumsum(counts[::-1]), wanted), prepend=0.0)
    return float((taken * np.arange(255, -1, -1)).sum() / wanted)


def offset(thumbnail: NDArray[np.uint8], reference: NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """Where the middle of the reference is found again: cells right, cells down, how like it is, and how like in place.

    Likeness is the normalized cross-correlation of gray levels, -1..1.
    """
    inner = slice(_REACH, THUMBNAIL - _REACH)
    scene, part = (cv2.cvtColor(one, cv2.COLOR_BGR2GRAY) for one in (thumbnail, reference))
    likeness = cv2.matchTemplate(scene, np.ascontiguousarray(part[inner, inner]), cv2.TM_CCOEFF_NORMED)
    likeness = np.nan_to_num(likeness, nan=0.0, posinf=0.0, neginf=0.0)  # a flat picture is like nothing
    _, best, _, (right, down) = cv2.minMaxLoc(likeness)
    return right - _REACH, down - _REACH, float(best), float(likeness[_REACH, _REACH])


def red_over_blue(thumbnail: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    """How like the two are in red minus blue, cell by cell: 1 the same, -1 with the two exchanged; 0 without color."""
    one, other = (image[:, :, 2].astype(np.float32) - image[:, :, 0] for image in (thumbnail, reference))
    norm = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float((one * other).sum()) / norm if norm > 0 else 0.0


def health_issues(stats: ImageStats, profile: HealthProfile) -> list[str]:
    """Why a picture with these statistics cannot be judged, in plain words; nothing where it can."""
    low, high = profile.brightness
    seen = f"good parts had {low:.0f} to {high:.0f}"
    found = []
    if profile.sizes and stats.size not in profile.sizes:
        sizes = " or ".join(f"{width} x {height}" for width, height in profile.sizes)
        found.append(f"the picture has {stats.size[0]} x {stats.size[1]} pixels, good parts had {sizes}")
    if stats.brightness < 0.4 * low:
        found.append(f"the picture is too dark (mean gray level {stats.brightness:.0f}, {seen}): light or lens cap?")
    elif stats.saturated > profile.saturated[1] + 0.25 or stats.brightness > 255 - 0.4 * (255 - high):
        found.append(f"the picture is too bright (mean gray level {stats.brightness:.0f}, {seen}): exposure?")
    elif stats.contrast < 0.35 * profile.contrast[0]:
        found.append("the picture shows next to nothing: is something before the lens?")
    elif stats.sharpness < 0.5 * profile.sharpness[0]:
        found.append("the picture is blurred: focus, or dirt on the lens?")
    return found or _of_the_scene(stats, profile)


def likely_causes(stats: ImageStats, profile: HealthProfile) -> list[str]:
    """What of a picture that can be judged differs from good parts enough to make good ones NG, in plain words."""
    low, high = profile.brightness
    margin = max(1.5, 0.25 * (high - low), 0.02 * (low + high) / 2)
    seen = f"mean gray level {stats.brightness:.0f}, good parts had {low:.0f} to {high:.0f}"
    if stats.brightness < low - margin:
        return [f"the picture is darker than good parts were ({seen}): the light may be the cause"]
    if stats.brightness > high + margin:
        return [f"the picture is brighter than good parts were ({seen}): the light may be the cause"]
    if stats.sharpness < 0.75 * profile.sharpness[0]:
        return ["the picture is less sharp than good parts were: focus, motion or dirt may be the cause"]
    return []


def _of_the_scene(stats: ImageStats, profile: HealthProfile) -> list[str]:
    """Troubles with colors and place, which only a picture that is otherwise well can show."""
    reference = reference_of(profile)
    if profile.color[0] >= 6 and stats.color < 0.3 * profile.color[0]:
        return ["the picture is gray where good parts had colors: the camera's color mode?"]
    steady = profile.likeness_of_color
    if steady >= 0.5 and red_over_blue(stats.thumbnail, reference) < -0.5 * steady:
        return ["red and blue are exchanged: the camera's color order?"]
    right, down, best, in_place = offset(stats.thumbnail, reference)
    beyond = [abs(moved) > reach + 1.5 for moved, reach in zip((right, down), profile.reach, strict=True)]
    if any(beyond) and profile.likeness >= 0.5 and best >= 0.8 * profile.likeness and best - in_place >= 0.1:
        moved = f"{100 * right / THUMBNAIL:.0f} % across and {100 * down / THUMBNAIL:.0f} % down"
        return [f"the scene is shifted by about {moved}: was the camera moved?"]
    return []


def reference_of(profile: HealthProfile) -> NDArray[np.uint8]:
    """The mean picture of the good parts, (THUMBNAIL, THUMBNAIL, 3) BGR."""
    return np.frombuffer(profile.thumbnail, np.uint8).reshape(THUMBNAIL, THUMBNAIL, 3)


class HealthCheck:
    """The health of one camera, frame by frame."""

    def __init__(self, frozen_s: float = FROZEN_S) -> None:
        """A live camera is frozen after `frozen_s` seconds without any difference; 0: never."""
        self._frozen_s = frozen_s
        self._last: NDArray[np.uint8] | None = None
        self._same = 0
        self._since = 0.0
        self._stats: ImageStats | None = None

    @property
    def stats(self) -> ImageStats | None:
        """What was measured of the frame that was checked last."""
        return self._stats

    def causes(self, profile: HealthProfile | None) -> list[str]:
        """What may have made the frame that was checked last NG, beside its part."""
        return likely_causes(self._stats, profile) if self._stats is not None and profile is not None else []

    def check(self, frame: Frame, profile: HealthProfile | None) -> list[str]:
        """Why the frame cannot be judged; nothing where it can.

        Without a profile, that of a bundle which has none, only a frozen camera and an even picture are told.
        """
        stats = self._stats = measure(frame.image)
        frozen = self._frozen(frame, stats.sample)
        if profile is not None:
            return [*health_issues(stats, profile), *frozen]
        return [*(["the picture shows nothing but one even tone"] if stats.contrast < 1.0 else []), *frozen]

    def _frozen(self, frame: Frame, sample: NDArray[np.uint8]) -> list[str]:
        if not frame.clock or not self._frozen_s:  # files may be alike
            return []
        if self._last is None or not np.array_equal(sample, self._last):
            self._last, self._same, self._since = sample, 0, frame.clock
            return []
        self._same += 1
        still = frame.clock - self._since
        if self._same < FROZEN_FRAMES or still < self._frozen_s:
            return []
        return [f"the picture is frozen: not a pixel has changed for {still:.0f} s"]
