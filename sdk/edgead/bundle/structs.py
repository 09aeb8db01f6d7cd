"""What the parts of the manifest are made of."""

from __future__ import annotations

import msgspec


class Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of every part of the manifest."""


class Scale(Struct, frozen=True):
    """Where a branch's values lie over good parts; `(value - center) / spread` is what counts."""

    center: float
    spread: float

    def __post_init__(self) -> None:
        if not self.spread > 0:
            raise ValueError(f"a spread must be above 0, not {self.spread}")

    def apply(self, value: float) -> float:
        """The value in spreads from the center."""
        return (value - self.center) / self.spread
