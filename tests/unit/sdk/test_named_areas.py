"""Named areas: a threshold and a smallest area of their own, on the line, in what is explained, and while areas are
drawn anew."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
from fixed_engine import FixedEngine
from hypothesis import given
from hypothesis import strategies as st

from edgead import Bundle, Detector, Frame, Pipeline, Result, StationConfig, Verdict, ops
from edgead.bundle import FusionSpec, MapSpec, ScoreSpec
from edgead.config import load_station
from edgead.config.recipe import NamedArea
from edgead.errors import DataError, UsageError
from edgead.ops import AreaRules, Rules
from edgead.stream.areas import StationAreas
from edgead.stream.audit import AuditLog
from edgead.stream.recipes import open_recipes
from edgead.stream.roi import RoiMask, read_named_areas, read_roi_masks, recorded_mask
from edgead.types import Reading

SIZE, GRID = (48, 64), (8, 8)
CELL = 8 * 6  # pixels of a cell
LEFT = "0,0,32,48"


def raw(calibrated: np.ndarray) -> np.ndarray:
    return np.asarray(tiny.THRESHOLDS.image_center + 0.4 * calibrated, np.float32)


def judged(bundle: Path, calibrated: np.ndarray, areas: list[AreaRules], rules: Rules | None = None) -> Result:
    """The result of a frame whose map is that, its largest value being the score."""
    cells = raw(calibrated)
    engine = FixedEngine(cells, float(cells.max()))
    with Detector(bundle, engine=engine, rules=rules or Rules()) as detector:
        return detector.detect_many([Frame(tiny.good())], areas=[areas])[0]


def left_half(**rules: float) -> AreaRules:
    cells = np.zeros(GRID, np.float32)
    cells[:, :4] = 1.0
    return AreaRules(cells, **rules)


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5), st.floats(0.5, 2))
def test_a_part_is_ng_where_an_area_exceeds_its_own_threshold(
    tiny_bundle: Path, seed: int, factor: float, threshold: float
) -> None:
    cells = np.random.default_rng(seed).gamma(1.0, 0.5, GRID)
    result = judged(tiny_bundle, cells, [left_half(threshold=factor)], Rules(threshold))
    excess = max(cells[:, :4].max() / factor, cells[:, 4:].max() / threshold)
    if abs(excess - 1) > 1e-4:
        assert (result.verdict is Verdict.NG) == (excess > 1)
    assert result.score == pytest.approx(threshold * excess, rel=1e-3)


def test_regions_are_those_of_the_areas_threshold(tiny_bundle: Path) -> None:
    cells = np.zeros(GRID)
    cells[1, 1], cells[6, 6] = 1.8, 1.4  # in the area, and elsewhere
    for factor, expected in ((1.0, [(8, 6), (48, 36)]), (2.0, [(48, 36)])):
        found = judged(tiny_bundle, cells, [left_half(threshold=factor)]).regions
        assert [(one.x, one.y) for one in found] == expected


def test_areas_without_a_threshold_change_no_map(tiny_bundle: Path) -> None:
    cells = np.random.default_rng(0).random(GRID)
    plain, other = (judged(tiny_bundle, cells, areas) for areas in ([], [left_half(min_area=3.0)]))
    np.testing.assert_array_equal(plain.grid_map, other.grid_map)
    assert plain.score == other.score


def test_of_areas_that_overlap_the_later_one_holds() -> None:
    spec = FusionSpec(maps=(MapSpec(name="map"),), height=8, width=8, score=ScoreSpec(top=1))
    reading = Reading(raw(np.full(GRID, 3.0)), 0.0)
    both = [left_half(threshold=3.0), AreaRules(np.ones(GRID, np.float32), 6.0)]
    scores = [
        ops.calibrate(ops.weigh_areas(reading, spec, order, tiny.THRESHOLDS, 1.0).score, 0.2, 0.6)
        for order in (both, both[::-1])
    ]
    assert scores == pytest.approx([0.5, 1.0])  # the right half has 6 in both


@pytest.mark.parametrize(("own", "verdict"), [(CELL + 1.0, Verdict.OK), (CELL, Verdict.NG), (0.0, Verdict.NG)])
def test_the_smallest_area_is_that_of_the_place(tiny_bundle: Path, own: float, verdict: Verdict) -> None:
    cells = np.zeros(GRID)
    cells[1, 1] = 3.0
    assert judged(tiny_bundle, cells, [left_half(min_area=own)], Rules(min_area=0.0)).verdict is verdict
    assert judged(tiny_bundle, cells, [left_half(min_area=own)], Rules(min_area=9 * CELL)).verdict is verdict
    cells[1, 5] = 3.0  # elsewhere the frame's holds
    assert judged(tiny_bundle, cells, [left_half(min_area=own)]).verdict is Verdict.NG


def test_a_region_across_the_edge_counts_from_the_smaller_area_on(tiny_bundle: Path) -> None:
    cells = np.zeros(GRID)
    cells[1, 3:5] = 3.0
    areas = [left_half(min_area=2.0 * CELL)]
    assert judged(tiny_bundle, cells, areas, Rules(min_area=9 * CELL)).verdict is Verdict.NG
    assert judged(tiny_bundle, np.roll(cells, 1, axis=1), areas, Rules(min_area=9 * CELL)).verdict is Verdict.OK


def test_square_millimeters_and_cameras() -> None:
    config = {
        "rim": NamedArea(where=["left=0,0,8,8", "8,8,8,8"], min_area_mm2=2.0),
        "face": NamedArea(where=LEFT, threshold=1.5, min_area=7.0),
    }
    named = read_named_areas(config, ["left", "right"], 0.1)
    assert [(one.name, one.camera, one.threshold) for one in named] == [
        ("rim", "left", None), ("rim", "", None), ("face", "", 1.5),
    ]  # fmt: skip
    assert [one.min_area for one in named] == pytest.approx([200.0, 200.0, 7.0])
    left, right = read_roi_masks([], [], ["left", "right"], named)
    assert left is not None
    assert right is not None
    assert [len(one.rules(SIZE, GRID)) for one in (left, right)] == [3, 2]


@pytest.mark.parametrize(
    ("area", "scale", "words"),
    [
        (NamedArea(where=LEFT), 0.0, "'rim' says nothing"),
        (NamedArea(where=LEFT, min_area_mm2=1.0), 0.0, "'rim': min_area_mm2 needs the scale"),
        (NamedArea(where=LEFT, min_area_mm2=1.0, min_area=2.0), 0.1, "'rim': give min_area in pixels or"),
        (NamedArea(where="nowhere", threshold=2.0), 0.0, "'nowhere' is no area"),
        (NamedArea(where=f"up={LEFT}", threshold=2.0), 0.0, "no camera 'up'"),
    ],
)
def test_what_does_not_fit_is_said(area: NamedArea, scale: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_named_areas({"rim": area}, ["down"], scale)


def test_a_name_is_a_word() -> None:
    with pytest.raises(UsageError, match="cannot name an area"):
        read_named_areas({"left rim": NamedArea(where=LEFT, threshold=2.0)}, [""], 0.0)


def test_an_area_that_covers_no_cell_is_said() -> None:
    named = read_named_areas({"dot": NamedArea(where="1,1,2,2", threshold=2.0)}, [""], 0.0)
    with pytest.raises(UsageError, match="'1,1,2,2' covers not half of one cell"):
        RoiMask([], [], named).cells(SIZE, GRID)


@given(st.none() | st.floats(1e-6, 1000), st.none() | st.floats(0, 1e9))
def test_what_a_result_records_is_read_again(threshold: float | None, min_area: float | None) -> None:
    if threshold is None and min_area is None:
        return
    named = read_named_areas({"rim": NamedArea(where="1,1 9,1 9,9", threshold=threshold, min_area=min_area)}, [""], 0)
    mask = recorded_mask(RoiMask([], [], named).areas)
    assert mask is not None
    (rules,) = mask.rules(SIZE, GRID)
    assert (rules.threshold, rules.min_area) == (threshold, min_area)


def test_a_damaged_record_is_said() -> None:
    with pytest.raises(DataError, match="no area with rules"):
        recorded_mask({"judge": [], "ignore": [], "named": ["?"]})


STATION = """\
bundle: tiny.edgead
source: parts
engine: onnx
threads: 1
sinks: ["jsonl:results.jsonl", "keep:saved?good=1"]
areas:
  corner:
    where: "32,24,32,24"
    threshold: {factor}
    min-area: 20
"""


@pytest.mark.parametrize(("factor", "verdict"), [(9, "OK"), (1.2, "NG")])
def test_a_station_judges_its_areas_and_explain_agrees(
    edgead, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, verdict: str
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.write_tiny(tmp_path / "tiny.edgead")
    (tmp_path / "parts").mkdir()
    cv2.imwrite("parts/0.png", tiny.bad())
    (tmp_path / "station.yaml").write_text(STATION.format(factor=factor))
    with Pipeline.from_config(load_station(tmp_path / "station.yaml").config) as line:
        line.run()
    told = json.loads((tmp_path / "results.jsonl").read_text())
    assert told["verdict"] == verdict
    assert told["areas"]["named"] == [f"corner threshold={float(factor)!r} min_area=20.0 32,24,32,24"]
    (event,) = (tmp_path / "saved").glob("*/*/result.json")
    code, out, _ = edgead("explain", event.parent, "--json")
    explained = json.loads(out)
    assert code == 0
    assert (explained["verdict"], explained["score"]) == (verdict, pytest.approx(told["score"]))
    steps = {step["name"]: step["computed"] for step in explained["steps"]}
    assert f"corner threshold={float(factor)!r}" in steps["named areas"]
    assert "pixels that count where they lie" in steps["smallest area"]


def test_areas_drawn_anew_leave_named_ones_as_they_are(tmp_path: Path) -> None:
    areas = {"rim": NamedArea(where=LEFT, threshold=2.0)}
    with AuditLog(tmp_path / "audit.jsonl", "cam") as audit:
        one = StationAreas(StationConfig(camera=0, areas=areas), [""], GRID, audit)
        applied = []
        one.apply = lambda masks, recipes: applied.append(masks)
        one.change("", 0, {"judge": [], "ignore": ["0,0,8,6"]}, SIZE, "ada")
    (mask,) = applied[0]
    assert mask.cells(SIZE, GRID)[0, 0] == 0
    assert [rules.threshold for rules in mask.rules(SIZE, GRID)] == [2.0]


def test_a_recipe_has_areas_of_its_own(tmp_path: Path, tiny_bundle: Path) -> None:
    text = f"""\
bundle: {tiny_bundle}
camera: 0
trigger: ["http:0"]
areas: {{rim: {{where: "{LEFT}", threshold: 2}}}}
recipes:
  1: {{threshold: 1.1}}
  2: {{areas: {{rim: {{where: "{LEFT}", threshold: 3}}}}}}
  3: {{areas: {{}}}}
"""
    (tmp_path / "station.yaml").write_text(text)
    config = load_station(tmp_path / "station.yaml").config
    with ExitStack() as stack, Detector(Bundle.open(tiny_bundle), engine="onnx", threads=1) as base:
        opened = open_recipes(config, [""], base, stack)
        found = [
            [] if one.roi_masks[0] is None else [rules.threshold for rules in one.roi_masks[0].rules(SIZE, GRID)]
            for one in opened.values()
        ]
    assert found == [[2.0], [3.0], []]
