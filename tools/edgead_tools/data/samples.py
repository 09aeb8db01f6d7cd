"""Defines what a data set is made of: samples, and its three splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgead.listing import LeftOut

GOOD = "good"
GOOD_NAMES = frozenset({"good", "ok", "normal"})  # folder names, in any letter case
BAD_NAMES = frozenset(
    {"abnormal", "anomalous", "anomaly", "bad", "defect", "defective", "defects", "faulty", "ng", "nok", "reject"}
)
NOT_DEFECTS = frozenset({"components", "ground_truth", "mask", "masks"})  # folders that hold drawings, not parts

Layout = Literal["mvtec", "loco", "mapping", "folder"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One image file: what it shows, and where its defects are drawn."""

    path: Path
    name: str  # relative to the data set's root with "/" between the parts: the same on every machine
    label: str = GOOD  # or the name of the defect
    masks: tuple[Path, ...] = ()  # their union is the defect; empty where nothing is drawn

    @property
    def is_good(self) -> bool:
        return self.label == GOOD


@dataclass(frozen=True, slots=True)
class Dataset:
    """The images of one product, in natural order of their names. `train` and `validation` are all good."""

    root: Path
    layout: Layout
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...] = ()
    test: tuple[Sample, ...] = ()
    left: tuple[LeftOut, ...] = ()  # what was found and is not used, and why

    @property
    def has_masks(self) -> bool:
        """Whether there are anomalous test images and every one of them has a mask."""
        anomalous = [sample for sample in self.test if not sample.is_good]
        return bool(anomalous) and all(sample.masks for sample in anomalous)
