"""Reads recipes: what a target needs of a bundle's networks, and what a detector may lose. One YAML for each target."""

from __future__ import annotations

from importlib.resources import files

import msgspec

from edgead.bundle.manifest import Precision
from edgead.config.reading import parse_yaml
from edgead.errors import UsageError, nearest
from edgead_calibration.gate import Tolerances
from edgead_calibration.ranges import Form, Method


class Int8(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How INT8 is made (see edgead_calibration.ranges)."""

    form: Form
    method: Method = "minmax"
    depthwise: bool = True  # quantize depthwise convolutions too
    first: bool = True  # quantize the block that reads the image, also where it is a small part of the network
    searches: bool = False  # quantize the products of searches for the nearest patch
    reduce_range: bool = False  # weights in 7 bits, for processors that saturate
    images: int = 32  # at most so many set the ranges


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one target wants."""

    engines: tuple[str, ...]  # that are to run the networks
    precisions: tuple[Precision, ...]  # best first, where speed cannot be measured here
    int8: Int8
    tolerances: Tolerances = Tolerances()
    batches: tuple[int, ...] = (1,)  # sizes in which every network must give the same maps


def names() -> list[str]:
    """The recipes there are."""
    return sorted(entry.name.removesuffix(".yaml") for entry in files(__package__).joinpath("recipes").iterdir())


def load_recipe(name: str) -> Recipe:
    """The recipe of that name; raises UsageError with the nearest known one."""
    if name not in names():
        raise UsageError(f"unknown recipe '{name}': {nearest(name, names())}")
    text = files(__package__).joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8")
    return msgspec.convert(parse_yaml(text, f"the recipe {name}"), Recipe)
