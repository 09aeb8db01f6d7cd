"""CSAD's edge form: one trunk for streams, components and memory, and what stands in where no components are found."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import boards
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgead.errors import DataError, UsageError
from edgead_tools.backbones.efficientnet_lite import EfficientNetLite
from edgead_tools.layers.residual_map import stack_levels
from edgead_tools.layers.standardized import Pair
from edgead_tools.methods import create_method, joined
from edgead_tools.methods.csad import edge
from edgead_tools.methods.csad.edge import ComponentParts, ComponentsAndStreams, Parts, unsteady
from edgead_tools.methods.csad.looks import LOOKS, fit_looks, looks_names
from edgead_tools.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 64


def taps(images: int, seed: int) -> Pair:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(images, 5, 8, 8, generator=random), torch.randn(images, 7, 4, 4, generator=random)


def test_looks_are_the_nearest_centers_and_the_most_frequent_is_the_background() -> None:
    head = fit_looks(lambda: (taps(6, seed) for seed in range(4)), 0)
    fine, coarse = taps(3, 9)
    logits = head({}, (fine, coarse))
    assert logits.shape == (3, LOOKS, 8, 8)
    assert len(looks_names()) == LOOKS
    weight, bias = head.get_buffer("weight"), head.get_buffer("bias")
    expected = torch.einsum("kc,bchw->bkhw", weight[:, :, 0, 0], stack_levels(fine, coarse)) + bias[:, None, None]
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    counts = torch.bincount(torch.cat([head({}, taps(6, seed)).argmax(1) for seed in range(4)]).flatten())
    assert int(counts.argmax()) == 0


class Fixed(nn.Module):
    """Gives logits of label maps, image by image."""

    def __init__(self, labels: np.ndarray) -> None:
        super().__init__()
        self.labels, self.at = torch.from_numpy(labels), 0

    def trunk(self, image: Tensor) -> Mapping[int, Tensor]:
        return {0: image}

    def components(self, seen: Mapping[int, Tensor]) -> Tensor:
        count = len(seen[0])
        some = self.labels[self.at : self.at + count]
        self.at += count
        return nn.functional.one_hot(some.long(), 3).permute(0, 3, 1, 2).float()


def segmented(areas: list[int]) -> np.ndarray:
    """Label maps (N, 16, 16) with a second component of those cells, and a first one that is always the same."""
    labels = np.zeros((len(areas), 16, 16), np.uint8)
    labels[:, 12:] = 1
    for one, area in zip(labels, areas, strict=True):
        one.reshape(-1)[:area] = 2
    return labels


@pytest.mark.parametrize(
    ("areas", "words"),
    [([30, 34, 31, 29, 30, 33], ""), ([30, 0, 90, 0, 30, 120], "only in 2 of 6"), ([30, 30, 0, 30, 31, 33], "")],
)
def test_components_serve_where_good_images_have_as_much_of_each(areas: list[int], words: str) -> None:
    images = boards.training_images(8, 6, SIDE)
    network = Fixed(segmented(areas))
    reason = unsteady(network, images, "cpu")  # type: ignore[arg-type]
    assert words in reason
    assert bool(reason) == bool(words)
    assert Parts(("background", "a", "b"), reason).finding(6)["found"] == (
        "components are not found reliably" if words else "2 components"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csad")


@pytest.mark.parametrize("helpful", [True, False])
def test_a_part_without_components_is_divided_by_looks(
    helpful: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(*_: object) -> None:
        raise DataError("no components were found")

    monkeypatch.setattr(edge, "label", nothing)
    monkeypatch.setattr(joined, "gain", lambda after, before: (0.001 if helpful else -0.001, 0.01))
    method = create_method("csad", "edge", {"memory": 16, "width": 16})
    trained = method.train(boards.training_images(12, 5, SIDE), Run(folder, steps=4, threads=1))
    components = trained.fusion.components
    assert components is not None
    assert components.names == looks_names()
    assert trained.report["findings"][-1]["found"] == "components are not found reliably"
    outputs = trained.network(torch.zeros(2, 3, SIDE, SIDE))
    streams = {"stacked", "coarse", "head"} if helpful else set()  # which cost nothing where they are of no help
    assert streams | {"memory", "surroundings", "whole", "components"} == outputs.keys()
    assert {one.name for one in trained.fusion.maps} | {"components"} == outputs.keys()
    assert outputs["components"].shape == (2, LOOKS, SIDE // 8, SIDE // 8)


def test_masks_of_a_person_are_not_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> None:
        raise DataError("no components were found")

    monkeypatch.setattr(edge, "label", nothing)
    images = boards.training_images(12, 5, SIDE)
    given = type(images)(images.train, images.calibration, masks={0: [np.ones((SIDE, SIDE), np.bool_)]})
    with pytest.raises(DataError, match="no components"):
        create_method("csad", "edge", {}).train(given, Run(folder, steps=2, threads=1))


def test_components_and_streams_share_the_trunk() -> None:
    torch.manual_seed(0)
    trunk = EfficientNetLite("lite0").eval()
    images = [torch.randn(2, 3, SIDE, SIDE)]
    parts = ComponentParts(trunk, lambda: images, 4).eval()
    logits = parts(trunk(images[0]), taps(2, 0))
    assert logits.shape == (2, 4, SIDE // 4, SIDE // 4)
    low, deep = parts.ends(trunk(images[0]))
    for one in (low, deep):
        torch.testing.assert_close(one.mean((0, 2, 3)), torch.zeros(one.shape[1]), atol=1e-3, rtol=0)
    assert issubclass(ComponentsAndStreams, nn.Module)


@pytest.mark.parametrize("grids", [[], [1, 1], [3], [0]])
def test_grids_divide_the_labels(grids: list[int]) -> None:
    for preset in ("edge", "paper"):
        with pytest.raises(UsageError, match="grids are"):
            create_method("csad", preset, {"grids": grids})
    assert create_method("csad", "edge", {"grids": [1, 2, 4]}).grids == (1, 2, 4)  # type: ignore[attr-defined]
