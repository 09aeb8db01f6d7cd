"""Masks of objects: pieces, duplicates, masks within masks, limits of area, and scenery."""

from __future__ import annotations

import numpy as np
import pytest

from edgead.ops.proposals import Proposal, cut_out, find_pieces, separate
from edgead.ops.scene import remove_scenery

SIDE = 64


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[top:bottom, left:right] = True
    return mask


def test_pieces_of_a_mask_are_apart_and_specks_and_the_rim_are_none() -> None:
    mask = box(10, 10, 20, 20) | box(30, 30, 40, 44) | box(50, 50, 51, 51) | box(0, 0, 2, SIDE)
    found = find_pieces([mask], 0.001)
    assert sorted(int(one.sum()) for one in found) == [100, 140]


def test_pieces_nearer_than_the_gap_are_one() -> None:
    mask = box(10, 10, 20, 20) | box(23, 10, 33, 20)
    assert len(find_pieces([mask], 0.001)) == 2
    (joined,) = find_pieces([mask], 0.001, gap=4 / SIDE)
    np.testing.assert_array_equal(joined, mask)  # nothing is added between them


def test_a_piece_is_cut_at_bridges_that_are_thin_enough_and_part_what_is_large_enough() -> None:
    mask = box(10, 10, 20, 20) | box(13, 20, 15, 26) | box(10, 26, 20, 36)
    (whole,) = find_pieces([mask], 0.001, bridge=0.5 / SIDE)
    np.testing.assert_array_equal(whole, mask)
    left, right = find_pieces([mask], 0.001, bridge=4 / SIDE)
    assert left[10:20, 10:20].all()
    assert right[10:20, 26:36].all()
    np.testing.assert_array_equal(left | right, mask)
    assert not (left & right).any()
    knob = box(10, 10, 20, 20) | box(13, 20, 15, 26) | box(13, 26, 16, 29)
    assert len(find_pieces([knob], 0.01, bridge=4 / SIDE)) == 1  # what hangs on it is too small


def test_beside_a_border_of_two_grounds_each_is_compared_with_its_own() -> None:
    random = np.random.default_rng(1)
    image = np.full((SIDE, SIDE, 3), (120, 60, 40), np.float32)
    image[:, SIDE // 2 :] = (40, 120, 60)
    image += random.normal(0, 2, image.shape)
    image[20:30, 18:30] = (220, 220, 220)
    kinds = [np.zeros((16, 16), np.bool_) for _ in range(2)]
    kinds[0][:, :8], kinds[1][:, 8:] = True, True
    for kind in kinds:
        kind[3:12, 3:9] = False  # the cells around the object and up to the border are in doubt
    ground = kinds[0] | kinds[1]
    truth = box(20, 18, 30, 30)
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    found = cut_out(pixels, ground, kinds)
    assert (found & truth).sum() == truth.sum()
    around = int((found & ~truth).sum())
    assert around < 90  # a pixel around it, and on to the border, where colors are mixed
    assert (cut_out(pixels, ground) & ~truth).sum() > 3 * around  # the mean of both grounds looks like neither


def test_duplicates_are_removed_and_smaller_masks_taken_out_of_larger_ones() -> None:
    large, nearly, small = box(8, 8, 40, 40), box(8, 8, 40, 39), box(20, 20, 30, 30)
    for masks in ([large, nearly, small], [small, nearly, large]):
        found = separate(masks, 0.001, 1.0)
        assert sorted(round(one.area * SIDE**2) for one in found) == [100, 32 * 32 - 100]


def test_what_its_parts_cover_is_no_object_of_its_own() -> None:
    left, right = box(10, 10, 20, 20), box(10, 20, 20, 34)
    found = separate([left | right, left, right, np.zeros((SIDE, SIDE), np.bool_)], 0.0, 1.0)
    assert [round(one.area * SIDE**2) for one in found] == [100, 140]


def test_only_areas_within_the_limits_are_objects() -> None:
    masks = [box(4, 4, 8, 8), box(20, 20, 30, 30), box(34, 10, 60, 60)]
    found = separate(masks, 50 / SIDE**2, 200 / SIDE**2)
    assert [round(one.area * SIDE**2) for one in found] == [100]
    assert separate([], 0.0, 1.0) == []


def test_objects_come_from_top_to_bottom() -> None:
    found = separate([box(40, 4, 48, 12), box(4, 40, 12, 48), box(4, 4, 12, 12)], 0.001, 1.0)
    assert [(round(one.x, 2), round(one.y, 2)) for one in found] == [(0.12, 0.12), (0.69, 0.12), (0.12, 0.69)]


def test_of_too_many_the_largest_are_taken() -> None:
    masks = [box(2 + 6 * (i // 10), 2 + 6 * (i % 10), 5 + 6 * (i // 10), 5 + 6 * (i % 10)) for i in range(80)]
    masks.append(box(55, 2, 62, 60))
    found = separate(masks, 0.0, 1.0)
    assert len(found) == 64
    assert max(one.area for one in found) == pytest.approx(7 * 58 / SIDE**2)


def test_a_place_is_the_center_of_mass() -> None:
    one = Proposal.of(box(16, 32, 32, 64))
    assert (one.x, one.y, one.area) == pytest.approx((0.75, 0.375, 0.125))


def test_what_differs_from_the_ground_around_it_is_cut_out_in_any_light() -> None:
    random = np.random.default_rng(0)
    image = np.full((SIDE, SIDE, 3), (60, 90, 60), np.float32) + random.normal(0, 2, (SIDE, SIDE, 3))
    image[20:40, 24:36] = (200, 180, 170)
    image *= np.linspace(0.9, 1.1, SIDE)[None, :, None]
    ground = np.ones((16, 16), np.bool_)
    ground[4:11, 5:10] = False
    found = cut_out(np.clip(image, 0, 255).astype(np.uint8), ground)
    truth = box(20, 24, 40, 36)
    assert (found & truth).sum() == truth.sum()
    assert (found & ~truth).sum() < 2 * (20 + 12) + 8  # a pixel around it
    assert not cut_out(image.astype(np.uint8), np.zeros((16, 16), np.bool_)).any()


def test_scenery_is_no_object_and_leaves_no_thin_rest() -> None:
    mask = box(0, 0, 6, SIDE) | box(4, 20, 20, 30)
    scenery = box(0, 0, 5, SIDE)
    found = remove_scenery(mask, scenery)
    assert not (found & scenery).any()
    assert not found[5, :16].any()
    assert found[8:18, 21:29].all()
