"""Components without a human: masks, refining, descriptors, classes, and which images are labeled."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import trays

from edgead.errors import DataError
from edgead_tools.backbones.efficientnet_lite import load_efficientnet_lite
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.components import drawn, find_components, group
from edgead_tools.components.classes import alike, cluster_items
from edgead_tools.components.descriptors import SIDE as CUT
from edgead_tools.components.descriptors import crop, item_descriptors
from edgead_tools.components.foreground import cut_out, find_ground
from edgead_tools.components.refine import refine
from edgead_tools.data import DecodedImages, Sample

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 128


def mask(y: int, x: int, height: int, width: int, side: int = 64) -> np.ndarray:
    one = np.zeros((side, side), np.bool_)
    one[y : y + height, x : x + width] = True
    return one


def test_refining_splits_masks_and_drops_what_says_nothing() -> None:
    two = mask(4, 4, 6, 6) | mask(30, 30, 8, 8)
    speck, wall, frame = mask(20, 50, 2, 1), mask(0, 10, 64, 4), mask(0, 20, 2, 20)
    kept = refine([two, speck, wall, frame, mask(30, 30, 8, 8)])
    assert [int(one.sum()) for one in kept] == [36, 64]


def test_a_large_mask_keeps_what_the_small_ones_in_it_leave() -> None:
    inner, outer = mask(12, 12, 10, 10), mask(8, 8, 20, 20)
    kept = refine([outer, inner])
    assert [int(one.sum()) for one in kept] == [100, 300]
    assert not (kept[0] & kept[1]).any()


def test_items_are_cut_out_along_their_edges() -> None:
    image = np.full((SIDE, SIDE, 3), (90, 70, 50), np.uint8)
    cv2.circle(image, (60, 50), 15, (40, 160, 220), cv2.FILLED)
    image = np.clip(image + np.random.default_rng(0).normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    image = (image * np.linspace(0.7, 1.2, SIDE)[None, :, None]).astype(np.uint8)  # light from the right
    ground = np.ones((SIDE // 4, SIDE // 4), np.bool_)
    ground[7:18, 9:21] = False  # a wide seam around the item
    true = np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(true, (60, 50), 15, 1, cv2.FILLED)
    found = cut_out(image, ground)
    assert (found & (true > 0)).sum() > 0.85 * (found | (true > 0)).sum()
    assert not cut_out(image, np.zeros_like(ground)).any()  # nothing is known to be ground


def test_a_cut_is_of_one_size_whatever_the_items() -> None:
    image = np.full((64, 64, 3), 200, np.uint8)
    for item in (mask(4, 4, 5, 9), mask(10, 10, 40, 30)):
        pictures = crop(image, item, 4)
        assert pictures.shape == (4, CUT, CUT, 3)
        areas = (pictures[..., 0] > 100).sum(axis=(1, 2))
        assert areas.min() > 0.9 * areas.max()
        y, x = np.nonzero(pictures[0, ..., 0] > 100)
        assert np.hypot(np.ptp(y), np.ptp(x)) == pytest.approx(CUT, rel=0.12)


@pytest.fixture(scope="module")
def kits() -> tuple[np.ndarray, list[np.ndarray]]:
    """Complete trays (12, SIDE, SIDE, 3), and the labels a person would draw."""
    random = np.random.default_rng(1)
    items = [trays.good(random) for _ in range(12)]
    return np.stack([trays.draw(one, random, SIDE) for one in items]), [trays.labels(one, SIDE) for one in items]


def test_descriptors_know_items_whatever_their_turn() -> None:
    network = load_efficientnet_lite(load_state(find("efficientnet-lite0")), taps=(15,))
    pairs = []
    for kind in trays.DRAW:
        for turn in (0.0, 0.9, 2.3):
            items = [trays.Item(kind, 1, 0.5, 0.5, turn)]
            image = trays.draw(items, np.random.default_rng(0), SIDE)
            pairs.append((image, trays.labels(items, SIDE) > 0))
    found = item_descriptors(network, pairs, 8).reshape(len(trays.DRAW), 3, -1)
    apart = np.linalg.norm(found[:, None, :, None] - found[None, :, None, :], axis=-1)  # (kind, kind, turn, turn)
    same = np.eye(len(found), dtype=bool)
    assert apart[same].max() < apart[~same].min()


def test_the_ground_is_the_majority(kits: tuple[np.ndarray, list[np.ndarray]]) -> None:
    images, labels = kits
    ground = find_ground(load_efficientnet_lite(load_state(find("efficientnet-lite0"))), images, 0)
    assert ground.shape == (12, SIDE // 4, SIDE // 4)
    items = np.stack([cv2.resize(one, (SIDE // 4,) * 2, interpolation=cv2.INTER_NEAREST) for one in labels]) > 0
    assert ground[~items].mean() > 0.5
    assert ground[items].mean() < 0.1


def clustered(counts: list[int], seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.concatenate([random.normal(10 * k, 0.3, (count, 4)) for k, count in enumerate(counts)]).astype(np.float32)


def test_a_class_has_enough_members() -> None:
    found = cluster_items(clustered([30, 12, 3]), 8)
    assert [set(found[:30]), set(found[30:42]), set(found[42:])] == [{1}, {2}, {0}]
    assert set(cluster_items(clustered([5]), 8)) == {0}


def test_images_that_show_something_else_are_not_labeled() -> None:
    random = np.random.default_rng(0)
    maps = []
    for index in range(24):
        one = np.zeros((32, 32), np.uint8)
        one[: 8 + int(random.integers(2)), :8] = 1
        one[16:24, : 8 if index % 6 else 0] = 2  # of every sixth image the second class was missed
        maps.append(one)
    chosen = alike(maps, 3)
    assert len(chosen) >= 4
    assert all(index % 6 for index in chosen)


def test_a_picture_without_components_in_common_is_said() -> None:
    with pytest.raises(DataError, match="draw label maps"):
        group([[mask(4, 4, 8, 8)], [], []], np.zeros((1, 4), np.float32))
    with pytest.raises(DataError, match="draw label maps"):
        group([[], []], np.empty((0, 1), np.float32))


def test_the_kinds_on_a_tray_are_found(kits: tuple[np.ndarray, list[np.ndarray]]) -> None:
    images, labels = kits
    masks = [[one == kind for kind in range(1, 5)] for one in labels]  # as a foundation model might give them
    found = find_components(images, load_state(find("efficientnet-lite0")), 0, proposals=lambda _: masks)
    assert len(found.names) == 5
    assert set(found.labels) | set(found.unlabeled) == set(range(12))
    for index, one in found.labels.items():
        pairs = {(int(a), int(b)) for a, b in zip(labels[index].ravel(), one.ravel(), strict=True) if a and b}
        assert len({b for _, b in pairs}) == len(pairs) == 4  # every kind has one class, and every class one kind


def test_without_masks_most_of_every_kind_is_found(kits: tuple[np.ndarray, list[np.ndarray]]) -> None:
    images, labels = kits
    found = find_components(images, load_state(find("efficientnet-lite0")), 0)
    assert len(found.names) >= 4
    both = [(labels[index] > 0, one > 0) for index, one in found.labels.items()]
    overlap = sum((a & b).sum() for a, b in both) / sum((a | b).sum() for a, b in both)
    assert overlap > 0.6


def write(folder: Path, name: str, pixels: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(folder / name), pixels)
    return folder / name


def samples(root: Path) -> list[Sample]:
    paths = [write(root / "train/good", f"{n}.png", np.full((40, 60, 3), 90, np.uint8)) for n in range(3)]
    return [Sample(path, path.name) for path in paths]


def test_drawn_label_maps_are_read_beside_the_images_or_at_the_root(tmp_path: Path) -> None:
    ones = samples(tmp_path)
    assert drawn.read_drawn(tmp_path, ones, 20, 20, DecodedImages()) is None
    pixels = np.zeros((40, 60), np.uint8)
    pixels[:20], pixels[20:, 30:] = 1, 2
    write(tmp_path / "components", "0.png", pixels)
    write(tmp_path / "train/good/components", "2.png", pixels)
    found = drawn.read_drawn(tmp_path, ones, 20, 20, DecodedImages())
    assert found is not None
    assert found.names == ("background", "component 1", "component 2")
    assert set(found.labels) == {0, 2}
    assert np.array_equal(found.labels[2], pixels[1::2, 1::3])
    (tmp_path / "components/names.txt").write_text("bolt\nnut\n", encoding="utf-8")
    again = drawn.read_drawn(tmp_path, ones, 20, 20, DecodedImages())
    assert again is not None
    assert again.names == ("background", "bolt", "nut")


@pytest.mark.parametrize(
    ("pixels", "names", "match"),
    [
        (np.zeros((40, 60), np.uint8), "", "0 for the background"),
        (np.full((40, 60), 99, np.uint8), "", "0 for the background"),
        (np.ones((20, 60), np.uint8), "", "60x20"),
        (np.ones((40, 60, 3), np.uint8), "", "8-bit gray"),
        (np.full((40, 60), 2, np.uint8), "bolt\n", "2 different names"),
    ],
    ids=["empty", "many", "size", "color", "names"],
)
def test_a_label_map_that_cannot_be_used_is_said(tmp_path: Path, pixels: np.ndarray, names: str, match: str) -> None:
    ones = samples(tmp_path)
    write(tmp_path / "components", "0.png", pixels)
    if names:
        (tmp_path / "components/names.txt").write_text(names, encoding="utf-8")
    with pytest.raises(DataError, match=match):
        drawn.read_drawn(tmp_path, ones, 20, 20, DecodedImages())
