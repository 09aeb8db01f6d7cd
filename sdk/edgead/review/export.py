"""Exports what was labeled as a data set in MVTec AD's layout: what everybody agrees on, each frame as it was judged.

    OUT/train/good   OUT/test/good   OUT/test/<kind>   OUT/ground_truth/<kind>/<stem>_mask.png

Of good parts one of five is for the test, chosen by its name, so that it stays where it is when more are labeled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgead.errors import DataError, EdgeadError, UsageError
from edgead.files import write_file
from edgead.images import read_image
from edgead.review.labels import DISAGREE, Label, Polygon, decide, read_labels
from edgead.review.layout import DAY, EVENT, RESULT, frame_file

NO_KIND = "defect"  # the folder of defects without a kind
TEST_SHARE = 5  # one good part of so many is for the test


@dataclass(frozen=True, slots=True)
class Reviewed:
    """An event that people have labeled, and agree on."""

    path: Path
    decision: str  # good, defect or unsure
    kind: str  # of a defect; the first that was said
    regions: tuple[Polygon, ...]  # everybody's
    kept_for: str  # why the line kept it

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return self.path.name

    @property
    def for_test(self) -> bool:
        """Whether it is kept out of training: every defect, and a share of the good parts."""
        digest = hashlib.sha256(self.name.encode("utf-8", "surrogateescape")).digest()
        return self.decision != "good" or digest[0] % TEST_SHARE == 0


def read_reviewed(folder: Path) -> tuple[list[Reviewed], Counter[str]]:
    """The events that people agree on, by name, and how many were labeled good, defect, unsure or with disagreement.

    Raises DataError for a folder that is not there, and for a label that cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder of events {folder}")
    counts: Counter[str] = Counter()
    found = []
    for path in _events(folder):
        labels = read_labels(path)
        if decision := decide(labels.values()):
            counts[decision] += 1
            if decision != DISAGREE:
                found.append(_reviewed(path, decision, list(labels.values())))
    return found, counts


def _events(folder: Path) -> Iterator[Path]:
    for day in sorted(folder.iterdir()):
        if DAY.fullmatch(day.name) and day.is_dir() and not day.is_symlink():
            events = (path for path in sorted(day.iterdir()) if EVENT.fullmatch(path.name) and not path.is_symlink())
            yield from (path for path in events if (path / RESULT).is_file())


def _reviewed(path: Path, decision: str, labels: list[Label]) -> Reviewed:
    kind = next((label.kind for label in labels if label.kind), "")
    regions = tuple(region for label in labels for region in label.regions)
    try:
        kept_for = str(json.loads((path / RESULT).read_bytes()).get("kept_for", ""))
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"the result of {path} cannot be read: {error}") from error
    return Reviewed(path, decision, kind, regions, kept_for)


def export(folder: Path, out: Path) -> Counter[str]:
    """Write the labeled events of `folder` to the new folder `out`; gives how many of each label there are.

    What people disagree on and what nobody is sure of stays out. Raises UsageError where `out` holds something, or
    where nothing is labeled, DataError for what cannot be read.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} holds something already: give a new folder to export to")
    found, counts = read_reviewed(folder)
    if not any(one.decision in ("good", "defect") for one in found):
        raise UsageError(f"nothing in {folder} is labeled good or defect yet: label it with `edgead review {folder}`")
    for one in found:
        if one.decision == "good":
            _copy(one, out / ("test" if one.for_test else "train") / "good")
        elif one.decision == "defect":
            kind = one.kind or NO_KIND
            _copy(one, out / "test" / kind)
            if one.regions:
                write_file(out / "ground_truth" / kind / f"{one.name}_mask.png", mask_of(one))
    return counts


def _copy(one: Reviewed, folder: Path) -> Path:
    """The frame as it was kept, under the event's name."""
    frame = frame_file(one.path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(frame, folder / f"{one.name}{frame.suffix}"))
    except OSError as error:
        raise EdgeadError(f"{frame} cannot be copied to {folder}: {error.strerror}") from error


def mask_of(one: Reviewed) -> bytes:
    """The regions of a defect as a PNG of the frame's size, white there."""
    painted = np.zeros(read_image(frame_file(one.path)).shape[:2], np.uint8)
    for region in one.regions:
        cv2.fillPoly(painted, [np.array(region, np.int32)], 255)
    return cv2.imencode(".png", painted)[1].tobytes()
