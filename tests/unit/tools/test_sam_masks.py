"""Masks of everything, by SAM or in files: the generator's steps against plain versions, and how masks arrive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
import sam_layouts
import torch
import trays
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from edgead.config import BuildConfig
from edgead.errors import DataError, EngineError, UsageError, WeightsError
from edgead.progress import ConsoleReporter
from edgead_tools.backbones.sam import PromptedSam, load_prompted_sam
from edgead_tools.backbones.sam_vit import SamVit
from edgead_tools.backbones.weights import WEIGHTS, load_state
from edgead_tools.backbones.weights import find as find_weights
from edgead_tools.commands import components
from edgead_tools.components import ComponentLabels, choose_proposals, drawn, find, find_components
from edgead_tools.components.sam_masks import (
    Everything,
    box_of,
    find_everything,
    grid,
    remove_specks,
    stability,
    suppress,
)
from edgead_tools.data import DecodedImages, Sample
from edgead_tools.methods import create_method
from edgead_tools.pipeline.build import build

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"channels": 32, "depth": 2, "heads": 2, "every": 2}
SIDE = 128
HOW = Everything(points=4, rated=-1e9, stable=0.0, side=64, batch=5)  # noise is neither rated high nor stable
SURE = Everything(side=64)


@pytest.fixture(scope="module")
def sam() -> PromptedSam:
    return load_prompted_sam(sam_layouts.filled(sam_layouts.sam_vit_shapes(**SMALL)), "sam-vit-h", SamVit(**SMALL))


@pytest.fixture(scope="module")
def kits() -> tuple[np.ndarray, list[np.ndarray]]:
    """Complete trays (12, SIDE, SIDE, 3), and the labels a person would draw."""
    random = np.random.default_rng(1)
    items = [trays.good(random) for _ in range(12)]
    return np.stack([trays.draw(one, random, SIDE) for one in items]), [trays.labels(one, SIDE) for one in items]


def assert_kinds(found: ComponentLabels, labels: Sequence[np.ndarray]) -> None:
    """Every kind has one class, and every class one kind."""
    assert len(found.names) == 5
    for index, one in found.labels.items():
        pairs = {(int(a), int(b)) for a, b in zip(labels[index].ravel(), one.ravel(), strict=True) if a and b}
        assert len({b for _, b in pairs}) == len(pairs) == 4


# the generator's steps


@pytest.mark.parametrize("points", [1, 2, 32])
def test_points_lie_in_the_middle_of_their_cells(points: int) -> None:
    expected = [((c + 0.5) / points, (r + 0.5) / points) for r in range(points) for c in range(points)]
    np.testing.assert_allclose(grid(points), expected, rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1.0]))
def test_stability_is_the_iou_of_two_masks(seed: int, offset: float) -> None:
    logits = np.random.default_rng(seed).normal(0, 1, (5, 7)).astype(np.float32)
    tight, wide = (
        {place for place in np.ndindex(5, 7) if logits[place] > threshold} for threshold in (offset, -offset)
    )
    assert stability(logits, offset) == len(tight & wide) / max(1, len(tight | wide))


def test_nothing_is_not_stable() -> None:
    assert stability(np.full((3, 3), -2, np.float32), 1.0) == 0.0


@given(st.integers(0, 2**32 - 1))
def test_a_box_is_the_least_around_a_mask(seed: int) -> None:
    mask = np.random.default_rng(seed).random((6, 9)) > 0.93
    mask[2, 3] = True
    ys, xs = zip(*((y, x) for y, x in np.ndindex(6, 9) if mask[y, x]), strict=True)
    assert box_of(mask) == (min(xs), min(ys), max(xs) + 1, max(ys) + 1)


def plain_iou(one: np.ndarray, other: np.ndarray) -> float:
    cells = [{(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])} for box in (one, other)]
    return len(cells[0] & cells[1]) / len(cells[0] | cells[1])


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_suppression_equals_brute_force(seed: int, most: float) -> None:
    random = np.random.default_rng(seed)
    corners = random.integers(0, 8, (12, 2))
    boxes = np.concatenate([corners, corners + random.integers(1, 6, (12, 2))], axis=1)
    scores = random.integers(0, 5, 12) / 4  # many are equal
    kept: list[int] = []
    for index in sorted(range(12), key=lambda one: (-scores[one], one)):
        if all(plain_iou(boxes[index], boxes[other]) <= most for other in kept):
            kept.append(index)
    assert suppress(boxes, scores, most) == kept


def test_specks_and_pinholes_go_and_the_largest_piece_stays() -> None:
    mask = np.zeros((30, 30), np.bool_)
    mask[2:12, 2:12] = True
    whole = mask.copy()
    mask[5, 5], mask[20:22, 20:22] = False, True
    assert np.array_equal(remove_specks(mask, 5), whole)
    assert np.array_equal(remove_specks(mask, 0), mask)
    mask[6:9, 6:9] = False
    found = remove_specks(mask, 9)  # with (5, 5), which touches it, this hole has ten
    assert np.array_equal(found[:15], mask[:15])
    assert not found[15:].any()
    assert np.array_equal(remove_specks(mask & (np.arange(30) > 15), 50), mask & (np.arange(30) > 15))


class RoiImage(nn.Module):
    """Stands in for SAM on pictures with known labels, in their order: at a point of an item are the item, all items,
    which it is not sure of, and nothing."""

    def __init__(self, labels: Sequence[np.ndarray]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self._labels, self._seen = labels, 0
        self.asked: list[int] = []

    def encoder(self, image: Tensor) -> Tensor:
        self._seen += 1
        return torch.tensor(self._seen - 1)

    def forward(self, embedding: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        self.asked.append(len(points))
        labels = self._labels[int(embedding)]
        _, pieces = cv2.connectedComponents((labels > 0).astype(np.uint8))
        logits, ratings = [], []
        for x, y in points.tolist():
            number = pieces[int(y * len(labels)), int(x * len(labels))]
            logits.append(np.where([pieces == number, pieces > 0, pieces < 0], 8.0, -8.0))
            ratings.append([0.9 + 0.001 * number if number else 0.5, 0.0, 0.99])
        return torch.tensor(np.array(logits), dtype=torch.float32), torch.tensor(ratings)


def test_of_every_item_one_mask_is_kept(kits: tuple[np.ndarray, list[np.ndarray]]) -> None:
    images, labels = kits
    sam = RoiImage(labels)
    (found,) = find_everything(cast(PromptedSam, sam), images[:1], replace(SURE, batch=100))
    assert sam.asked == [100] * 10 + [24]
    assert len(found) == len(trays.KIT)  # the empty mask, rated highest, is not stable
    assert np.array_equal(np.any(found, axis=0), labels[0] > 0)
    assert all(one.dtype == np.bool_ and one.shape == (SIDE, SIDE) for one in found)


def test_sams_masks_give_the_kinds_on_a_tray(kits: tuple[np.ndarray, list[np.ndarray]]) -> None:
    images, labels = kits
    proposals = partial(find_everything, cast(PromptedSam, RoiImage(labels)), how=replace(SURE, points=16))
    found = find_components(images, load_state(find_weights("efficientnet-lite0")), 0, proposals=proposals)
    assert_kinds(found, labels)


def test_masks_are_the_same_whatever_the_batch_and_of_the_images_size(sam: PromptedSam) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 80, 3), dtype=np.uint8)
    once, again, other = (list(find_everything(sam, images, how)) for how in (HOW, HOW, replace(HOW, batch=16)))
    assert [len(one) for one in once] == [len(one) for one in other]
    assert all(len(one) >= 1 and one[0].shape == (48, 80) for one in once)
    for some, same, those in zip(once, again, other, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(some, same, strict=True))
        assert all((a ^ b).mean() < 1e-3 for a, b in zip(some, those, strict=True))


# where masks come from


def test_a_sam_is_loaded_from_its_weights_and_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(sam_layouts.filled(sam_layouts.mobile_sam_shapes()), tmp_path / WEIGHTS["mobile-sam"].file)
    asked: list[object] = []
    monkeypatch.setattr(find, "find_everything", lambda sam, images: asked.extend([sam, images]) or "masks")
    proposals = choose_proposals("mobile-sam", tmp_path, "cpu", given=False)
    assert proposals is not None
    images = np.zeros((1, 8, 8, 3), np.uint8)
    assert proposals(images) == "masks"
    assert isinstance(asked[0], PromptedSam)
    assert asked[1] is images
    with pytest.raises(UsageError, match="take it away"):
        choose_proposals("mobile-sam", tmp_path, "cpu", given=True)
    assert choose_proposals("foreground", None, "cpu", given=True) is None


@pytest.mark.parametrize("preset", ["edge", "paper"])
def test_a_method_takes_the_weights_of_its_masks(preset: str) -> None:
    plain, with_sam = (create_method("csad", preset, options) for options in ({}, {"masks": "sam-vit-h"}))
    assert with_sam.weights == (*plain.weights, "sam-vit-h")
    with pytest.raises(UsageError, match="cannot be used"):
        create_method("csad", preset, {"masks": "sam"})


def samples(root: Path, images: np.ndarray) -> list[Sample]:
    paths = [root / f"{index:02d}.png" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        assert cv2.imwrite(str(path), image)
    return [Sample(path, path.name) for path in paths]


def write_masks(folder: Path, labels: np.ndarray) -> None:
    """One file for each item, as a text-grounded tool leaves them."""
    folder.mkdir(parents=True)
    count, pieces = cv2.connectedComponents((labels > 0).astype(np.uint8))
    for number in range(1, count):
        assert cv2.imwrite(str(folder / f"{number - 1}.png"), np.where(pieces == number, 255, 0).astype(np.uint8))


def test_masks_in_files_give_the_kinds_on_a_tray(kits: tuple[np.ndarray, list[np.ndarray]], tmp_path: Path) -> None:
    images, labels = kits
    ones = samples(tmp_path, images)
    for index in range(2, 12):
        write_masks(tmp_path / "components" / f"{index:02d}", labels[index])
    read = drawn.read_drawn(tmp_path, ones, SIDE, SIDE, DecodedImages())
    assert read is not None
    assert (read.names, read.labels, sorted(read.masks)) == ((), {}, list(range(2, 12)))
    assert np.array_equal(np.any(read.masks[3], axis=0), labels[3] > 0)
    state = load_state(find_weights("efficientnet-lite0"))
    found = find_components(images, state, 0, masks=read.masks)
    assert_kinds(found, labels)
    assert {0, 1} <= set(found.unlabeled)


def test_label_maps_come_before_masks_and_masks_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    ones = samples(tmp_path, np.zeros((2, 20, 30, 3), np.uint8))
    folder = tmp_path / "components" / "00"
    folder.mkdir(parents=True)
    read = drawn.read_drawn(tmp_path, ones, 20, 20, DecodedImages())
    assert read is not None
    with pytest.raises(DataError, match=r"no mask in .*00: save each as a PNG"):
        read.masks[0]
    assert cv2.imwrite(str(folder / "0.png"), np.zeros((20, 20), np.uint8))
    with pytest.raises(DataError, match="20x20 pixels and its image 30x20"):
        read.masks[0]
    assert cv2.imwrite(str(folder / "0.png"), np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(DataError, match="8-bit gray PNG: save it as white on black"):
        read.masks[0]
    assert cv2.imwrite(str(tmp_path / "components" / "01.png"), np.ones((20, 30), np.uint8))
    read = drawn.read_drawn(tmp_path, ones, 20, 20, DecodedImages())
    assert read is not None
    assert (set(read.labels), len(read.masks)) == ({1}, 0)


def test_the_page_and_a_build_say_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path))
    samples(tmp_path, np.zeros((2, 20, 30, 3), np.uint8))
    page = partial(components, tmp_path, tmp_path / "page.html", 64)
    with pytest.raises(WeightsError, match="edgead weights get mobile-sam"):
        page(masks="mobile-sam")
    with pytest.raises(UsageError, match="did you mean 'mobile-sam'"):
        page(masks="mobilesam")
    with pytest.raises(EngineError, match="cuda:99"):
        page(device="cuda:99")
    options = {"masks": "mobile-sam"}
    config = BuildConfig(method="csad", data=str(tmp_path), options=options, out=str(tmp_path / "kits.edgead"))
    with pytest.raises(WeightsError, match="edgead weights get mobile-sam"):
        build(config, ConsoleReporter())


def test_the_page_shows_what_sam_found(
    kits: tuple[np.ndarray, list[np.ndarray]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images, labels = kits
    (tmp_path / "kits").mkdir()
    samples(tmp_path / "kits", images)
    file = tmp_path / "mine.pt"
    torch.save(sam_layouts.filled(sam_layouts.mobile_sam_shapes()), file)

    asked = []

    def found(sam: PromptedSam, some: np.ndarray) -> list[list[np.ndarray]]:
        asked.append(sam)
        nearest = [int(np.abs(images.astype(int) - one).sum((1, 2, 3)).argmin()) for one in some]
        return [[labels[index] == kind for kind in range(1, 5)] for index in nearest]

    monkeypatch.setattr(find, "find_everything", found)
    components(tmp_path / "kits", tmp_path / "page.html", size=str(SIDE), weights=str(file), masks="mobile-sam")
    assert [type(one) for one in asked] == [PromptedSam]
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()].count("component") >= 4
