"""Defines what every sink is, and what a sink may ask of the pipeline that feeds it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from edgead.closing import Closing
from edgead.result import Result
from edgead.stream.status import PipelineStatus
from edgead.types import Frame


class BundleControl(Protocol):
    """The bundle of the running line, those before it, and the one that is to follow."""

    def to_dict(self) -> dict[str, Any]:
        """What there is to know, in plain values: `history`, the newest change last, what is `possible` (promote,
        rollback), and the newest `disagreements` with the shadow."""
        ...

    def picture(self, disagreement: str, kind: str) -> bytes:
        """A JPEG of a disagreement: frame, line or shadow; raises UsageError."""
        ...

    def promote(self, who: str) -> None:
        """Put the shadow into force and go on with it; raises EdgeadError."""
        ...

    def rollback(self, who: str) -> None:
        """Take the last promotion back and go on; raises EdgeadError."""
        ...


class AreaControl(Protocol):
    """What of each camera's frames the running line judges."""

    def to_dict(self) -> dict[str, Any]:
        """The areas in force, in plain values."""
        ...

    def change(
        self, camera: str, recipe: int, drawn: Mapping[str, Sequence[str]], size: tuple[int, int], who: str
    ) -> bool:
        """Put what was drawn for a camera into force; whether it is also in the station's file. Raises EdgeadError."""
        ...


class PipelineControl(Protocol):
    """The running pipeline, as a sink sees it. Every method may be called from any thread and returns at once."""

    def status(self) -> PipelineStatus:
        """How the pipeline is doing now."""
        ...

    def set_threshold(self, factor: float, who: str = "") -> None:
        """Call parts NG from `factor` times the bundle's image threshold on, for this run; raises EdgeadError.

        `who` asks for it, for the audit log.
        """
        ...

    def fire(self, source: str, part: str = "") -> object:
        """A part is before the cameras now; raises UsageError where the line has no triggers, or for no part's id."""
        ...

    def replace_bundle(self, path: Path, who: str = "") -> None:
        """Go on with another bundle without missing a frame; raises EdgeadError."""
        ...

    @property
    def bundles(self) -> BundleControl | None:
        """How its bundle is changed for good; None for a line without a file of one."""
        ...

    @property
    def areas(self) -> AreaControl | None:
        """How its areas are changed; None for a line without a configuration."""
        ...


class Sink(Closing):
    """Takes what the pipeline has judged, called by one thread at a time, in the order of the frames.

    An OSError from `emit` is reported and the pipeline goes on.
    """

    title: ClassVar[str] = ""  # what it is called, where that is not the kind that a person writes
    needs_pixels: ClassVar[bool] = True  # False: frames come without their pixels, and more results can wait

    def attach(self, pipeline: PipelineControl) -> None:
        """Called once, before the first frame, with the pipeline to ask or to steer."""

    def lost(self) -> Mapping[str, int]:
        """Results that `emit` has taken and that can no longer arrive, by reason. Called from any thread."""
        return {}

    def shadow(self) -> Mapping[str, Any] | None:
        """How another bundle compares with the line's, of the sink that has one judge. Called from any thread."""
        return None

    @abstractmethod
    def emit(self, frame: Frame, result: Result) -> None:
        """Take one frame and its result; neither may be changed."""
