"""The method that chooses: which candidate is taken, by which figures, and what the build says of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import boards
import pytest

from edgead.errors import UsageError
from edgead_tools.methods import Trained, create_method
from edgead_tools.methods import joined as joining
from edgead_tools.methods.auto import MEMORY, choose
from edgead_tools.training.loop import Interrupted
from edgead_tools.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 7
IMAGES = boards.training_images(12, 6)


def found(gain: float, error: float, *, helps: bool) -> dict[str, Any]:
    return {"planted_auroc": {"memory": 0.9, "both": 0.9 + gain, "gain": gain, "error": error}, "students": helps}


@pytest.mark.parametrize(
    ("dear", "cheap", "expected"),
    [
        (found(0.01, 0.02, helps=False), found(-0.1, 0.02, helps=False), MEMORY),
        (found(0.05, 0.02, helps=True), found(0.01, 0.02, helps=False), "dear"),
        (found(0.01, 0.02, helps=False), found(0.05, 0.02, helps=True), "cheap"),
        (found(0.05, 0.02, helps=True), found(0.04, 0.02, helps=True), "cheap"),  # within the best one's error
        (found(0.05, 0.005, helps=True), found(0.04, 0.02, helps=True), "dear"),
    ],
)
def test_the_cheapest_of_the_helpful_ones_that_cannot_be_told_from_the_best_is_taken(
    dear: dict[str, Any], cheap: dict[str, Any], expected: str
) -> None:
    assert choose({"dear": dear, "cheap": cheap}) == expected


def train(folder: Path, **options: Any) -> Trained:
    return create_method("auto", "edge", {"memory": 16}).train(IMAGES, Run(folder, threads=1, **options))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """As if both candidates were of help."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "CERTAIN", -1e9)
        patch.setattr(joining, "gain", lambda after, before: (0.1, 0.01))
        return train(tmp_path_factory.mktemp("auto"), steps=STEPS)


def test_the_steps_are_shared_and_their_sum_is_what_was_asked_for(trained: Trained) -> None:
    stages = {one["stage"]: one["steps"] for one in trained.report["stages"]}
    assert sum(stages.values()) == trained.report["steps"] == STEPS
    assert stages == {"train": 3, "denoising": 3, "head": 1}


def test_the_choice_is_told_with_its_figures(trained: Trained) -> None:
    auto = trained.report["auto"]
    assert auto["chosen"] == "stlm"
    assert set(auto["planted_auroc"]) == {"stlm", "ast_mfr"}
    *_, choice = trained.report["findings"]
    for name, figures in auto["planted_auroc"].items():
        assert f"{figures['both']:.3f} with {name}" in choice["figures"]
    assert choice["overrule"] == "--method ast_mfr or stlm"
    assert len([one for one in trained.report["findings"] if "students" in one["found"]]) == 1
    assert {one.name for one in trained.fusion.maps} >= {"stacked", "coarse", "head", "memory"}


def test_where_none_is_of_help_the_memory_stands_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "gain", lambda after, before: (-0.1, 0.01))
    trained = train(tmp_path, steps=2)
    assert trained.report["auto"]["chosen"] == MEMORY
    assert [one.name for one in trained.fusion.maps] == ["memory", "surroundings", "whole"]
    assert trained.report["findings"][-1]["chosen"] == "the memory alone"


def test_what_was_interrupted_goes_on_in_the_candidate_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "gain", lambda after, before: (-0.1, 0.01))

    def stop(done: int, total: int) -> None:
        if (tmp_path / "train.pt").exists() and done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="denoising stopped after step 2"):
        train(tmp_path, steps=STEPS, on_progress=stop)
    before = (tmp_path / "train.pt").read_bytes()
    again = train(tmp_path, steps=STEPS)
    assert again.report["steps"] == STEPS
    assert (tmp_path / "train.pt").stat().st_size == len(before)


def test_without_a_memory_there_is_nothing_to_compare_with() -> None:
    with pytest.raises(UsageError, match="compares students with the memory"):
        create_method("auto", "edge", {"memory": 0})
