"""Augmentation: still the same part, and the same draw from the same generator."""

from __future__ import annotations

import numpy as np
import painted
import pytest
from numpy.typing import NDArray

from edgead_tools.data.augment import BRIGHTNESS, CONTRAST, GRAY, augment, nudged, turn


def corners(image: NDArray[np.uint8]) -> int:
    """Which quarter is the brightest, 0..3."""
    h, w = (side // 2 for side in image.shape[:2])
    return int(np.argmax([image[:h, :w].mean(), image[:h, w:].mean(), image[h:, :w].mean(), image[h:, w:].mean()]))


def marked() -> NDArray[np.uint8]:
    image = np.full((48, 64, 3), 60, np.uint8)
    image[4:20, 4:28] = 200
    return image


@pytest.mark.parametrize("shape", [(64, 64), (24, 32), (33, 17)])
@pytest.mark.parametrize("flips", [False, True])
def test_shape_and_type_stay_and_the_image_is_not_written_to(shape: tuple[int, int], flips: bool) -> None:
    image = painted.texture(1, *shape)
    image.flags.writeable = False
    new = augment(image, np.random.default_rng(0), flips=flips, rotation=5.0)
    assert new.shape == image.shape
    assert new.dtype == np.uint8
    assert not np.shares_memory(new, image)
    assert new.flags.c_contiguous


def test_the_mean_moves_only_with_the_light() -> None:
    image = np.clip(painted.texture(2, 96, 96), 40, 200)  # so that nothing is clipped
    change = [augment(image, np.random.default_rng(seed), flips=True, rotation=3.0).mean() for seed in range(60)]
    bound = CONTRAST * image.mean() + BRIGHTNESS
    frame = 4.0  # what leaves and is reflected at the frame's edges
    assert np.abs(np.array(change) - image.mean()).max() <= bound + frame
    assert abs(np.mean(change) - image.mean()) < 0.25 * bound  # and to both sides


def test_a_plain_image_stays_plain_to_its_edges() -> None:
    for seed in range(20):
        new = augment(np.full((32, 40, 3), 120, np.uint8), np.random.default_rng(seed), flips=False, rotation=45.0)
        assert np.ptp(new) == 0
        assert 120 * (1 - CONTRAST) - BRIGHTNESS - 1 <= new[0, 0, 0] <= 120 * (1 + CONTRAST) + BRIGHTNESS + 1


def test_it_is_mirrored_only_if_asked() -> None:
    plain = {corners(augment(marked(), np.random.default_rng(seed), flips=False, rotation=2.0)) for seed in range(40)}
    mirrored = {corners(augment(marked(), np.random.default_rng(seed), flips=True, rotation=2.0)) for seed in range(40)}
    assert plain == {0}
    assert mirrored == {0, 1, 2, 3}


def test_what_is_nudged_moves_by_up_to_so_many_pixels() -> None:
    spot = np.zeros((65, 65, 3), np.uint8)
    spot[30:35, 30:35] = 200
    spot.flags.writeable = False
    places = []
    for seed in range(60):
        new = nudged(spot, np.random.default_rng(seed), pixels=8, degrees=0)
        rows, columns = np.nonzero(new[:, :, 0] > 100)
        places.append((rows.mean() - 32, columns.mean() - 32))
        assert 0.96 * 200 <= new.max() <= 1.04 * 200
    farthest = np.abs(places).max(0)
    assert np.all((farthest > 6) & (farthest < 8.6))


def test_the_same_generator_state_gives_the_same_image() -> None:
    image = painted.texture(3, 48, 48)
    one, other = np.random.default_rng(7), np.random.default_rng(7)
    first = [augment(image, one, flips=True, rotation=2.0) for _ in range(3)]
    second = [augment(image, other, flips=True, rotation=2.0) for _ in range(3)]
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0], first[1])


def test_switching_flips_leaves_the_other_draws_alone() -> None:
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    augment(marked(), one, flips=True, rotation=2.0)
    augment(marked(), other, flips=False, rotation=2.0)
    assert one.random() == other.random()


def test_a_turn_of_nothing_is_the_image_itself() -> None:
    image = painted.texture(1, 40, 56)
    turned = turn(image, np.random.default_rng(0), quarters=False, degrees=0.0)
    assert np.array_equal(turned, image)
    assert not np.shares_memory(turned, image)


def test_quarter_turns_are_exact_and_all_drawn() -> None:
    image = painted.texture(2, 32, 32)
    quarters = [np.rot90(image, count) for count in range(4)]
    drawn = [turn(image, np.random.default_rng(seed), quarters=True, degrees=0.0) for seed in range(40)]
    matches = [[np.array_equal(one, quarter) for quarter in quarters] for one in drawn]
    assert np.sum(matches) == 40
    assert np.any(matches, axis=0).all()


def test_a_slight_turn_fills_with_gray_and_turns_by_no_more() -> None:
    image = np.zeros((101, 101, 3), np.uint8)
    image[50, 90] = 255  # 40 pixels right of the center
    angles = []
    for seed in range(60):
        turned = turn(image, np.random.default_rng(seed), quarters=False, degrees=5.0)
        y, x = np.unravel_index(np.argmax(turned[10:-10, 10:-10, 0]), (81, 81))
        angles.append(np.degrees(np.arctan2(40 - y, x - 40)))
        assert abs(angles[-1]) < 2 or (turned[0, 0] == GRAY).all() or (turned[0, -1] == GRAY).all()
    assert 3 < np.max(np.abs(angles)) < 6
    assert np.mean(angles) == pytest.approx(0, abs=1.5)
