"""Choosing the operating point: what thresholds cost and find, written back with who and why, on a page that works."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tiny
from browser import Browser, shown

from edgead import Bundle
from edgead.bundle import Manifest, PlantedDefect
from edgead.bundle.store import write_bundle
from edgead.cli import main
from edgead.errors import UsageError
from edgead_calibration.detection import detection_at
from edgead_calibration.operating_point import Costs, operating_points
from edgead_calibration.refit import choose_score
from edgead_calibration.site import write_operating_points
from edgead_calibration.thresholds import fit_thresholds, threshold_summary

GOOD = np.random.default_rng(0).gamma(9, 1 / 3, 60)


def fitted(manifest: Manifest) -> Manifest:
    """With 60 good scores around 3, and defects that score 60 times their size."""
    planted = [
        PlantedDefect(kind="spot", size=float(size), contrast=40.0, score=3 + 60 * float(size))
        for size in np.geomspace(0.01, 0.3, 40)
    ]
    limits = fit_thresholds(GOOD.tolist(), GOOD.tolist(), 0.01)
    (artifact,) = manifest.artifacts
    good = tuple(GOOD.tolist())
    artifact = msgspec.structs.replace(artifact, thresholds=limits, good_scores=good, good_maxima=good)
    detection = detection_at(planted, (480, 640), limits.image)
    return msgspec.structs.replace(manifest, artifacts=(artifact,), detection=detection)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    plain = tiny.write_tiny(tmp_path / "tiny.edgead")
    return write_bundle(tmp_path / "part.edgead", fitted(plain.manifest), plain.members())


def test_a_higher_threshold_finds_less_and_alarms_less(bundle: Bundle) -> None:
    points = operating_points(bundle.manifest, Costs()).points
    alarms = [point.false_alarms for point in points]
    assert alarms == sorted(alarms, reverse=True)
    assert all(point.interval[0] <= point.false_alarms <= point.interval[1] for point in points)
    for index in range(4):
        found = [point.found[index] for point in points]
        assert found == sorted(found, reverse=True)
    middle = points[len(points) // 2]
    assert list(middle.found) == sorted(middle.found)


def test_the_threshold_in_force_is_a_candidate(bundle: Bundle) -> None:
    current = bundle.manifest.artifact("fp32").thresholds.image
    assert current in [point.score for point in operating_points(bundle.manifest, Costs()).points]


def test_dear_misses_lower_the_cheapest_threshold(bundle: Bundle) -> None:
    dear, cheap = (operating_points(bundle.manifest, Costs(miss=miss)).cheapest for miss in (5000.0, 1.0))
    assert dear.score < cheap.score
    assert dear.cost == min(point.cost for point in operating_points(bundle.manifest, Costs(miss=5000.0)).points)


def test_the_cheapest_threshold_calls_the_golden_anomaly_ng(bundle: Bundle) -> None:
    """A bundle whose golden anomaly passes is opened by nobody."""
    (artifact,) = bundle.manifest.artifacts
    free = operating_points(bundle.manifest, Costs(miss=1.0)).cheapest
    name, score = bundle.manifest.golden_frames[0], free.score - 1e-3
    golden = (score, *([9.0] * (len(bundle.manifest.golden_frames) - 1)))
    artifact = msgspec.structs.replace(artifact, golden_scores=golden)
    manifest = msgspec.structs.replace(bundle.manifest, artifacts=(artifact,), golden_anomalies=(name,))
    assert operating_points(manifest, Costs(miss=1.0)).cheapest.score < score


def test_labeled_defects_inform_the_cost_and_never_the_false_alarms(bundle: Bundle) -> None:
    without, among = (operating_points(bundle.manifest, Costs(), labeled) for labeled in ((), (4.0, 5.0, 30.0)))
    assert [a.false_alarms for a in without.points] == [b.false_alarms for b in among.points]
    assert [a.interval for a in without.points] == [b.interval for b in among.points]
    assert [a.cost for a in without.points] != [b.cost for b in among.points]
    assert among.points[0].labeled == 1
    assert among.points[-1].labeled == pytest.approx(1 / 3)


def test_a_chosen_threshold_is_written_with_who_and_why(bundle: Bundle) -> None:
    changed = choose_score(bundle, 5.0, who="Ada", why="customer's complaint")
    limits = changed.artifacts[0].thresholds
    assert limits.image == pytest.approx(5.0)
    assert limits.chosen
    assert limits.pixel == bundle.manifest.artifacts[0].thresholds.pixel
    assert "chosen by a person" in threshold_summary(limits)
    low, high = limits.interval
    assert low <= np.mean(GOOD > 5.0) <= high
    entry = changed.provenance["thresholds"][-1]
    assert (entry["what"], entry["who"], entry["why"]) == ("image threshold set to 5", "Ada", "customer's complaint")
    assert changed.detection is not None
    assert bundle.manifest.detection is not None
    assert changed.detection.curves[0].found > bundle.manifest.detection.curves[0].found


def test_a_threshold_below_a_typical_good_part_is_refused(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="not above a typical good part"):
        choose_score(bundle, 1.0)


@pytest.mark.parametrize("values", [{"miss": -1.0}, {"miss": 0.0, "alarm": 0.0}, {"defect_rate": 0.0}])
def test_costs_that_make_no_sense_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Costs(**values)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["edgead", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code


def test_the_command_writes_the_page_and_the_threshold(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bundle.path is not None
    page = tmp_path / "page.html"
    run(monkeypatch, "threshold", str(bundle.path), "--page", str(page), "--cost-miss", "500")
    assert "least cost at a score of" in capsys.readouterr().out
    text = page.read_text()
    data = json.loads(re.search(r"const known = (\{.*\});", text)[1])  # type: ignore[index]
    assert len(data["good"]) == 60
    assert data["costs"]["miss"] == 500
    assert "http" not in re.sub(r"http-equiv", "", text)
    run(monkeypatch, "threshold", str(bundle.path), "--score", "5.5", "--by", "Ada", "--why", "trial")
    changed = Bundle.open(bundle.path).manifest
    assert changed.artifacts[0].thresholds.image == pytest.approx(5.5)
    assert changed.provenance["thresholds"][-1]["why"] == "trial"


def test_the_page_gives_a_command_that_can_be_run_as_it_stands(bundle: Bundle, tmp_path: Path) -> None:
    write_operating_points(tmp_path / "page.html", bundle, Costs(), None)
    browser = Browser(tmp_path / "browser")
    try:
        browser.open((tmp_path / "page.html").as_uri())
        browser.until(f"{shown('#command')} !== ''")
        score = browser.evaluate(shown("#score"))
        assert shlex.split(browser.evaluate(shown("#command")))[3:] == ["--score", score]
        for option, text in (("#by", "Ada"), ("#why", "customer's complaint")):
            box = f"document.querySelector('{option}')"
            browser.evaluate(f"{box}.value = {json.dumps(text)}; {box}.dispatchEvent(new Event('input'))")
        words = shlex.split(browser.evaluate(shown("#command")))
        assert words[3:] == ["--score", score, "--by", "Ada", "--why", "customer's complaint"]
        browser.evaluate("document.querySelector('#best').click()")
        assert browser.evaluate(shown("#score")) == shlex.split(browser.evaluate(shown("#command")))[4] != score
        low, high = (float(browser.evaluate(shown(one))) for one in ("#low", "#high"))
        assert low < float(score) < high
        assert browser.complaints == []
    finally:
        browser.close()
