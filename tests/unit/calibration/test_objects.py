"""What is fitted to the objects of good images: limits of area, scenery, slots, kinds and costs."""

from __future__ import annotations

import numpy as np
import object_scenes
import pytest
from numpy.typing import NDArray

from edgead.bundle import ProposalSpec
from edgead.errors import DataError
from edgead.ops import judge_objects, load_references
from edgead.ops.descriptors import unit
from edgead_calibration.matching import weigh_components
from edgead_calibration.object_limits import choose_limits
from edgead_calibration.object_proposals import PackedMask, fit_proposals, fit_scenery
from edgead_calibration.object_slots import find_slots, merge_slots

SIDE = 64


def test_limits_take_in_objects_and_leave_out_specks() -> None:
    random = np.random.default_rng(0)
    images = [
        [*random.uniform(0.02, 0.03, 3), *random.uniform(0.0005, 0.004, random.integers(0, 4))] for _ in range(50)
    ]
    limits = choose_limits(images)
    assert (limits.count, limits.share) == (3, 1.0)
    assert 0.003 < limits.smallest < 0.02
    assert limits.largest > 0.03


def test_where_images_do_not_agree_the_share_says_so() -> None:
    random = np.random.default_rng(1)
    limits = choose_limits([[0.02] * random.integers(1, 5) for _ in range(40)])
    assert limits.share < 0.5
    with pytest.raises(DataError, match="--method csad"):
        choose_limits([[], []])


def test_limits_that_are_given_stay() -> None:
    draft = ProposalSpec(source="classes", count=1, smallest=0.015, largest=0.5, classes=2)
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[20:30, 20:30] = True
    found = fit_proposals([[PackedMask.of(mask)] for _ in range(5)], draft)
    assert (found.spec.smallest, found.spec.largest, found.spec.count) == (0.015, 0.5, 1)
    assert found.scenery is None


def test_scenery_is_what_good_images_show_along_their_rim() -> None:
    random = np.random.default_rng(2)
    masks = []
    for _ in range(10):
        mask = np.zeros((SIDE, SIDE), np.bool_)
        mask[:4] = mask[:, :4] = True
        x, y = random.integers(8, 48, 2)
        mask[y : y + 10, x : x + 10] = True
        masks.append(PackedMask.of(mask))
    scenery = fit_scenery(masks)
    assert scenery is not None
    assert scenery[:4].all()
    assert not scenery[8:, 8:].any()
    assert fit_scenery([PackedMask.of(np.zeros((SIDE, SIDE), np.bool_))]) is None


def test_bridges_are_cut_where_more_images_agree_then() -> None:
    draft = ProposalSpec(source="classes", count=1, smallest=0.0, largest=1.0, classes=2)
    images = []
    for index in range(20):
        mask = np.zeros((SIDE, SIDE), np.bool_)
        mask[20:30, 12:22] = mask[20:30, 40:50] = True
        if index < 3:
            mask[24, 22:40] = True  # a thread between them
        images.append([PackedMask.of(mask)])
    found = fit_proposals(images, draft)
    assert found.spec.count == 2
    assert found.share == 1.0
    assert found.spec.bridge > 0
    assert fit_proposals(images[3:], draft).spec.bridge == 0  # nothing is gained


def test_a_packed_mask_is_the_mask() -> None:
    mask = np.random.default_rng(3).random((13, 7)) > 0.5
    np.testing.assert_array_equal(PackedMask.of(mask).mask, mask)


def _sides(count: int, spread: float) -> tuple[list[tuple[np.ndarray, np.ndarray, np.ndarray]], list[np.ndarray]]:
    """Images of four objects, two of them alike, in a random order; and which each is."""
    random = np.random.default_rng(4)
    looks = unit(np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]], np.float32))
    middles = np.array([(0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8)])
    sides, truth = [], []
    for _ in range(count):
        order = random.permutation(4)
        look = unit((looks[order] + random.normal(0, 0.1, (4, 3))).astype(np.float32))
        places = np.column_stack([middles[order] + random.normal(0, spread, (4, 2)), np.full(4, 0.01)])
        sides.append((look, look, places.astype(np.float32)))
        truth.append(order)
    return sides, truth


def test_slots_are_found_whatever_the_order_and_alike_ones_are_of_one_kind() -> None:
    sides, truth = _sides(30, 0.01)
    found = find_slots(sides, 0)
    names = {int(slot): int(name) for slot, name in zip(found.slots[0], truth[0], strict=True)}
    for slots, order in zip(found.slots, truth, strict=True):
        assert [names[int(slot)] for slot in slots] == order.tolist()
    boxes = np.concatenate([side[1] for side in sides])
    kinds = merge_slots(boxes, np.concatenate(found.slots), np.repeat(np.arange(30), 4))
    by_name = {names[slot]: int(kind) for slot, kind in enumerate(kinds)}
    assert by_name[2] == by_name[3]
    assert len(set(kinds)) == 3


def test_kinds_are_told_apart_by_what_does_not_differ_within_them() -> None:
    random = np.random.default_rng(3)
    kinds = np.arange(200) % 2
    rows = random.normal(0, (0.2, 3.0, 3.0), (200, 3)).astype(np.float32)  # wide where kinds are alike
    rows[:, 0] += kinds
    weighed = rows @ weigh_components(rows[:100], kinds[:100])

    def wrong(values: NDArray[np.float32]) -> int:
        apart = np.linalg.norm(values[100:, None] - values[None, :100], axis=2)
        return int((kinds[:100][apart.argmin(axis=1)] != kinds[100:]).sum())

    assert wrong(rows) > 10
    assert wrong(weighed) < 3
    assert np.isfinite(weigh_components(np.ones((4, 3), np.float32), np.zeros(4, np.intp))).all()


def test_fixed_places_weigh_more_than_poured_parts() -> None:
    fixed, poured = (find_slots(_sides(30, spread)[0], 0) for spread in (0.005, 0.15))
    assert fixed.place > 3 * poured.place


def test_good_images_cost_what_they_cost_when_they_are_left_out() -> None:
    found = object_scenes.fitted()
    spec = found.fusion.matching
    assert spec is not None
    assert len(found.scores) == len(found.maxima) == 24
    bundle = object_scenes.bundle()
    references = load_references(bundle)
    assert references is not None
    image = object_scenes.good(0)  # it is in the bank, and so nearer to it than a new part
    nothing = np.zeros((16, 16), np.float32)
    _, known, _ = judge_objects(image, object_scenes.outputs_of(image), nothing, found.fusion, references)
    assert known < found.scores[0]


def test_where_good_images_do_not_agree_on_their_objects_these_are_named_and_not_counted() -> None:
    found = object_scenes.fitted(lacking=4)
    (said,) = found.findings
    assert "86% of 28 good images show as many, and 90% should" in said["figures"]
    assert "named, and not counted in the score" in said["chosen"]
    references = load_references(object_scenes.bundle(lacking=4))
    assert references is not None
    random = np.random.default_rng(200)
    image = object_scenes.draw(object_scenes.usual(random)[:-1], random)
    nothing = np.zeros((16, 16), np.float32)
    _, score, branches = judge_objects(image, object_scenes.outputs_of(image), nothing, found.fusion, references)
    assert branches.logical == 0
    assert score == branches.structural
    assert [one.change for one in branches.objects] == ["missing"]
    counted = object_scenes.fitted().fusion.matching
    assert counted is not None
    assert counted.counted


def test_the_bank_is_a_coreset_of_the_images() -> None:
    found = object_scenes.fitted(most=8)
    assert found.report["images"] == 8
    assert len(found.scores) == 24


def test_images_without_the_usual_objects_are_no_references() -> None:
    with pytest.raises(DataError, match=r"of 3 good images show 4 objects and 4 must"):
        object_scenes.fitted(count=3)
