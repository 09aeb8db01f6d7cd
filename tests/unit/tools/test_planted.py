"""Planted anomalies: which pictures they are in, what is counted, and how sure a difference is."""

from __future__ import annotations

import boards
import numpy as np
import pytest
from torch import Tensor

from edgead.bundle.manifest import FusionSpec, MapSpec
from edgead_tools.data.alterations import ALTERATIONS
from edgead_tools.evaluation.metrics import image_auroc
from edgead_tools.methods import TrainingImages
from edgead_tools.methods.memory import scores_of
from edgead_tools.methods.planted import gain, plant

FUSION = FusionSpec(maps=(MapSpec(name="light"),), height=8, width=8)


def light(batch: Tensor) -> dict[str, Tensor]:
    return {"light": batch.amax(1)[:, ::8, ::8]}


def test_each_image_to_calibrate_with_gets_one_of_each_kind() -> None:
    images = boards.training_images(6, 5)
    planted = plant(images, seed=0)
    assert planted.images.shape == (5 * (1 + len(ALTERATIONS)), 64, 64, 3)
    np.testing.assert_array_equal(planted.images[:5], images.calibration)
    np.testing.assert_array_equal(planted.images, plant(images, seed=0).images)


def test_the_mean_of_wins_is_the_area_under_the_curve() -> None:
    planted = plant(boards.training_images(6, 5), seed=0)
    maps = planted.read(light, "cpu")
    bad = np.arange(len(planted.images)) >= 5
    assert planted.wins(maps, FUSION).mean() == pytest.approx(image_auroc(scores_of(maps, FUSION), bad))


def test_the_tiles_of_a_frame_are_judged_together() -> None:
    tiles = TrainingImages(boards.boards(6), boards.boards(8, first=6), tiles=2)
    planted = plant(tiles, seed=0)
    maps = planted.read(light, "cpu")
    scores = scores_of(maps, FUSION).reshape(-1, 2).max(1)
    bad = np.arange(len(scores)) >= 4
    assert planted.wins(maps, FUSION).mean() == pytest.approx(image_auroc(scores, bad))


def test_the_error_of_a_difference_is_what_other_images_would_make_of_it() -> None:
    """Against the spread of the difference over many draws of good and bad scores."""
    random = np.random.default_rng(0)

    def wins() -> tuple[np.ndarray, np.ndarray]:
        part = random.normal(0, 1, 30)  # what both see of a part
        good = part + random.normal(0, 0.5, (2, 30))
        bad = part + np.array([[1.0], [1.5]]) + random.normal(0, 0.5, (2, 30))
        first, second = ((bad[one][:, None] > good[one]).astype(float) for one in range(2))
        return second, first

    found = np.array([gain(*wins()) for _ in range(300)])
    assert found[:, 0].mean() > 0.05
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.2)


def test_of_few_images_nothing_is_known() -> None:
    assert gain(np.ones((3, 3)), np.zeros((3, 3))) == (1.0, 1.0)
