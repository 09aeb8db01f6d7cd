"""What a precision costs, counted by hand, and the fewest blocks that must be reverted to FP32."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from edgead_calibration.gate import Comparison, Readings, Tolerances, auroc, compare, faults, spearman
from edgead_calibration.mixed_precision import fewest, order

FINE = Comparison(
    map_mean=0.0, map_largest=0.0, spearman=1.0, false_alarms=0.1, false_alarms_fp32=0.1,
    misses=0.2, misses_fp32=0.2, auroc=0.9, auroc_fp32=0.9,
)  # fmt: skip


def readings(scale: float = 1.0, shift: float = 0.0) -> Readings:
    """30 good images whose maps are about 1 and 10 anomalous ones with one cell of 9, raw values scaled and moved."""
    random = np.random.default_rng(0)
    maps = random.normal(1, 0.1, (40, 4, 4))
    maps[30:, 1, 1] = 9
    maps = (scale * maps + shift).astype(np.float32)
    return Readings(maps.max(axis=(1, 2)).astype(np.float64), maps, np.arange(40) >= 30)


def test_thresholds_of_its_own_undo_a_change_of_scale() -> None:
    found = compare(readings(), readings(3.0, 7.0), 0.05)
    assert found.map_largest < 1e-4
    assert (found.spearman, found.auroc, found.misses) == (1.0, 1.0, 0.0)


def test_a_map_that_lost_its_anomaly_is_seen_in_every_figure() -> None:
    blind = readings()
    blind.maps[30:, 1, 1] = 1
    found = compare(readings(), Readings(blind.maps.max(axis=(1, 2)).astype(float), blind.maps, blind.anomalous), 0.05)
    assert found.map_largest > 1
    assert found.misses > 0.8
    assert found.auroc < 0.8
    assert len(faults(found, Tolerances())) >= 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"map_mean": 0.2}, "maps differ by 0.2 on average (0.1 allowed)"),
        ({"map_largest": 2.0}, "a map differs by 2 (1 allowed)"),
        ({"spearman": 0.9}, "falls short of 1 by 0.1 (0.02 allowed)"),
        ({"false_alarms": 0.3}, "refuses 0.2 more of the good images (0.05 allowed)"),
        ({"misses": 0.4}, "passes 0.2 more of the anomalies (0.05 allowed)"),
        ({"auroc": 0.8}, "loses 0.1 of the image AUROC (0.003 allowed)"),
    ],
)
def test_each_tolerance_is_kept_for_itself(change: dict[str, float], words: str) -> None:
    assert faults(FINE, Tolerances()) == []
    (said,) = faults(msgspec.structs.replace(FINE, **change), Tolerances())
    assert said.endswith(words)


def test_a_figure_that_is_no_number_does_not_pass() -> None:
    assert faults(msgspec.structs.replace(FINE, map_mean=float("nan")), Tolerances())


values = st.lists(st.integers(-5, 5), min_size=3, max_size=12)


@given(values, st.data())
def test_auroc_is_the_textbooks_with_ties(scores: list[int], data: st.DataObject) -> None:
    labels = np.array(data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))))
    labels[:2] = [True, False]
    found = auroc(np.array(scores, float), labels)
    assert found == pytest.approx(roc_auc_score(labels, scores))


@given(values)
def test_rank_correlation_minds_order_alone(scores: list[int]) -> None:
    first = np.array(scores, float)
    assert spearman(first, np.exp(first)) == pytest.approx(1.0)
    if first.std() > 0:
        assert spearman(first, -first) == pytest.approx(-1.0)
        assert spearman(first, np.zeros(len(first))) == 0.0


@given(st.sets(st.sampled_from("abcdefgh")), st.permutations("abcdefgh"))
def test_the_fewest_blocks_are_those_that_matter(needed: set[str], blocks: list[str]) -> None:
    assert fewest(blocks, lambda kept: needed <= kept) == needed


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 30))
def test_no_block_that_was_put_back_can_be_spared(costs: list[int], allowed: int) -> None:
    effects = {f"block{index}": float(cost) for index, cost in enumerate(costs)}

    def passes(kept: frozenset[str]) -> bool:
        return sum(cost for name, cost in effects.items() if name not in kept) <= allowed

    kept = fewest(order(effects), passes)
    assert kept is not None
    assert passes(kept)
    assert not any(passes(kept - {name}) for name in kept)


def test_where_nothing_helps_nothing_is_put_back() -> None:
    assert fewest(["a", "b"], lambda kept: False) is None
