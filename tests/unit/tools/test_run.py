"""A run divided between two stages repeats by the sum of their steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgead_tools.training.run import Run

SHARES = (0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 1 / 3, 0.5, 0.75, 0.9)


@pytest.mark.parametrize("share", SHARES)
def test_the_steps_of_both_stages_repeat_a_budgeted_build(share: float, tmp_path: Path) -> None:
    first, second = Run(tmp_path, budget=60.0).split(1 - share)
    assert first.budget == pytest.approx(60 * (1 - share))
    for done in (*range(1, 400), *range(400, 5000, 7), 5000):
        rest = second(done).steps
        assert rest is not None
        first_again, second_again = Run(tmp_path, steps=done + rest).split(1 - share)
        assert first_again.steps == done
        assert second_again(done).steps == rest


@pytest.mark.parametrize("share", SHARES)
def test_steps_are_what_was_asked_for_and_both_stages_get_some(share: float, tmp_path: Path) -> None:
    for steps in range(2, 1000):
        first, second = Run(tmp_path, steps=steps).split(1 - share)
        assert first.steps is not None
        rest = second(first.steps).steps
        assert rest is not None
        assert first.steps + rest == steps
        assert first.steps == pytest.approx(steps * (1 - share), abs=1)


def test_a_first_stage_that_was_cut_short_cuts_the_second(tmp_path: Path) -> None:
    first, second = Run(tmp_path, steps=1000, finish=True).split(0.8)
    assert first.steps == 800
    assert second(400).steps == 100
    first, second = Run(tmp_path, epochs=50.0).split(0.8)
    assert first.epochs == 40
    assert second(400).steps == 100


def test_one_step_is_one_of_each(tmp_path: Path) -> None:
    first, second = Run(tmp_path, steps=1).split(0.5)
    assert (first.steps, second(1).steps) == (1, 1)
