"""Defines the judgment of one frame, as it is shown, drawn and written."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.errors import DataError
from edgead.ops.decide import Rules
from edgead.overlay import draw
from edgead.types import Branches, ImageU8, MapF32, Mask, Region, Timings, Verdict


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The judgment of one frame."""

    verdict: Verdict
    score: float  # calibrated: 0.0 a typical good part, 1.0 the threshold; never clamped
    raw_score: float  # as the method defines it
    threshold: float  # the raw score at which a part is NG
    regions: tuple[Region, ...]
    grid_map: MapF32  # (h, w): the calibrated anomaly map on the network's own grid; 1.0 is the pixel threshold
    frame_size: tuple[int, int]  # (H, W) in pixels
    timings: Timings
    engine: str
    precision: str
    model: str  # first 12 hex digits of the bundle's digest
    index: int = 0
    name: str = ""
    time: float = 0.0
    camera: str = ""
    number: int = 0  # of the result in its run, from 1: it rises by one and never repeats; 0 outside of a run
    late: bool = False  # judged past the deadline
    judged: Verdict | None = None  # what was found, where the verdict says something else; None: the verdict
    age: float = 0.0  # milliseconds from capture to judgment; 0 where the time of capture is unknown
    age_by: str = ""  # the clock that `age` is by: `Frame.clocked_by`
    reasons: tuple[str, ...] = ()  # why it is INVALID or late, or what of its components is unusual; in plain words
    branches: Branches | None = None  # of methods that know a part's components
    trigger: int = 0  # number of the trigger that it answers; 0 where the line has no triggers
    part: str = ""  # the part's id, as the trigger gave it
    answer: float = 0.0  # milliseconds from the trigger to its answer
    recipe: int = 0  # number of the recipe that it was judged with; 0 where there are none
    rules: Rules | None = None  # by which the score became the verdict
    extra: dict[str, Any] = field(default_factory=dict)
    bits: int = 16  # full scale of 16-bit pixels, as the bundle has it
    origin: Callable[[], ImageU8] | None = None  # gives the image again, where the detector was asked directly

    def __repr__(self) -> str:
        where = "".join(f" at {r.x},{r.y} {r.width}x{r.height}" for r in self.regions[:3])
        return f"<{self.verdict.value} {self.score:.3f}{where}{f' {self.name}' if self.name else ''}>"

    @property
    def image(self) -> ImageU8 | None:
        """The image that was judged, (H, W, 3) BGR uint8; that of a file is read again at each access, so that many
        results take no memory. None in a pipeline, where frames travel beside results."""
        return None if self.origin is None else self.origin()

    def plot(self, *, components: bool = False) -> ImageU8:
        """The image that was judged with heatmap, regions and verdict drawn over it, (H, W, 3) BGR uint8.

        Raises DataError where the result does not have the image: then use `overlay`.
        """
        image = self.image
        if image is None:
            raise DataError("this result does not have its image: draw with result.overlay(image)")
        return self.overlay(image, components=components)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `plot` to an image file, its format by its ending; raises DataError or OSError."""
        from edgead.files import write_file

        write_file(Path(path), self._encoded(Path(path).suffix or ".png"))

    def show(self) -> None:
        """Open `plot` in the system's viewer of pictures; in a notebook it is enough to end a cell with the result."""
        import tempfile
        import webbrowser

        with tempfile.NamedTemporaryFile("wb", suffix=".png", delete=False) as file:
            file.write(self._encoded(".png"))
        webbrowser.open(Path(file.name).as_uri())

    def _repr_png_(self) -> bytes | None:
        return None if self.origin is None else self._encoded(".png")

    def _encoded(self, ending: str) -> bytes:
        try:
            done, data = cv2.imencode(ending, self.plot())
        except cv2.error:
            done, data = False, None
        if not done or data is None:
            raise DataError(f"a picture cannot be written as '{ending}': end the name in .png or .jpg")
        return data.tobytes()

    @property
    def is_anomalous(self) -> bool:
        return self.verdict is Verdict.NG

    def is_any(self, verdicts: Collection[Verdict]) -> bool:
        """Whether its verdict, what was found or that it is late is among `verdicts`: a late NG is NG and LATE."""
        found = {self.verdict, self.judged or self.verdict} | ({Verdict.LATE} if self.late else set())
        return not found.isdisjoint(verdicts)

    @property
    def anomaly_map(self) -> MapF32:
        """The calibrated map at frame size, (H, W) float32, computed anew at each access."""
        height, width = self.frame_size
        resized = cv2.resize(self.grid_map, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, np.float32)

    @property
    def mask(self) -> Mask:
        """Where `anomaly_map` exceeds the pixel threshold, (H, W) bool, computed anew at each access."""
        return self.anomaly_map > 1.0

    def overlay(self, image: NDArray[Any], *, components: bool = False, color: str = "bgr") -> ImageU8:
        """The judged image with the heatmap, the regions and the verdict drawn over it: new, (H, W, 3) BGR uint8.

        `image` is what was judged in any form that a detector takes as an array, gray, with alpha or in 16 bits too,
        its channels in the order `color`. With `components` these are colored instead, where the method knows them.
        Raises DataError for an image of another size.
        """
        return draw(image, self, components=components, color=color)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; maps and masks are left out."""
        return {
            "number": self.number,
            "index": self.index,
            "name": self.name,
            "time": self.time,
            "camera": self.camera,
            "age_ms": round(self.age, 3),
            "age_by": self.age_by,
            "verdict": self.verdict.value,
            "judged": (self.judged or self.verdict).value,
            "late": self.late,
            "score": self.score,
            "raw_score": self.raw_score,
            "threshold": self.threshold,
            "reasons": list(self.reasons),
            **({} if self.branches is None else self.branches.to_dict(self.frame_size)),
            "regions": [
                {"x": r.x, "y": r.y, "width": r.width, "height": r.height, "score": r.score} for r in self.regions
            ],
            "frame_size": list(self.frame_size),
            "timings_ms": {
                "preprocess": round(self.timings.preprocess, 3),
                "infer": round(self.timings.infer, 3),
                "postprocess": round(self.timings.postprocess, 3),
                "total": round(self.timings.total, 3),
            },
            "engine": self.engine,
            "precision": self.precision,
            "model": self.model,
            **({} if self.rules is None else {"rules": asdict(self.rules)}),
            **self._of_the_trigger(),
            **self.extra,
        }

    def _of_the_trigger(self) -> dict[str, Any]:
        recipe = {"recipe": self.recipe} if self.recipe else {}
        if not self.trigger:
            return recipe
        return {"trigger": self.trigger, "part": self.part, "answer_ms": round(self.answer, 3), **recipe}

    def to_json(self) -> str:
        """`to_dict` as one line; a number that is not finite becomes null, which JSON has instead."""
        try:
            return json.dumps(self.to_dict(), allow_nan=False)
        except ValueError:
            return json.dumps(_finite(self.to_dict()), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
