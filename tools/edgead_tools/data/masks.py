"""Reads where the defects are, as drawn by whoever made the data set.

Masks come as 0/255 (MVTec AD), as 0 and one gray value a file (MVTec LOCO), as small class numbers (VisA), or
as 0/255 with the blurred edges of a lossy format (magnetic tiles). One rule reads them all: a pixel is defect
when it is above 127 (half of the scale), or, in a file that has nothing above that, above 0. Of a mask drawn as
transparency the transparent part is no defect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from edgead.errors import DataError
from edgead.images import read_image, read_levels
from edgead.listing import LeftOut, list_images
from edgead.types import Mask
from edgead.wording import plural
from edgead_tools.data.files import relative_name
from edgead_tools.data.samples import Sample

NAMES = "<image's name>_mask.png or <image's name>.png, or a folder <image's name> of several"
Key = tuple[str, str]  # the folder below, and the stem


@dataclass(slots=True)
class Masks:
    """The mask files of one kind of defect, each by what it has in common with its image."""

    folder: Path = Path()
    files: dict[Key, Path] = field(default_factory=dict)
    parts: dict[Key, tuple[Path, ...]] = field(
        default_factory=dict
    )  # one file a defect, in a folder named as the image

    def of(self, image: Path, folder: Path) -> tuple[Path, ...]:
        """The masks of an image in `folder`; none where nothing is drawn."""
        key = _key(image, folder)
        return (self.files[key],) if key in self.files else self.parts.get(key, ())

    def left(self, folder: Path, images: Sequence[Path]) -> list[LeftOut]:
        """What does not fit: masks without an image, and, where there are masks, images without one."""
        used = {mask for image in images for mask in self.of(image, folder)}
        stray = len(self.files) - len(used & set(self.files.values()))
        bare = sum(not self.of(image, folder) for image in images)
        found = []
        if stray:
            reason = f"{stray} of {plural(len(self.files), 'mask')} belong to no image; looked for {NAMES}"
            found.append(LeftOut(self.folder, reason, stray))
        if bare and self.files:
            reason = f"{bare} of {plural(len(images), 'image')} have no mask, so that there are no pixel figures"
            found.append(LeftOut(folder, reason, bare))
        return found


def find_masks(folder: Path) -> Masks:
    """The mask files in `folder` and below it; none where there is no such folder."""
    if not folder.is_dir():
        return Masks()
    masks = Masks(folder)
    parts: dict[Key, list[Path]] = {}
    for path in list_images(folder, deep=True).images:
        masks.files[_key(path, folder)] = path
        if path.parent != folder:
            parts.setdefault(_key(path.parent, folder), []).append(path)
    masks.parts = {key: tuple(paths) for key, paths in parts.items()}
    return masks


def _key(path: Path, folder: Path) -> Key:
    """What an image and its mask have in common."""
    return relative_name(path.parent, folder), path.stem.removesuffix("_mask")


def read_mask(sample: Sample, height: int | None = None, width: int | None = None) -> Mask:
    """The union of a sample's masks, (H, W) bool, at the masks' own size or bilinearly at (height, width).

    A good sample has an empty mask, of the image's own size when none is given. Raises DataError when an
    anomalous sample has no mask, when its masks differ in size, or when one cannot be read.
    """
    if not sample.masks and not sample.is_good:
        raise DataError(f"{sample.path} is anomalous ('{sample.label}') and has no mask")
    if sample.masks:
        mask = _union(sample)
    elif height and width:
        return np.zeros((height, width), np.bool_)
    else:
        return np.zeros(read_image(sample.path).shape[:2], np.bool_)
    if height and width and mask.shape != (height, width):
        coverage = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
        mask = np.asarray(coverage >= 0.5)  # a line one pixel wide survives halving
    return mask


def _union(sample: Sample) -> Mask:
    union = _read(sample.masks[0])
    for path in sample.masks[1:]:
        mask = _read(path)
        if mask.shape != union.shape:
            raise DataError(f"{path} is {mask.shape[1]}x{mask.shape[0]} and {sample.masks[0]} is another size")
        union |= mask
    return union


def _read(path: Path) -> Mask:
    values = read_levels(path)  # colors of a palette count too
    if values.dtype.kind != "u":
        raise DataError(f"{path} is no mask: its pixels are {values.dtype}, not 8 or 16 bit")
    half = np.iinfo(values.dtype).max // 2
    return np.asarray(values > (half if values.max() > half else 0))
