"""Defines a recipe: what is judged otherwise for one kind of part, chosen by the number that a controller gives."""

from __future__ import annotations

import msgspec

from edgead.config.fields import Factor, Pixels, Share

LAST = 65535  # numbers fit into a register


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """One recipe; what it does not say is as the station has it."""

    bundle: str | None = None
    threshold: Factor | None = None
    review: Share | None = None
    min_area: Pixels | None = None
    judge: list[str] | None = None  # areas, as the options of the station
    ignore: list[str] | None = None
    settings: dict[str, str] = msgspec.field(default_factory=dict)  # camera's name -> exposure=120&gain=4
