"""Decides how much the logical branch counts beside the structural one, by good images whose composition is altered.

Of good images kept aside items that the segmentation finds are taken away or doubled (`data.compositions`). The
structural branch rarely sees that, since all that is left looks right. So the least weight is taken at which what is
altered is told from good images as well as at any, even if it were `MARGIN` spreads less strange, since a few images
show neither the strangest good part nor the mildest change: 1 where the structural branch sees it too, or where what is
strange in a composition stands far out by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead.bundle.manifest import FusionSpec
from edgead.ops import COMPONENTS, fuse, image_score
from edgead.ops.components import judge_components, label_cells
from edgead_calibration.components import Fitted
from edgead_calibration.images import evenly_spaced
from edgead_tools.data.compositions import doubled, removed
from edgead_tools.data.logical import find_items
from edgead_tools.methods import TrainingImages
from edgead_tools.methods.csad.shared import Network, ToTensor, read_outputs

WEIGHTS = (1.0, 2.0, 4.0)
ALIKE = 0.0005  # of the AUROC, by which no weight is better
RELIABLE = 0.9  # AUROC of the logical branch alone, below which it counts no more than structure
MARGIN = 2.0  # spreads of the structural branch
FRAMES = 24  # good images at most, each altered in `EACH` ways of both kinds
EACH = 2
FEWEST = 16  # altered images, of which anything can be said

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Branches:
    """Both branches' values of some images, (N,) each, in spreads."""

    logical: Values
    structural: Values

    def sum(self, weight: float) -> Values:
        return weight * self.logical + self.structural


@dataclass(frozen=True, slots=True)
class Weight:
    """How much the logical branch counts, and what that rests on."""

    weight: float
    altered: int  # images
    logical: float  # AUROC of altered images by that branch alone; 0 where they are too few
    structural: float  # by the other alone
    both: float

    def finding(self) -> dict[str, str]:
        """What the build says of it."""
        few = f"{self.altered} images could be altered, too few to tell"
        figures = (
            f"of {self.altered} good images with an item taken away or doubled, AUROC {self.logical:.3f} by "
            f"components alone, {self.structural:.3f} by structure alone, {self.both:.3f} by both"
        )
        return {
            "found": "what compositions show of planted changes",
            "figures": figures if self.altered >= FEWEST else few,
            "chosen": f"components count {self.weight:g} times as much as structure",
            "overrule": "--set logical=WEIGHT",
        }


def weigh(
    network: Network,
    images: TrainingImages,
    to_tensor: ToTensor,
    device: str,
    fitted: Fitted,
    fusion: FusionSpec,
    seed: int,
) -> Weight:
    """The least of `WEIGHTS` by which altered images are told from good ones as well as by any."""
    altered = _altered(network, images, to_tensor, device, fitted, np.random.default_rng(seed))
    if len(altered) < FEWEST:
        return Weight(WEIGHTS[0], len(altered), 0, 0, 0)
    bad = _branches(network, altered, to_tensor, device, fitted, fusion)
    least = fitted.spec.least
    usual = fitted.logical if least is None else np.maximum(fitted.logical, least)
    good = Branches(usual, fitted.structural)
    weight = least_weight(good, bad)
    found = (auroc(good.logical, bad.logical), auroc(good.structural, bad.structural),
             auroc(good.sum(weight), bad.sum(weight)))  # fmt: skip
    return Weight(weight, len(altered), *(round(one, 4) for one in found))


def least_weight(good: Branches, bad: Branches) -> float:
    """The least of `WEIGHTS` at which bad images are told from good ones as well as at any; 1 where the
    logical branch alone tells few of them."""
    if auroc(good.logical, bad.logical) < RELIABLE:
        return WEIGHTS[0]
    found = {weight: auroc(good.sum(weight), bad.sum(weight) - MARGIN) for weight in WEIGHTS}
    return next(weight for weight, one in found.items() if one >= max(found.values()) - ALIKE)


def auroc(good: Values, bad: Values) -> float:
    """The share of pairs in which the bad value is the larger one; of equal ones half."""
    return float((bad[:, None] > good).mean() + 0.5 * (bad[:, None] == good).mean())


def _altered(
    network: Network,
    images: TrainingImages,
    to_tensor: ToTensor,
    device: str,
    fitted: Fitted,
    random: np.random.Generator,
) -> NDArray[np.uint8]:
    """Images (N, H, W, 3) made of good ones that nothing has learned from."""
    chosen = [np.asarray(images.calibration[index]) for index in evenly_spaced(range(len(images.calibration)), FRAMES)]
    made = []
    for image, outputs in zip(chosen, read_outputs(network, np.stack(chosen), to_tensor, device), strict=True):
        cells = label_cells(outputs[COMPONENTS], fitted.spec.height, fitted.spec.width)
        labels = np.asarray(cv2.resize(cells, image.shape[1::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
        items = find_items(labels)
        for _ in range(EACH):
            made += [removed(image, items, random), doubled(image, labels, items, random)]
    found = [one for one in made if one is not None]
    return np.stack(found) if found else np.empty((0, *images.size, 3), np.uint8)


def _branches(
    network: Network,
    images: NDArray[np.uint8],
    to_tensor: ToTensor,
    device: str,
    fitted: Fitted,
    fusion: FusionSpec,
) -> Branches:
    """What both branches say of every image."""
    seen = []
    for outputs in read_outputs(network, images, to_tensor, device):
        score = image_score(fuse(outputs, fusion), fusion)
        found = judge_components(outputs[COMPONENTS], score, fitted.components)[1]
        seen.append((found.logical, found.structural))
    logical, structural = np.array(seen, np.float64).T
    return Branches(logical, structural)
