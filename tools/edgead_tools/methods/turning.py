"""Finds out whether parts lie in any direction, and turns good images for what is remembered of them.

Good images are turned and compared with the patches of others that were not. Where parts lie in any direction they
are as far from them as before, where parts always lie the same way up to three times as far, and a tenth more even
where they are round. The memory then holds
turned copies too: few images show a part in few directions, and a new part lies in another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgead.types import ImageU8
from edgead.wording import are, plural
from edgead_calibration.images import evenly_spaced
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.data.augment import turned
from edgead_tools.layers.memory_map import pool_taps, turned_ratio
from edgead_tools.methods import TrainingImages
from edgead_tools.methods.copies import copied_batches, good_image
from edgead_tools.methods.lite import lite_tensor

ANGLES = (40.0, 130.0, 220.0, 310.0)  # degrees: none is a symmetry of what is square
FREE = 1.05  # largest ratio of distances after turning to those before, of parts that lie in any direction
LOOKED_AT = 12  # images that are turned to find it out
COPIES = 400  # turned copies in all, about
MOST_COPIES = 8  # of one image


@dataclass(frozen=True, slots=True)
class Turning:
    """Whether parts lie in any direction, and from which ratio that follows; None: an option says so."""

    free: bool
    ratio: float | None

    def finding(self, copies: int) -> dict[str, str]:
        """What was found, from which figures, what was chosen, and how to overrule it."""
        figures = "" if self.ratio is None else f"turned images are {self.ratio:.2f} times as far from the others"
        held = plural(copies, "turned copy", "turned copies")
        return {
            "found": "the part lies in any direction" if self.free else "the part lies in one direction",
            "figures": figures or "not looked at, since options decide",
            "chosen": f"{held} of every image {are(copies)} remembered" if self.free else "no image is turned",
            "overrule": f"--set turns={'no' if self.free else 'yes'}",
        }


def find_turning(
    turns: bool | None,
    trunk: EfficientNetLite,
    images: TrainingImages,
    cells: Tensor,
    fold: Tensor,
    device: str,
) -> Turning:
    """Whether the parts turn, found out unless `turns` says so; `cells` (N, C, h, w) of all images, `fold` of those to
    be left out together. A tile of a frame shows a part of a part, which lies where it lies."""
    if turns is not None or images.tiles > 1:
        return Turning(turns is True, None)
    fold = torch.tensor(evenly_spaced(fold.tolist(), LOOKED_AT))
    pictures = [turned(good_image(images, index), angle) for angle in ANGLES for index in fold.tolist()]
    found = []
    with torch.no_grad():
        for start in range(0, len(pictures), LOOKED_AT):
            fine, coarse = list(trunk(lite_tensor(np.stack(pictures[start : start + LOOKED_AT]), device)).values())[-2:]
            found.append(pool_taps(fine, coarse).cpu())
    ratio = turned_ratio(cells, torch.cat(found), fold)
    return Turning(ratio <= FREE, ratio)


def copies_of(images: int) -> int:
    """How many turned copies of each of so many images are remembered."""
    return int(np.clip(round(COPIES / images), 1, MOST_COPIES))


def turned_batches(images: TrainingImages, copies: int, seed: int, device: str, size: int) -> Iterator[Tensor]:
    """All images, turned differently, then all of them again, as often as `copies` says; the trunk's input."""

    def change(image: ImageU8, copy: int, random: np.random.Generator) -> ImageU8:
        return turned(image, 360 * (copy + 1 + random.uniform(-0.5, 0.5)) / (copies + 1))

    return copied_batches(images, copies, change, seed, device, size)
