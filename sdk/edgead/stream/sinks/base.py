"""Defines what every sink is, and what a sink may ask of the pipeline that feeds it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Protocol

from edgead.closing import Closing
from edgead.result import Result
from edgead.stream.status import PipelineStatus
from edgead.types import Frame


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

    def replace_bundle(self, path: Path, who: str = "") -> None:
        """Go on with another bundle without missing a frame; raises EdgeadError."""
        ...


class Sink(Closing):
    """Takes what the pipeline has judged, called by one thread at a time, in the order of the frames.

    An OSError from `emit` is reported and the pipeline goes on.
    """

    needs_pixels: ClassVar[bool] = True  # False: frames come without their pixels, and more results can wait

    def attach(self, pipeline: PipelineControl) -> None:
        """Called once, before the first frame, with the pipeline to ask or to steer."""

    def lost(self) -> Mapping[str, int]:
        """Results that `emit` has taken and that can no longer arrive, by reason. Called from any thread."""
        return {}

    @abstractmethod
    def emit(self, frame: Frame, result: Result) -> None:
        """Take one frame and its result; neither may be changed."""
