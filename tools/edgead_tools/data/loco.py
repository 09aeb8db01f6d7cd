"""Reads MVTec LOCO's ground truth for the saturated overlap: one file a defect, and how much of it must be found.

A file's defect pixels share one value, which `defects_config.json` beside the category's folders explains: the
defect's name and its saturation, in pixels or as a share of the defect's area.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from edgead.errors import DataError
from edgead.images import read_levels
from edgead.types import Mask
from edgead_tools.data.samples import Sample

CONFIG = "defects_config.json"


class Saturation(msgspec.Struct, frozen=True):
    """How much of one kind of defect is all of it."""

    defect_name: str
    pixel_value: int
    saturation_threshold: float
    relative_saturation: bool

    def area(self, pixels: int) -> int:
        """The pixels of a defect of that many that count as all of it; at least one."""
        if self.relative_saturation:
            return max(1, min(int(self.saturation_threshold * pixels), pixels))
        return max(1, min(int(self.saturation_threshold), pixels))


def read_saturations(root: Path) -> dict[int, Saturation]:
    """The saturations of the data set in `root` by pixel value; none where it has no such file. Raises DataError."""
    path = root / CONFIG
    if not path.exists():
        return {}
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=list[Saturation])
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{path} is not MVTec LOCO's defects_config.json: {error}") from error
    return {entry.pixel_value: entry for entry in entries}


def read_defects(sample: Sample, saturations: dict[int, Saturation]) -> list[tuple[Mask, int]]:
    """A sample's defects, each as its mask (H, W) and the saturation area in pixels; files without one are passed over.

    Raises DataError for a mask that cannot be read or whose value is not explained.
    """
    defects = []
    for path in sample.masks:
        values = read_levels(path)
        value = int(values.max())
        if not value:
            continue
        if value not in saturations:
            raise DataError(
                f"{path} has the value {value}, which {CONFIG} does not explain: take the file it came with"
            )
        mask = np.asarray(values > 0)
        defects.append((mask, saturations[value].area(int(mask.sum()))))
    return defects
