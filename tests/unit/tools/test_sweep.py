"""A sweep over candidates whose training is replaced by a bundle at once: what is kept, resumed, compared and shown."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import tiny

from edgead.config import BuildConfig
from edgead.config.loader import validated
from edgead.errors import DataError, EdgeadError, UsageError
from edgead.progress import Reporter
from edgead_tools.evaluation.report.plots import Point, pareto, scatter
from edgead_tools.pipeline import sweep as module
from edgead_tools.pipeline.build import BuildResult
from edgead_tools.pipeline.sweep import (
    PAGE,
    RESULT,
    Candidate,
    SweepResult,
    list_candidates,
    sweep,
    sweep_page,
    warnings_of,
)

AUROC = {("stlm", 64): 0.9, ("stlm", 128): 0.95, ("ast_mfr", 64): 0.8, ("ast_mfr", 128): 0.97}


class Heard(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


class Builder:
    """Stands for `build`: writes a tiny bundle with the figures above; may fail, or be interrupted."""

    def __init__(self) -> None:
        self.built: list[BuildConfig] = []
        self.broken: dict[str, BaseException] = {}

    def __call__(self, config: BuildConfig, reporter: Reporter) -> BuildResult:
        if error := self.broken.get(config.method):
            raise error
        self.built.append(config)
        figures = {"image_auroc": AUROC[config.method, int(str(config.size))], "aupro": None, "false_alarm_rate": 0.0}
        assert validated(config) == config  # what a bundle keeps of it is told in the same words again
        made = {"method": config.method, "preset": config.preset, "size": config.size, "seed": config.seed}
        provenance = {
            "measured": figures | {"miss_rate": 0.5},
            "training": {"seconds": 7.0, "steps": 3},
            "config": made | {"data": config.data},
        }
        return BuildResult(tiny.write_tiny(config.bundle_path, provenance=provenance), None)


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    builder = Builder()
    monkeypatch.setattr(module, "build", builder)
    monkeypatch.setattr(module, "latencies", lambda bundles, threads: {name: float(len(name)) for name in bundles})
    return builder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for folder in ("train/good", "test/good", "test/spot"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / folder / "0.png"), tiny.good())
    return tmp_path / "data"


CANDIDATES = list_candidates(("ast_mfr", "stlm"), ("edge",), (128, 64))


def test_candidates_are_every_combination_small_ones_first() -> None:
    assert [str(one) for one in CANDIDATES] == ["ast_mfr edge 64", "stlm edge 64", "ast_mfr edge 128", "stlm edge 128"]
    every = {one.method for one in list_candidates()}
    assert every >= {"stlm", "ast_mfr"}
    assert "auto" not in every  # it is one of them
    assert [one.method for one in list_candidates(("auto",), sizes=(64,))] == ["auto"]
    for methods, presets, sizes in ((("none",), ("edge",), (64,)), ((), ("none",), (64,)), ((), ("edge",), (100,))):
        with pytest.raises(UsageError):
            list_candidates(methods, presets, sizes)


def test_every_candidate_gets_its_share_and_the_best_are_marked(tmp_path: Path, data: Path, builder: Builder) -> None:
    choices = sweep(data, tmp_path / "out", CANDIDATES, 60.0, Reporter())
    assert {config.budget for config in builder.built} == {"15s"}
    assert [str(one.candidate) for one in choices] == [str(one) for one in CANDIDATES]
    rows = {row[0]: row for row in module.rows_of(choices)}
    assert {name for name, row in rows.items() if row[-1]} == {"stlm edge 64", "stlm edge 128", "ast_mfr edge 128"}
    stored = json.loads((tmp_path / "out" / RESULT).read_text())
    assert [one["measured"]["image_auroc"] for one in stored["choices"]] == [0.8, 0.9, 0.97, 0.95]
    page = (tmp_path / "out" / PAGE).read_text()
    assert page.count("<circle") == 4
    assert "0.970" in page


def test_a_sweep_that_was_stopped_goes_on(tmp_path: Path, data: Path, builder: Builder) -> None:
    builder.broken["stlm"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt, match="1 of 4 are finished; the same command goes on"):
        sweep(data, tmp_path / "out", CANDIDATES, 60.0, Reporter())
    stored = json.loads((tmp_path / "out" / RESULT).read_text())
    assert [one["candidate"]["method"] for one in stored["choices"]] == ["ast_mfr"]
    builder.broken.clear()
    assert len(sweep(data, tmp_path / "out", CANDIDATES, 60.0, Reporter())) == 4
    assert [(config.method, config.size) for config in builder.built].count(("ast_mfr", "64")) == 1


def test_what_cannot_be_built_is_said_and_left_out(tmp_path: Path, data: Path, builder: Builder) -> None:
    builder.broken["stlm"] = EdgeadError("its weights are missing")
    heard = Heard()
    assert len(sweep(data, tmp_path / "out", CANDIDATES, 60.0, heard)) == 2
    assert "left out stlm edge 64: its weights are missing" in heard.lines
    builder.broken["ast_mfr"] = EdgeadError("so are these")
    with pytest.raises(DataError, match="no candidate could be built"):
        sweep(data, tmp_path / "other", CANDIDATES, 60.0, Reporter())


def test_bundles_of_another_sweep_are_not_mixed_in(tmp_path: Path, data: Path, builder: Builder) -> None:
    heard = Heard()
    sweep(data, tmp_path / "out", CANDIDATES[:1], 60.0, heard)
    with pytest.raises(DataError):
        sweep(data, tmp_path / "out", CANDIDATES[:1], 60.0, heard, seed=1)
    assert "was built with another seed: give another --out" in heard.lines[-1]


def test_what_cannot_be_chosen_by_is_refused(tmp_path: Path, data: Path, builder: Builder) -> None:
    with pytest.raises(UsageError, match=r"2.0 s for each: give a larger --budget"):
        sweep(data, tmp_path / "out", CANDIDATES, 8.0, Reporter())
    (data / "test/spot/0.png").unlink()
    with pytest.raises(DataError, match="no labeled good and defective images"):
        sweep(data, tmp_path / "out", CANDIDATES, 60.0, Reporter())
    assert not (tmp_path / "out").exists()


def test_the_front_is_what_no_other_beats() -> None:
    points = [Point(name, "", x, y) for name, x, y in (("a", 1, 1), ("b", 2, 3), ("c", 2, 2), ("d", 3, 3), ("e", 4, 5))]
    assert [point.name for point in pareto(points)] == ["a", "b", "e"]
    for point in points:
        beaten = any(o.x <= point.x and o.y >= point.y and (o.x, o.y) != (point.x, point.y) for o in points)
        assert beaten == (point not in pareto(points))


def test_a_plot_of_one_point_is_drawn_and_names_are_escaped() -> None:
    picture = scatter([Point("<one>", "g & h", 1.0, 0.9)], x="ms", y="AUROC", title="t", front=True)
    assert "&lt;one&gt;" in picture
    assert "g &amp; h" in picture
    assert "nan" not in picture


def test_the_file_names_what_it_holds() -> None:
    assert Candidate("stlm", "edge", 128).file == "stlm-edge-128.edgead"


def test_a_best_choice_that_finds_little_is_said() -> None:
    def choice(missed: float | None) -> SweepResult:
        measured = {"image_auroc": 0.6, "miss_rate": missed}
        return SweepResult(Candidate("stlm", "edge", "256"), measured, 10.0, 1, 1.0)

    assert warnings_of([choice(0.1), choice(None)]) == []
    (said,) = warnings_of([choice(0.99)])
    assert "misses 99% of the defects" in said


def test_the_page_warns_of_what_is_best_in_whatever_order_it_was_built() -> None:
    measured = {"aupro": None, "false_alarm_rate": 0.0}
    slow = SweepResult(Candidate("stlm", "edge", "64"), measured | {"image_auroc": 0.9, "miss_rate": 0.8}, 1.5, 1, 1.0)
    best = SweepResult(Candidate("stlm", "edge", "96"), measured | {"image_auroc": 0.95, "miss_rate": 0.6}, 1.4, 1, 1.0)
    text = sweep_page([slow, best], "parts")
    assert "stlm edge 96 is among the best and yet misses 60%" in text
    assert "stlm edge 64 is among the best" not in text
    assert ">0.405</text>" in text  # a quarter of the way to 1.08 times 1.5 ms
