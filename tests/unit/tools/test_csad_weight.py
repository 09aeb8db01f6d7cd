"""How much the logical branch counts is decided by good images with an item taken away or doubled."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from edgead.bundle.manifest import FusionSpec, MapSpec
from edgead_tools.methods import TrainingImages
from edgead_tools.methods.csad.shared import fit_branches
from edgead_tools.methods.csad.weight import FEWEST, Branches, auroc, least_weight, weigh

SIDE, PART = 64, 12
FUSION = FusionSpec(maps=(MapSpec(name="brightness"),), height=8, width=8)


def network(batch: Tensor) -> Mapping[str, Tensor]:
    """Bright cells are parts, and the map is the picture's first pixel everywhere."""
    bright = (batch.mean(1, keepdim=True) > 150).float()
    brightness = batch[:, 0, 0, 0, None, None].expand(-1, 8, 8)
    return {"components": torch.cat([0.5 * torch.ones_like(bright), bright], 1), "brightness": brightness}


def to_tensor(images: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().to(device)


def pictures(count: int, random: np.random.Generator) -> np.ndarray:
    """Two bright parts, one in each half, on a ground whose first pixel says how strange the structural branch finds
    the picture."""
    made = np.full((count, SIDE, SIDE, 3), 60, np.uint8)
    for one in made:
        one[0, 0] = random.integers(20, 100)
        for left in (0, SIDE // 2):
            y, x = random.integers(2, SIDE - PART - 2), left + random.integers(2, SIDE // 2 - PART - 2)
            one[y : y + PART, x : x + PART + random.integers(2)] = 220
    return made


def test_altered_images_are_found_by_their_composition_and_not_by_structure() -> None:
    random = np.random.default_rng(0)
    images = TrainingImages(train=pictures(40, random), calibration=pictures(12, random))
    fitted = fit_branches(network, images, to_tensor, "cpu", ("ground", "part"), FUSION, (SIDE, SIDE), usual=0.9)
    found = weigh(network, images, to_tensor, "cpu", fitted, FUSION, 0)
    assert found == weigh(network, images, to_tensor, "cpu", fitted, FUSION, 0)
    assert found.altered >= FEWEST
    assert found.logical > 0.95 > 0.7 > found.structural
    assert found.both > found.structural
    assert "taken away or doubled" in found.finding()["figures"]


def test_too_few_images_decide_nothing() -> None:
    random = np.random.default_rng(0)
    images = TrainingImages(train=pictures(20, random), calibration=pictures(2, random))
    fitted = fit_branches(network, images, to_tensor, "cpu", ("ground", "part"), FUSION, (SIDE, SIDE), usual=0.9)
    found = weigh(network, images, to_tensor, "cpu", fitted, FUSION, 0)
    assert (found.weight, found.altered < FEWEST) == (1.0, True)
    assert "too few" in found.finding()["figures"]


@pytest.mark.parametrize(
    ("logical", "structural", "weight"),
    [(5.0, 0.0, 2.0), (3.0, 0.0, 4.0), (20.0, 0.0, 1.0), (5.0, 12.0, 1.0), (1.0, 0.0, 1.0)],
)
def test_the_least_weight_that_tells_as_much_is_taken(logical: float, structural: float, weight: float) -> None:
    good = Branches(np.ones(100), np.linspace(-1, 5, 100))  # spreads; a logical value of 1 is usual
    assert least_weight(good, Branches(np.full(20, logical), np.full(20, structural))) == weight


def test_of_equal_values_half_of_the_pairs_count() -> None:
    assert auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == pytest.approx(0.875)


def test_a_branch_that_tells_little_counts_no_more_than_structure() -> None:
    good = Branches(np.ones(100), np.linspace(-1, 5, 100))
    assert least_weight(good, Branches(np.repeat([1.0, 5.0], 10), np.zeros(20))) == 1.0
