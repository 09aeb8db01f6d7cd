"""Defines what is judged otherwise: in a named area, and for one kind of part, chosen by the number that a controller
gives (a recipe)."""

from __future__ import annotations

import msgspec

from edgead.config.fields import Factor, Pixels, Share

LAST = 65535  # numbers fit into a register


class NamedArea(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """An area with rules of its own; what it does not say is as everywhere."""

    where: str | list[str]  # as the option to judge takes it
    threshold: Factor | None = None
    min_area: Pixels | None = None
    min_area_mm2: Pixels | None = None

    @property
    def places(self) -> list[str]:
        return [self.where] if isinstance(self.where, str) else self.where


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """One recipe; what it does not say is as the station has it."""

    bundle: str | None = None
    threshold: Factor | None = None
    review: Share | None = None
    min_area: Pixels | None = None
    judge: list[str] | None = None  # areas, as the options of the station
    ignore: list[str] | None = None
    areas: dict[str, NamedArea] | None = None
    settings: dict[str, str] = msgspec.field(default_factory=dict)  # camera's name -> exposure=120&gain=4
