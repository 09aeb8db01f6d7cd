"""Whether parts lie in any direction, and the turned copies that are then remembered."""

from __future__ import annotations

from pathlib import Path

import boards
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.methods import TrainingImages
from edgead_tools.methods.memory import MemoryOptions, remember
from edgead_tools.methods.stlm.edge import load_trunk
from edgead_tools.methods.turning import COPIES, MOST_COPIES, Turning, copies_of, turned_batches
from edgead_tools.training.loop import Run

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 64


@pytest.fixture(scope="module")
def trunk() -> EfficientNetLite:
    return load_trunk("efficientnet-lite0", load_state(find("efficientnet-lite0")))


def grain(count: int, size: int, *, free: bool) -> NDArray[np.uint8]:
    """Surfaces (count, size, size, 3) whose grain runs in every direction or in one."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(count):
        noise = random.normal(0, 1, (size, size)).astype(np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=3 if free else 8, sigmaY=3 if free else 1)
        gray = np.clip(128 + 50 * noise / noise.std(), 0, 255).astype(np.uint8)
        found.append(np.repeat(gray[:, :, None], 3, axis=2))
    return np.stack(found)


@pytest.mark.parametrize("free", [True, False])
def test_whether_parts_lie_in_any_direction_is_found_out(trunk: EfficientNetLite, tmp_path: Path, free: bool) -> None:
    pictures = grain(60, 96, free=free)
    images = TrainingImages(pictures[8:], pictures[:8])
    remembered = remember(trunk, images, Run(tmp_path, budget=0, threads=1), MemoryOptions(memory=64))
    assert remembered.turning.free is free
    assert remembered.images == 60  # copies do not count
    told = remembered.findings()[1]
    assert told["found"] == ("the part lies in any direction" if free else "the part lies in one direction")
    assert told["overrule"] == f"--set turns={'no' if free else 'yes'}"


def test_an_option_decides_unasked(trunk: EfficientNetLite, tmp_path: Path) -> None:
    images, run = boards.training_images(8, 4, SIZE), Run(tmp_path, budget=0, threads=1)
    few = remember(trunk, images, run, MemoryOptions(memory=4096, turns="no"))
    many = remember(trunk, images, run, MemoryOptions(memory=4096, turns="yes"))
    assert few.turning.ratio is None
    new = boards.boards(4, SIZE, 50)
    pictures = torch.cat([*turned_batches(TrainingImages(new, new[:1]), 1, 0, "cpu", 16)])[:4]
    taps = list(trunk(pictures).values())
    assert many.memory(*taps)["memory"].mean() < few.memory(*taps)["memory"].mean()


def test_every_image_is_turned_as_often_as_the_others() -> None:
    images = boards.training_images(5, 2, SIZE)
    batches = list(turned_batches(images, 3, 0, "cpu", 4))
    assert [len(one) for one in batches] == [4, 3] * 3
    assert len({one.numpy().tobytes() for batch in batches for one in batch}) == 21


def test_what_is_remembered_is_said_in_words() -> None:
    assert Turning(True, 1.0).finding(1)["chosen"] == "1 turned copy of every image is remembered"
    assert Turning(True, None).finding(8)["chosen"] == "8 turned copies of every image are remembered"
    assert Turning(False, None).finding(8)["chosen"] == "no image is turned"


@pytest.mark.parametrize(("images", "copies"), [(8, MOST_COPIES), (100, COPIES // 100), (5000, 1)])
def test_few_images_are_turned_more_often(images: int, copies: int) -> None:
    assert copies_of(images) == copies
