"""Which trigger a frame belongs to: by its time of capture alone."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgead.errors import UsageError
from edgead.stream.trigger.base import Trigger, checked_part
from edgead.stream.trigger.matching import TriggerMatcher, TriggerWindow


def matcher(*clocks: float, **window: float) -> TriggerMatcher:
    made = TriggerMatcher(TriggerWindow(**window))
    for number, clock in enumerate(clocks, start=1):
        made.open(Trigger(number, clock, 0.0))
    return made


def test_frames_inside_the_window_are_the_triggers_own() -> None:
    found = matcher(10.0, length=0.2, delay=0.1)
    assert [found.owner(clock) for clock in (9.9, 10.05, 10.1, 10.29, 10.31)] == [None, None, 1, 1, None]
    assert found.end(1) == pytest.approx(10.3)
    assert found.end(7) == 0.0


def test_a_frame_before_the_trigger_counts_where_that_is_asked_for() -> None:
    found = matcher(10.0, length=0.2, before=0.05)
    assert [found.owner(clock) for clock in (9.94, 9.96, 10.19, 10.21)] == [None, 1, 1, None]
    assert TriggerWindow(before=0.05).hold == pytest.approx(0.05)


def test_a_window_ends_where_the_next_begins() -> None:
    found = TriggerMatcher(TriggerWindow(length=0.2))
    assert found.open(Trigger(1, 10.0, 0.0)) is None
    assert found.open(Trigger(2, 10.15, 0.0)) == (1, pytest.approx(0.15))
    assert found.open(Trigger(3, 11.0, 0.0)) is None
    assert [found.owner(clock) for clock in (10.1, 10.149, 10.15, 10.3)] == [1, 1, 2, 2]
    assert found.end(1) == 10.15


def test_a_trigger_that_is_told_late_takes_its_place() -> None:
    found = matcher(10.0, 10.4, 10.2, length=0.2)
    assert [found.owner(clock) for clock in (10.1, 10.25, 10.45)] == [1, 3, 2]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.floats(0, 101))
def test_a_frame_is_never_that_of_a_trigger_after_which_another_came(clocks: list[float], at: float) -> None:
    owner = matcher(*clocks, length=0.2).owner(at)
    if owner is not None:
        mine = clocks[owner - 1]
        assert mine <= at < mine + 0.2 + 1e-9
        assert not any(mine < other <= at for other in clocks)


@pytest.mark.parametrize("wrong", [{"length": 0.0}, {"frames": 0}, {"delay": -1.0}, {"before": -0.1}])
def test_a_window_that_can_hold_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="window"):
        TriggerWindow(**wrong)


def test_the_ids_of_parts() -> None:
    assert checked_part(" A-17\0\0") == "A-17"
    for wrong in ("x" * 33, "Ä", "a\x07b"):
        with pytest.raises(UsageError, match="part's id"):
            checked_part(wrong)
