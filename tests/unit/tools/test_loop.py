"""The training loop: the same bits from the same seed, after an interruption too, and a budget that is kept."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgead.errors import EdgeadError, GateError, UsageError
from edgead_tools.training import loop as train
from edgead_tools.training.loop import Interrupted, Optimizer, fit, rate_factor
from edgead_tools.training.run import Run

SPECS = {"trunk": Optimizer(1e-2), "head": Optimizer(5e-2, "sgd", clip=1.0)}


class Toy:
    """Two parts with batch norm and dropout; `hook` runs in every step."""

    def __init__(self) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2))
            self.head = nn.Conv2d(8, 1, 1)
        self.parts = {"trunk": self.trunk, "head": self.head}
        self.calls: list[int] = []

    def step(self, number: int, random: np.random.Generator) -> Mapping[str, Tensor]:
        self.calls.append(number)
        self.hook(number)
        image = torch.from_numpy(random.standard_normal((4, 3, 12, 12), np.float32))
        loss = (self.head(self.trunk(image)) - image.mean(1, keepdim=True)[:, :, 1:-1, 1:-1]).square().mean()
        return {"fit": loss, "size": 1e-3 * self.head.weight.square().sum()}

    def hook(self, number: int) -> None:
        pass

    def fit(self, run: Run) -> train.TrainReport:
        return fit(self.parts, self.step, SPECS, replace(run, threads=1))  # more would wait for each other

    def state(self) -> list[Tensor]:
        return [tensor for part in self.parts.values() for tensor in part.state_dict().values()]


def same(one: Toy, other: Toy) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state(), other.state(), strict=True))


def interrupt_at(step: int, toy: Toy) -> None:
    toy.hook = lambda number: os.kill(os.getpid(), signal.SIGINT) if number == step else None  # type: ignore[method-assign]


def test_training_learns_logs_and_reports(tmp_path: Path) -> None:
    toy = Toy()
    seen: list[tuple[int, int]] = []
    report = toy.fit(Run(tmp_path, steps=70, on_progress=lambda done, total: seen.append((done, total))))
    assert (report.steps, report.planned, report.stopped) == (70, 70, "")
    assert seen == [(number, 70) for number in range(1, 71)]
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40, 60, 70]
    assert report.losses["fit"] == lines[-1]["fit"] < 0.5 * lines[0]["fit"]


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path: Path) -> None:
    first, second, third = Toy(), Toy(), Toy()
    first.fit(Run(tmp_path / "1", steps=12))
    torch.manual_seed(99)  # nothing outside may matter
    second.fit(Run(tmp_path / "2", steps=12))
    third.fit(Run(tmp_path / "3", steps=12, seed=1))
    assert same(first, second)
    assert not same(first, third)


def test_the_process_is_left_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    torch.manual_seed(5)
    Toy().fit(Run(tmp_path, steps=3, threads=1))
    assert torch.equal(torch.rand(1), expected)
    assert torch.get_num_threads() == threads
    assert signal.getsignal(signal.SIGINT) is handler
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("step", [4, 33])
def test_ctrl_c_finishes_the_step_and_resume_is_bit_identical(tmp_path: Path, step: int) -> None:
    whole, broken, resumed = Toy(), Toy(), Toy()
    expected = whole.fit(Run(tmp_path / "whole", steps=45))
    interrupt_at(step, broken)
    with pytest.raises(Interrupted, match=f"after step {step + 1} of 45"):
        broken.fit(Run(tmp_path / "broken", steps=45))
    report = resumed.fit(Run(tmp_path / "broken", steps=45))
    assert resumed.calls == list(range(step + 1, 45))
    assert same(whole, resumed)
    assert report.losses == expected.losses
    logs = [(tmp_path / name / "train.jsonl").read_text().splitlines() for name in ("whole", "broken")]
    assert [json.loads(line)["fit"] for line in logs[0]] == [json.loads(line)["fit"] for line in logs[1]]


def test_a_killed_run_resumes_from_its_last_checkpoint(tmp_path: Path) -> None:
    whole, killed, resumed = Toy(), Toy(), Toy()
    whole.fit(Run(tmp_path / "whole", steps=30))

    def die(number: int) -> None:
        if number == 25:
            raise RuntimeError("power cut")
        if number in (18, 19):  # one checkpoint, after step 18; then the log runs ahead of it
            object.__setattr__(run, "checkpoint_every", 0.0 if number == 18 else 1e9)

    killed.hook = die  # type: ignore[method-assign]
    run = Run(tmp_path / "killed", steps=30, threads=1)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(killed.parts, killed.step, SPECS, run)
    report = resumed.fit(Run(tmp_path / "killed", steps=30))
    assert resumed.calls[0] == 19
    assert same(whole, resumed)
    lines = (tmp_path / "killed" / "train.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [20, report.steps]


def test_an_unfinished_training_can_be_taken_as_it_is_or_continued(tmp_path: Path) -> None:
    whole, broken, taken, resumed = Toy(), Toy(), Toy(), Toy()
    whole.fit(Run(tmp_path / "whole", steps=9))
    assert Toy().fit(Run(tmp_path / "not begun", steps=9, finish=True)).stopped == ""
    interrupt_at(4, broken)
    with pytest.raises(Interrupted):
        broken.fit(Run(tmp_path / "broken", steps=9))
    report = taken.fit(Run(tmp_path / "broken", steps=9, finish=True))
    assert (report.steps, report.planned, report.stopped) == (5, 9, "finish")
    assert same(taken, broken)
    assert resumed.fit(Run(tmp_path / "broken", steps=9)).stopped == ""
    assert same(resumed, whole)


def test_a_finished_stage_is_not_done_again(tmp_path: Path) -> None:
    first, again = Toy(), Toy()
    report = first.fit(Run(tmp_path, steps=5))
    assert again.fit(Run(tmp_path, steps=5)).losses == report.losses
    assert again.calls == []
    assert same(first, again)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    Toy().fit(Run(tmp_path, steps=3))
    with pytest.raises(UsageError, match="other data or options"):
        Toy().fit(Run(tmp_path, steps=4))
    (tmp_path / "train.pt").write_bytes(b"damaged")
    with pytest.raises(UsageError, match="delete it"):
        Toy().fit(Run(tmp_path, steps=3))


class Clock:
    """Stands in for the time module: every step takes as long as `seconds(number)` says."""

    def __init__(self, toy: Toy, seconds: Callable[[int], float]) -> None:
        self.now = 100.0
        toy.hook = lambda number: self.pass_by(seconds(number))  # type: ignore[method-assign]

    def pass_by(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


def test_a_budget_becomes_steps_that_repeat_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy, again = Toy(), Toy()
    monkeypatch.setattr(train, "time", Clock(toy, lambda number: 5.0 if number < 2 else 1.0))  # the first two are slow
    totals: list[int] = []
    run = Run(tmp_path / "budget", budget=48.5, on_progress=lambda done, total: totals.append(total))
    report = toy.fit(run)
    assert (report.steps, report.planned, report.seconds) == (40, 40, 48.0)
    assert totals[0] == 9  # estimates, until it is planned
    assert set(totals[9:]) == {40}
    again.fit(Run(tmp_path / "steps", steps=40))
    assert same(toy, again)


def test_a_budget_is_spent_on_so_many_steps_at_the_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for most, steps in ((30, 30), (3, 3), (100, 60)):
        toy = Toy()
        monkeypatch.setattr(train, "time", Clock(toy, lambda number: 1.0))
        report = toy.fit(Run(tmp_path / str(most), budget=60.0, most=most))
        assert (report.steps, report.planned, report.stopped) == (steps, steps, "")
    assert Toy().fit(Run(tmp_path / "steps", steps=40, most=30)).steps == 40  # what is asked for is done


def test_a_budget_shorter_than_a_step_does_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Toy()
    monkeypatch.setattr(train, "time", Clock(toy, lambda number: 60.0))
    assert toy.fit(Run(tmp_path, budget=10.0)).steps == 1


def test_a_machine_that_slows_down_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy, again = Toy(), Toy()
    monkeypatch.setattr(train, "time", Clock(toy, lambda number: 1.0 if number < 30 else 2.0))
    report = toy.fit(Run(tmp_path, budget=60.0))
    assert (report.stopped, report.planned, report.steps) == ("budget", 60, 50)  # 30 s + 20 * 2 s > 1.15 * 60 s
    assert again.fit(Run(tmp_path, budget=60.0)).stopped == "budget"  # and stays stopped
    assert same(toy, again)


def test_epochs_count_images(tmp_path: Path) -> None:
    toy = Toy()
    report = fit(toy.parts, toy.step, SPECS, Run(tmp_path, epochs=1.5, threads=1), steps_per_epoch=5)
    assert report.steps == 8
    with pytest.raises(UsageError, match="no epochs"):
        toy.fit(Run(tmp_path, epochs=1.5))


def test_a_loss_that_is_not_finite_names_the_step(tmp_path: Path) -> None:
    toy = Toy()

    def spoil(number: int) -> None:
        if number == 3:
            nn.init.constant_(toy.head.weight, float("nan"))

    toy.hook = spoil  # type: ignore[method-assign]
    with pytest.raises(GateError, match=r"train diverged at step 3: fit=nan"):
        toy.fit(Run(tmp_path, steps=10))


def test_frozen_parameters_stay(tmp_path: Path) -> None:
    toy = Toy()
    toy.trunk[0].requires_grad_(False)
    before = toy.trunk[0].weight.clone()
    toy.fit(Run(tmp_path, steps=3))
    assert torch.equal(toy.trunk[0].weight, before)


def test_the_warm_up_does_not_know_the_plan() -> None:
    assert [rate_factor(step, 25, 0.01) for step in range(train.WARM_UP)] == [
        rate_factor(step, 9000, 0.01) for step in range(train.WARM_UP)
    ]
    factors = [rate_factor(step, 200, 0.01) for step in range(train.WARM_UP, 201)]
    assert factors[0] == 1.0
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(0.01)


def test_a_constant_rate_is_constant_from_the_first_step() -> None:
    assert {rate_factor(step, planned, 1.0) for step in (0, 5, 30, 999) for planned in (0, 25, 999)} == {1.0}


def test_a_rate_falls_to_a_tenth_after_its_share_of_the_steps() -> None:
    factors = [rate_factor(step, 200, 1.0, 0.95) for step in range(200)]
    assert set(factors[:190]) == {1.0}
    assert factors[190:] == pytest.approx([0.1] * 10)
    assert rate_factor(train.WARM_UP - 1, train.WARM_UP, 1.0, 0.5) == 1.0  # the warm-up does not know the plan


def test_a_run_needs_exactly_one_limit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exactly one"):
        Run(tmp_path)
    with pytest.raises(UsageError, match="steps and epochs"):
        Run(tmp_path, steps=3, epochs=1.0)
    with pytest.raises(UsageError, match="positive"):
        replace(Run(tmp_path, steps=3), steps=0)


def test_a_checkpoint_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))  # as a full disk, for this process alone
    try:
        with pytest.raises(EdgeadError, match=r"train\.pt cannot be written: File too large"):
            Toy().fit(Run(tmp_path, steps=3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.glob("*.pt"))
