"""Defines the values that pass through the runtime: a frame goes in, a result comes out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ImageU8 = NDArray[np.uint8]  # (H, W, 3), BGR, 0..255, as OpenCV delivers it
MapF32 = NDArray[np.float32]  # (h, w), higher is stranger
Mask = NDArray[np.bool_]  # (H, W)
Labels = NDArray[np.uint8]  # (h, w): the component each cell belongs to, 0 the background
Change = Literal["missing", "extra", "moved", "changed"]
MOST_TILES = 1024  # of one frame
NOTHING = 5e-4  # of an area: what is written as 0.0 %
Tensor = NDArray[np.float32]  # (B, 3, H, W), BGR, normalized as the manifest's input spec says


class Verdict(str, Enum):
    """What the line does with a part."""

    OK = "OK"
    REVIEW = "REVIEW"  # between the two thresholds: a person decides
    NG = "NG"  # refused, also where it was judged too late
    INVALID = "INVALID"  # the picture cannot be judged: the camera's trouble, never the part's
    LATE = "LATE"  # not NG, but judged past the deadline

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture, and where and when it was taken."""

    image: ImageU8
    index: int = 0
    name: str = ""
    time: float = 0.0  # seconds since the epoch at capture; 0 where unknown
    camera: str = ""  # which camera of the station took it
    clock: float = 0.0  # time.monotonic() at capture, so that setting the clock ages no frame; 0 where unknown
    clocked_by: str = ""  # what `clock` is by: driver, pts, header, request or backlog; "" where that is not known
    opening: int = 0  # how often its source had been opened anew before
    trigger: int = 0  # number of the trigger whose part it shows; 0 where the line has no triggers
    recipe: int = 0  # number of the recipe that it is judged with; 0 where there are none
    settings: tuple[tuple[str, str], ...] = ()  # what its camera was set to, as it was read back from it


@dataclass(frozen=True, slots=True)
class Region:
    """A box around connected anomalous cells, in pixels of the frame."""

    x: int
    y: int
    width: int
    height: int
    score: float  # the region's highest calibrated map value; 1.0 is the pixel threshold


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds of wall time spent on one frame."""

    preprocess: float
    infer: float
    postprocess: float

    @property
    def total(self) -> float:
        return self.preprocess + self.infer + self.postprocess


@dataclass(frozen=True, slots=True)
class Deviation:
    """One component of which a place of the picture shows more or less than good parts do."""

    component: str
    place: str  # a cell of the grid in words, such as "at the top left"; "in the whole picture"
    share: float  # of the place's area that the component covers, 0..1
    usual: float  # the mean of good parts
    size: float  # the difference in standard deviations of good parts; negative where there is less

    def __str__(self) -> str:
        """Which component, where, more or less than usual, and by how much."""
        if self.usual < NOTHING:
            return f"{self.component}: {self.share:.1%} of the area {self.place}, where good parts have none"
        if self.share < NOTHING:
            return f"{self.component}: none {self.place}, where good parts have {self.usual:.1%} of the area"
        change = self.share / self.usual - 1
        return f"{self.component}: {abs(change):.0%} {'more' if change > 0 else 'less'} than usual {self.place}"


@dataclass(frozen=True, slots=True)
class ObjectFinding:
    """One object of the picture that good parts have not, or have and this one has not, and where."""

    change: Change
    object: str  # its kind
    place: str  # in words, such as "at the top left"; empty for what is missing and may lie anywhere
    x: float  # left, in shares of the frame's width; of what is missing, where it usually lies
    y: float  # top, in shares of its height
    width: float
    height: float
    size: float  # how much it counts, in standard deviations of good parts

    def __str__(self) -> str:
        """Which object, what is the matter with it, and where."""
        where = f" {self.place}" if self.place else ""
        if self.change == "extra":
            return f"{self.object}: one too many{where}"
        if self.change == "moved":
            return f"{self.object}: lies{where}, where good parts have none"
        return f"{self.object}: {self.change}{where}"

    def box(self, frame_size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, width and height in pixels of a frame (H, W)."""
        height, width = frame_size
        left, top = int(self.x * width), int(self.y * height)
        right, bottom = math.ceil((self.x + self.width) * width), math.ceil((self.y + self.height) * height)
        return left, top, min(right, width) - left, min(bottom, height) - top

    def to_dict(self, frame_size: tuple[int, int]) -> dict[str, Any]:
        """Plain values for JSON, the box in pixels of a frame (H, W)."""
        left, top, width, height = self.box(frame_size)
        named = {"change": self.change, "object": self.object, "place": self.place, "size": self.size}
        return {**named, "x": left, "y": top, "width": width, "height": height}


@dataclass(frozen=True, slots=True, eq=False)
class Branches:
    """What a method that knows the parts of a part measures on one frame: components or objects. The raw image score is
    the sum of both branches."""

    logical: float  # is something missing, too many, in the wrong place
    structural: float  # does every place look right
    labels: Labels  # of components, or the number of each object from 1
    deviations: tuple[Deviation, ...]  # of components, the strongest first
    objects: tuple[ObjectFinding, ...] = ()  # what is missing, extra, moved or changed; the strongest first

    @property
    def unusual(self) -> tuple[Deviation | ObjectFinding, ...]:
        """What of it is worth words."""
        return (*self.deviations, *self.objects)

    def to_dict(self, frame_size: tuple[int, int]) -> dict[str, Any]:
        """Plain values for JSON, places in pixels of a frame (H, W); the labels are left out."""
        return {
            "logical_score": self.logical,
            "structural_score": self.structural,
            "deviations": [asdict(one) for one in self.deviations],
            "objects": [one.to_dict(frame_size) for one in self.objects],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What an engine measures on one frame, before any threshold. Arrays are the caller's to keep."""

    anomaly_map: MapF32  # (h, w), fused, raw
    score: float  # raw image score
    preprocess_ms: float = 0.0
    infer_ms: float = 0.0
    postprocess_ms: float = 0.0
    branches: Branches | None = None  # of methods that know a part's components
    judged_by: str = ""  # the engine, where it may be another from frame to frame; "" for the one that was asked
