"""A rebuild learns from reviewed good parts, never from defects, and compares both bundles on what neither has seen."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from saved import save_event

from edgead import BuildConfig, Bundle
from edgead.errors import UsageError
from edgead.progress import Reporter
from edgead.review.labels import Label, add_label
from edgead_calibration.operating_point import Costs
from edgead_tools.data import Sample, open_dataset
from edgead_tools.pipeline import rebuild as module
from edgead_tools.pipeline.build import BuildResult, build
from edgead_tools.pipeline.rebuild import rebuild

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_method")
SIDE = 96
BOX = Label(label="defect", kind="spot", regions=(((48, 48), (72, 48), (72, 72), (48, 72)),))


def part(seed: int, *, light: bool = False, bad: bool = False) -> np.ndarray:
    """A part; `light` ones were not among the first images."""
    image = (tiny.bad if bad else tiny.good)(seed, SIDE, SIDE)
    return np.asarray(np.minimum(image.astype(int) + 25, 255), np.uint8) if light else image


@pytest.fixture
def old(tmp_path: Path) -> Bundle:
    """A bundle that has never seen light parts."""
    (tmp_path / "good").mkdir()
    for number in range(24):
        cv2.imwrite(str(tmp_path / f"good/{number}.png"), part(number))
    config = BuildConfig(
        method="tiny", data=str(tmp_path / "good"), out=str(tmp_path / "old.edgead"), steps=2, threads=1, size=SIDE
    )
    return build(config, Reporter()).bundle


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Light parts that were refused, labeled good, and defects of both kinds of light."""
    for number in range(30):
        event = save_event(
            tmp_path / "saved", number, score=3.0, image=part(100 + number, light=True),
            kept_for="random sample" if number % 2 else "verdict NG",
        )  # fmt: skip
        add_label(tmp_path / "saved" / event, "ada", Label(label="good"))
    for number in range(30, 36):
        event = save_event(tmp_path / "saved", number, image=part(number, light=number % 2 == 0, bad=True))
        add_label(tmp_path / "saved" / event, "ada", BOX)
    return tmp_path / "saved"


def test_what_was_refused_and_is_good_is_learned(old: Bundle, saved: Path, tmp_path: Path) -> None:
    rebuilt = rebuild(old, saved, tmp_path / "new.edgead", Reporter(), costs=Costs())
    good = [one for one in rebuilt.compared if one.sample.is_good]
    bad = [one for one in rebuilt.compared if not one.sample.is_good]
    assert len(bad) == 6
    assert {one.sample.label for one in bad} == {"spot"}
    assert all(one.old > 1 and one.new <= 1 for one in good)  # false alarms that are none any more
    assert all(one.new > 1 for one in bad)
    dataset = open_dataset(tmp_path / "new.edgead.data")
    assert len(dataset.train) == 24 + 30 - len(good)
    assert {sample.label for sample in dataset.train} == {"good"}
    assert all(sample.masks for sample in dataset.test if not sample.is_good)
    (entry,) = rebuilt.bundle.manifest.provenance["thresholds"]
    assert "least cost with 6 labeled defects" in entry["why"]
    text = rebuilt.page.read_text()
    assert f"Another verdict: {len(good)} of {len(rebuilt.compared)}" in text
    assert f">0 of {len(good)}<" in text  # false alarms of the new one
    assert "data:image/jpeg;base64," in text


def test_a_refit_keeps_the_network_and_takes_random_frames_alone(old: Bundle, saved: Path, tmp_path: Path) -> None:
    for number in range(40, 55):  # parts as they always were
        event = save_event(saved, number, score=0.5, image=part(200 + number), kept_for="random sample")
        add_label(saved / event, "ada", Label(label="good"))
    for path in saved.glob("*/*/result.json"):  # the light ones were kept for their scores
        if int(path.parent.name.split("_")[1]) < 30:
            path.write_text(path.read_text().replace("random sample", "verdict NG"))
    rebuilt = rebuild(old, saved, tmp_path / "new.edgead", Reporter(), refit=True)
    before, after = old.manifest.artifacts[0], rebuilt.bundle.manifest.artifacts[0]
    assert old.read(before.member) == rebuilt.bundle.read(after.member)
    assert len(after.good_scores) == len(before.good_scores) + 15
    assert after.good_scores[: len(before.good_scores)] == before.good_scores
    assert after.thresholds.images == before.thresholds.images + 15


def test_reviewed_defects_choose_the_weights_unless_told_otherwise(
    old: Bundle, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def spied(config: BuildConfig, reporter: Reporter, *, defects: tuple[Sample, ...]) -> BuildResult:
        given.append([(one.label, one.path.exists()) for one in defects])
        return build(config, reporter)

    monkeypatch.setattr(module, "build", spied)
    rebuilt = rebuild(old, saved, tmp_path / "new.edgead", Reporter(), costs=Costs())
    rebuild(old, saved, tmp_path / "other.edgead", Reporter(), weigh=False)
    assert given == [[("spot", True)] * 6, []]
    assert "6 defects have chosen the threshold: others will be found less often" in rebuilt.page.read_text()


def test_of_enough_defects_a_half_tells_alone(old: Bundle, saved: Path, tmp_path: Path) -> None:
    for number in range(60, 84):
        event = save_event(saved, number, image=part(number, bad=True))
        add_label(saved / event, "ada", BOX)
    rebuilt = rebuild(old, saved, tmp_path / "new.edgead", Reporter(), costs=Costs())
    bad = [one for one in rebuilt.compared if not one.sample.is_good]
    chose = {one.sample.name for one in bad if one.has_chosen}
    assert len(bad) == 30
    assert 8 <= len(chose) <= 22
    (entry,) = rebuilt.bundle.manifest.provenance["thresholds"]
    assert f"least cost with {len(chose)} labeled defects" in entry["why"]
    named = [row[0] for row in module.rates(rebuilt.compared)]
    assert named == ["false alarms", "found: spot", "found: spot, which chose"]
    text = rebuilt.page.read_text()
    assert f"{len(chose)} defects have chosen the threshold: the {30 - len(chose)} others were kept from it" in text
    plain = rebuild(old, saved, tmp_path / "plain.edgead", Reporter(), weigh=False)
    assert not any(one.has_chosen for one in plain.compared)  # good parts alone put its threshold
    assert "have chosen" not in plain.page.read_text()
    again = module.choosing_defects(open_dataset(tmp_path / "new.edgead.data"))
    assert {one.name for one in again} == chose


def test_what_is_missing_is_said(old: Bundle, saved: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="is labeled good or defect yet"):
        rebuild(old, tmp_path / "empty", tmp_path / "new.edgead", Reporter())
    for label in saved.glob("*/*/label-ada.json"):
        if "random sample" in (label.parent / "result.json").read_text():
            label.unlink()
    with pytest.raises(UsageError, match="kept at random"):
        rebuild(old, saved, tmp_path / "new.edgead", Reporter(), refit=True)
    (tmp_path / "new.edgead.data/mine.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"mine\.txt"):
        rebuild(old, saved, tmp_path / "new.edgead", Reporter())


def test_the_command(edgead, old: Bundle, saved: Path) -> None:
    code, out, error = edgead("rebuild", "old.edgead", "--with", "saved", "--keep-rate")
    assert code == 0, error
    assert "false alarms" in out
    assert "found: spot" in out
    assert out.endswith("old-new.edgead\n")
