"""The bundles of a running station: the one in force, those before it, and the shadow that may follow."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgead.errors import DataError, UsageError
from edgead.stream.promotion import Versions
from edgead.stream.shadow.record import PICTURES, disagreements, newest_record

_SHOWN = 24  # disagreements
_CHANGES = 10


class StationBundles:
    """What the live page asks about bundles, and how it changes them. Its methods may be called from any thread."""

    def __init__(self, versions: Versions, shadow: Path | None) -> None:
        self._versions, self._shadow = versions, shadow
        self.replace: Callable[[Path, str], None] = lambda path, who: None  # has the line go on with another bundle

    def to_dict(self) -> dict[str, Any]:
        """The last changes, what can be done, and the newest disagreements, in plain values."""
        history = self._versions.history()
        possible = ["rollback"] if self._versions.can_roll_back() else []
        if self._shadow is not None and self._shadow.is_file() and not self._versions.has(self._shadow):
            possible.insert(0, "promote")
        changes = [asdict(change) for change in history[-_CHANGES:]]
        return {"history": changes, "possible": possible, "disagreements": self._disagreements()}

    def _disagreements(self) -> list[dict[str, Any]]:
        try:
            places = disagreements(newest_record(self._shadow)) if self._shadow is not None else []
        except DataError:
            return []
        return [{"id": place.name, **json.loads((place / "result.json").read_bytes())} for place in places[:_SHOWN]]

    def picture(self, disagreement: str, kind: str) -> bytes:
        """A picture of a disagreement: frame, line or shadow; raises UsageError where there is none."""
        known = [] if self._shadow is None else disagreements(newest_record(self._shadow))
        for place in known:
            if place.name == disagreement and f"{kind}.jpg" in PICTURES:
                return (place / f"{kind}.jpg").read_bytes()
        raise UsageError("that disagreement is no longer kept")

    def promote(self, who: str) -> None:
        """Put the shadow into force and go on with it; raises EdgeadError."""
        if self._shadow is None:
            raise UsageError("the station has no shadow to promote")
        self._versions.promote(self._shadow, who)
        self.replace(self._versions.bundle, who)

    def rollback(self, who: str) -> None:
        """Take the last promotion back and go on; raises EdgeadError."""
        self._versions.rollback(who)
        self.replace(self._versions.bundle, who)
