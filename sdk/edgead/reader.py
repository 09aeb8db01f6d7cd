"""Raw readings of frames, before any threshold: what thresholds are fitted to, and what a detector judges by."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from edgead.arrays import AnyImage
from edgead.bundle.draft import Model
from edgead.closing import Closing
from edgead.engines import load_engine
from edgead.engines.base import Engine
from edgead.types import ImageU8, Reading


class Reader(Closing):
    """A bundle, or the draft of one, on an engine. Several threads may share it: one at a time gets to the engine."""

    def __init__(
        self, source: Model, engine: str | Engine = "auto", precision: str = "auto", threads: int = 0, device: int = 0
    ) -> None:
        """Load `engine`, a name or an engine of the caller's; see `load_engine` for the others and what is raised."""
        self.source = source
        self.engine = load_engine(source, engine, precision, threads, device) if isinstance(engine, str) else engine
        self.batch = self.engine.batch  # frames that are cheaper judged at once than one by one
        self._engine_lock = threading.Lock()

    def read(self, image: ImageU8) -> Reading:
        """The raw map and score of one frame, (H, W, 3) BGR uint8."""
        return self.read_many([image])[0]

    def read_many(self, images: Sequence[AnyImage]) -> list[Reading]:
        """The same of several frames, in order; their sizes may differ, and where the engine is on a GPU they may lie
        there."""
        with self._engine_lock:
            return self.engine.infer_any(images)

    def close(self) -> None:
        """Release the engine; calling it again does nothing."""
        with self._engine_lock:
            self.engine.close()
