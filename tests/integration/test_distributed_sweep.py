"""A sweep on Ray Tune: candidates beside one another, and those that fall behind stopped early.

Ray takes seconds to start, and is in none of the other tests: pip install 'edgead[ray]', then pytest -m slow.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
import tiny
from programs import lacking

from edgead import Bundle

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1800)]


@pytest.fixture(autouse=True)
def _ray() -> None:
    if find_spec("ray") is None:
        lacking("Ray is missing: pip install 'edgead[ray]'")


def test_a_candidate_goes_on_if_no_third_of_the_faster_ones_beats_it() -> None:
    from edgead_tools.distributed.sweeps import Reached, goes_on

    fast, slow = Reached(1.0, 0.7), Reached(9.0, 0.8)
    assert goes_on(fast, [])
    assert goes_on(fast, [slow, Reached(2.0, 0.99), Reached(3.0, 0.99)])  # all slower, whatever they achieve
    assert goes_on(slow, [fast])
    assert not goes_on(slow, [Reached(1.0, 0.9)])
    assert goes_on(slow, [Reached(1.0, 0.9), fast, fast])  # one of the best two of four
    assert not goes_on(slow, [Reached(1.0, 0.9), Reached(1.0, 0.91), fast])


def test_all_trainings_together_last_as_long_as_one_without_ray() -> None:
    from edgead_tools.distributed.sweeps import rungs_of

    assert rungs_of(130) == [10, 30, 90]
    assert rungs_of(24) == [6, 18]  # the first of three would be too short
    assert rungs_of(6) == [6]


def test_the_scheduler_stops_what_falls_behind_at_its_own_stage() -> None:
    from ray.tune.schedulers import TrialScheduler

    from edgead_tools.distributed.sweeps import EarlyStopping

    scheduler = EarlyStopping()

    def told(rung: int, auroc: float, ms: float, error: str = "") -> str:
        return scheduler.on_trial_result(None, None, {"rung": rung, "image_auroc": auroc, "ms": ms, "error": error})

    assert told(0, 0.9, 1.0) == TrialScheduler.CONTINUE
    assert told(0, 0.8, 2.0) == TrialScheduler.STOP
    assert told(1, 0.8, 2.0) == TrialScheduler.CONTINUE  # nobody else has come that far
    assert told(0, 0.95, 2.0, error="broken") == TrialScheduler.STOP


def test_a_sweep_on_ray(tmp_path: Path, edgead) -> None:
    data = tmp_path / "data"
    for folder, make, count in (("train/good", tiny.good, 24), ("test/good", tiny.good, 6), ("test/spot", tiny.bad, 6)):
        (data / folder).mkdir(parents=True)
        for seed in range(count):
            cv2.imwrite(str(data / folder / f"{seed}.png"), make(1000 * len(folder) + seed, 64, 64))
    command = ("sweep", data, "--method", "stlm", "--method", "ast_mfr", "--size", 64, "--budget", "40s", "--json")
    code, out, error = edgead(*command, "--workers", 2)
    assert code == 0, error
    choices = json.loads(out)["choices"]
    assert {one["candidate"]["method"] for one in choices} == {"stlm", "ast_mfr"}
    folder = tmp_path / "data.sweep"
    assert (folder / "sweep.html").exists()
    assert not (folder / ".tune").exists()
    trained = {one["candidate"]["method"]: one["training_seconds"] for one in choices}
    for number, method in enumerate(("stlm", "ast_mfr")):
        kept = [rung for rung in (0, 1) if (folder / f"rungs/{rung}/{method}-edge-64.edgead").exists()]
        stopped = f"stopped {method} edge 64 after" in error
        assert kept == ([0] if stopped else [0, 1])
        last = Bundle.open(folder / f"rungs/{kept[-1]}/{method}-edge-64.edgead")
        assert Bundle.open(folder / f"{method}-edge-64.edgead").digest == last.digest
        assert last.manifest.provenance["config"]["budget"] == ("5s" if stopped else "15s"), number
        assert trained[method] < 20
    made = {path: path.stat().st_mtime_ns for path in folder.glob("rungs/*/*.edgead")}
    code, again, error = edgead(*command, "--workers", 2)
    assert code == 0, error
    assert {path: path.stat().st_mtime_ns for path in folder.glob("rungs/*/*.edgead")} == made
    assert [one["measured"] for one in json.loads(again)["choices"]] == [one["measured"] for one in choices]
