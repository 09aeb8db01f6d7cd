"""Copies of few good images, placed and lit a little differently, that a memory holds too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import boards
import numpy as np
import pytest
import torch
from torch import Tensor

from edgead.types import ImageU8
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.data.augment import nudged
from edgead_tools.layers.memory_map import FittedMemory, fit_memory_map
from edgead_tools.methods import TrainingImages, memory
from edgead_tools.methods.copies import (
    ENOUGH,
    MOST_VARIED,
    copied_batches,
    good_image,
    varied,
    varied_copies,
    variety_finding,
)
from edgead_tools.methods.lite import lite_tensor
from edgead_tools.methods.memory import MemoryOptions, remember
from edgead_tools.methods.stlm.edge import load_trunk
from edgead_tools.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 64


@pytest.fixture(scope="module")
def trunk() -> EfficientNetLite:
    return load_trunk("efficientnet-lite0", load_state(find("efficientnet-lite0")))


def test_what_moved_a_little_is_nearer_to_a_memory_with_copies(trunk: EfficientNetLite, tmp_path: Path) -> None:
    images, run = boards.training_images(14, 6, SIZE), Run(tmp_path, budget=0, threads=1)
    without, held = (remember(trunk, images, run, MemoryOptions(memory=4096, varied=one)) for one in ("no", "auto"))
    assert (without.varied, held.varied) == (0, MOST_VARIED)
    assert held.images == 20  # copies do not count
    random = np.random.default_rng(1)
    new = np.stack([nudged(one, random, pixels=8, degrees=2) for one in boards.boards(6, SIZE, 50)])
    with torch.no_grad():
        taps = list(trunk(lite_tensor(new, "cpu")).values())
        distances = [one.memory(*taps)["memory"].mean() for one in (without, held)]
    assert distances[1] < distances[0]
    told = {one["overrule"]: one for one in held.findings()}
    assert told["--set varied=no"]["chosen"] == (
        "4 copies of every image, placed and lit a little differently, are remembered"
    )
    assert held.provenance()["varied"] == MOST_VARIED


def test_parts_that_lie_in_any_direction_are_turned_instead(trunk: EfficientNetLite, tmp_path: Path) -> None:
    images, run = boards.training_images(6, 4, SIZE), Run(tmp_path, budget=0, threads=1)
    turned = remember(trunk, images, run, MemoryOptions(memory=32, turns="yes", varied="yes"))
    assert turned.varied == 0
    assert not [one for one in turned.findings() if "varied" in one["overrule"]]


def test_all_images_are_copied_as_often() -> None:
    images = boards.training_images(5, 2, SIZE)
    seen: list[tuple[int, bytes]] = []

    def change(image: ImageU8, copy: int, random: np.random.Generator) -> ImageU8:
        seen.append((copy, image.tobytes()))
        return image

    assert [len(one) for one in copied_batches(images, 2, change, 0, "cpu", 4)] == [4, 3, 4, 3]
    assert seen == [(copy, good_image(images, row).tobytes()) for copy in range(2) for row in range(7)]


def test_a_copy_differs_a_little_from_its_image() -> None:
    image = boards.boards(1, SIZE, 3)[0]
    copy = varied(image, 0, np.random.default_rng(0))
    assert copy.shape == image.shape
    assert not np.array_equal(copy, image)
    assert copy.mean() == pytest.approx(image.mean(), rel=0.08)


@pytest.mark.parametrize(
    ("answer", "images", "still", "copies"),
    [
        (None, ENOUGH - 1, True, MOST_VARIED),
        (None, ENOUGH, True, 0),
        (None, ENOUGH - 1, False, 0),
        (False, 24, True, 0),
        (True, 24, False, MOST_VARIED),
        (True, 2 * ENOUGH, True, 2),
        (True, 1000, True, 1),
    ],
)
def test_few_images_of_still_parts_have_copies(answer: bool | None, images: int, still: bool, copies: int) -> None:
    assert varied_copies(answer, images, still=still) == copies


def test_parts_that_move_have_no_copies(trunk: EfficientNetLite, tmp_path: Path) -> None:
    images, run = boards.training_images(6, 4, SIZE), Run(tmp_path, budget=0, threads=1)
    moving = remember(trunk, images, run, MemoryOptions(memory=32, places="no"))
    assert moving.varied == 0
    still = remember(trunk, images, run, MemoryOptions(memory=32, places="auto"))
    assert still.varied == MOST_VARIED
    assert still.patches.still != 1  # found by the images themselves, before there were copies


def test_the_memory_is_fitted_once_of_images_and_copies(
    trunk: EfficientNetLite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = []

    def fit(cells: Tensor, *args: Any, **options: Any) -> FittedMemory:
        fitted.append(len(cells))
        return fit_memory_map(cells, *args, **options)

    monkeypatch.setattr(memory, "fit_memory_map", fit)
    images, run = boards.training_images(6, 4, SIZE), Run(tmp_path, budget=0, threads=1)
    assert remember(trunk, images, run, MemoryOptions(memory=32)).varied == MOST_VARIED
    assert fitted == [10 + 10 * MOST_VARIED] * 2  # what is seen in a cell, and what surrounds it


def test_what_is_chosen_is_said_in_words() -> None:
    assert variety_finding(1, 300, still=True)["chosen"].startswith("1 copy of every image, placed and lit")
    many = variety_finding(0, 300, still=True)
    assert (many["found"], many["overrule"]) == ("images fill the memory", "--set varied=yes")
    assert many["figures"] == "300 images of a part that lies still, where 50 fill it"
    assert variety_finding(0, 24, still=False)["figures"] == "24 images of a part that moves, where few fill it"


def test_images_are_numbered_from_those_to_train_on() -> None:
    images = TrainingImages(boards.boards(3, SIZE), boards.boards(2, SIZE, 9))
    assert np.array_equal(good_image(images, 2), images.train[2])
    assert np.array_equal(good_image(images, 3), images.calibration[0])
