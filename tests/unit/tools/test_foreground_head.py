"""The foreground head: it finds parts it has not seen wherever they lie, says where it cannot, and weighs the maps."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgead.errors import UsageError
from edgead_tools.backbones.weights import find
from edgead_tools.layers.foreground_head import weigh
from edgead_tools.methods import TrainingImages, create_method
from edgead_tools.methods.ast_mfr.edge import AstMfrEdge
from edgead_tools.methods.ast_mfr.feature_differences import FeatureDifferences, StandardizedTaps
from edgead_tools.methods.ast_mfr.foreground import fit_foreground
from edgead_tools.methods.joined import Learned
from edgead_tools.methods.lite import lite0_trunk, lite_batches, lite_tensor
from edgead_tools.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE, RADIUS = 128, 26


def part(seed: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """A disk with a hub on an even ground, anywhere in the picture, and its center."""
    random = np.random.default_rng(seed)
    x, y = (int(value) for value in random.integers(RADIUS + 8, SIDE - RADIUS - 8, 2))
    image = np.full((SIDE, SIDE, 3), 190, np.uint8)
    cv2.circle(image, (x, y), RADIUS, (40, 90, 60), cv2.FILLED)
    cv2.circle(image, (x, y), RADIUS // 2, (30, 40, 150), 4)
    return np.asarray(np.clip(image + random.normal(0, 3, image.shape), 0, 255), np.uint8), (x, y)


def parts(first: int, count: int) -> NDArray[np.uint8]:
    return np.stack([part(first + index)[0] for index in range(count)])


def textures(count: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)
    return np.stack([cv2.GaussianBlur(one, (0, 0), 2) for one in noise])


def taps_of(images: TrainingImages) -> StandardizedTaps:
    return StandardizedTaps(lite0_trunk(find("efficientnet-lite0"), "cpu"), lite_batches(images, "cpu"))


def test_maps_count_as_much_as_a_cell_is_the_parts() -> None:
    shown = torch.zeros(1, 4, 4)
    shown[0, 1, 2], shown[0, 3, 0] = 1.0, 0.5
    found = weigh({"stacked": torch.full((1, 4, 4), -2.0), "coarse": torch.full((1, 2, 2), 3.0)}, shown)
    assert torch.equal(found["stacked"], -2 * shown)
    assert found["coarse"].tolist() == [[[0.0, 3.0], [1.5, 0.0]]]


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """Students and a head of 15 pictures, and 4 beside them."""
    images, weights = TrainingImages(parts(0, 15), parts(20, 4)), find("efficientnet-lite0")
    run = Run(tmp_path_factory.mktemp("run"), steps=2, threads=1)
    method = AstMfrEdge(width=8, memory=0, foreground="yes")
    return method.learn(lite0_trunk(weights, "cpu"), (weights,), images, run)


@pytest.fixture
def network(learned: Learned) -> FeatureDifferences:
    assert isinstance(learned.network, FeatureDifferences)
    return learned.network


def test_the_maps_that_set_thresholds_are_weighed_too(learned: Learned, network: FeatureDifferences) -> None:
    assert learned.report["findings"][0]["found"] == "the part is told from its ground"
    assert network.foreground is not None
    with torch.no_grad():
        shown = network.foreground(network.pair.taps(lite_tensor(parts(0, 15), "cpu"))[1]).numpy()
    assert (shown < 0.01).mean() > 0.3
    assert learned.maps["coarse"].shape == (19, 8, 8)
    assert np.abs(learned.maps["stacked"][:15][shown < 0.01]).max() < 0.1 < np.abs(learned.maps["stacked"]).max()


def test_the_head_finds_parts_it_has_not_seen(network: FeatureDifferences) -> None:
    head, taps = network.foreground, network.pair.taps
    assert head is not None
    for seed in range(50, 56):
        image, (x, y) = part(seed)
        with torch.no_grad():
            shown = head(taps(lite_tensor(image[None], "cpu"))[1])[0].numpy()
        rows, columns = np.mgrid[4:SIDE:8, 4:SIDE:8]
        distance = np.hypot(columns - x, rows - y)
        assert shown[distance < RADIUS - 4].min() > 0.5
        assert shown[distance > RADIUS + 24].max() < 0.5


def test_without_the_head_the_maps_count_everywhere(network: FeatureDifferences) -> None:
    batch = lite_tensor(parts(70, 2), "cpu")
    head = network.foreground
    assert head is not None
    with torch.no_grad():
        shown, weighed = head(network.pair.taps(batch)[1]), network(batch)
        network.foreground = None
        plain = network(batch)
        network.foreground = head
    torch.testing.assert_close(weighed["stacked"], shown * plain["stacked"])
    assert (plain["stacked"] - weighed["stacked"]).abs().max() > 0.1


@pytest.mark.parametrize(
    ("images", "figures"),
    [
        (TrainingImages(textures(8), textures(1)), "of 8 good images"),
        (TrainingImages(parts(0, 3), parts(3, 1)), "masks are proposed in 3 of 3 good images"),
        (TrainingImages(parts(0, 8), parts(8, 2), tiles=2), "frames are cut into tiles"),
    ],
    ids=["textures", "few images", "tiles"],
)
def test_where_the_part_is_not_told_reliably_there_is_no_head(images: TrainingImages, figures: str) -> None:
    found = fit_foreground(taps_of(images), images, 0, "cpu")
    assert found.head is None
    assert figures in found.figures
    assert found.finding()["chosen"] == "the students' maps count everywhere"


def test_the_option_is_yes_or_no() -> None:
    with pytest.raises(UsageError, match="'foreground' is one of no, yes, not 'perhaps'"):
        create_method("ast_mfr", "edge", {"foreground": "perhaps"})
    assert create_method("ast_mfr", "edge", {"foreground": True}) == AstMfrEdge(foreground="yes")
