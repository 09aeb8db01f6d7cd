"""Which images set the ranges: a cover of the set, the same for the same seed, with a word where it is no cover."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgead_calibration.images import choose, digest, evenly_spaced, warnings


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 100))
def test_a_coreset_covers_no_worse_than_twice_as_far_as_any(total: int, count: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(total, 3)).astype(np.float32)
    taken = choose(rows, count, seed)
    assert taken == choose(rows, count, seed) == sorted(set(taken))
    assert len(taken) == min(count, total)
    reach = max(np.linalg.norm(rows[taken] - row, axis=1).min() for row in rows)
    if 1 < count < total:  # the farthest image is no farther than any two taken are from each other
        gaps = [np.linalg.norm(rows[a] - rows[b]) for a in taken for b in taken if a != b]
        assert reach <= min(gaps) + 1e-5


def test_every_kind_of_part_is_taken() -> None:
    rows = np.concatenate([np.zeros((50, 2)), np.full((2, 2), 9.0)]).astype(np.float32)
    assert set(choose(rows, 3, 0)) & {50, 51}


def test_too_few_and_one_sided_sets_are_said() -> None:
    random = np.random.default_rng(0)
    near = random.normal(size=(20, 4)).astype(np.float32)
    assert list(warnings(near, random.normal(size=(20, 4)).astype(np.float32))) == []
    assert any("at least 16" in said for said in warnings(near[:5], near[5:6]))
    (said,) = warnings(near, near + 50)
    assert said.startswith("20 of 20 other good images are unlike")


def test_digests_tell_images_apart() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    assert digest(image) == digest(image.copy()) != digest(image.reshape(6, 4, 3))
    assert len(digest(image)) == 16


def test_few_of_many_are_spread_evenly() -> None:
    assert list(evenly_spaced(range(10), 3)) == [0, 3, 6]
    assert list(evenly_spaced([1, 2], 3)) == [1, 2]
