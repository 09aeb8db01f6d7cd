"""`min_area`: regions smaller than it take away what they contributed to the score, and nothing else."""

from __future__ import annotations

from pathlib import Path

import component_tray
import msgspec
import numpy as np
import pytest
import tiny
from fixed_engine import FixedEngine
from hypothesis import given
from hypothesis import strategies as st
from lines import fake_detector

from edgead import Bundle, Detector, Frame, Result, Verdict, ops
from edgead.bundle import FusionSpec, MapSpec, ScoreSpec
from edgead.errors import UsageError
from edgead.ops import Rules
from edgead.types import Branches, Reading

CELL = 8 * 6  # pixels of a cell in a frame of tiny.good's size
THRESHOLDS = tiny.THRESHOLDS


def calibrated(cells: np.ndarray) -> np.ndarray:
    """A raw map of which 1.0 in `cells` is the pixel threshold and 0.0 its center."""
    gap = THRESHOLDS.pixel - THRESHOLDS.pixel_center
    return (THRESHOLDS.pixel_center + cells * gap).astype(np.float32)


def judged(bundle: Path | Bundle, cells: np.ndarray, min_area: float = 100.0, top: int = 16) -> Result:
    """The result of a frame whose calibrated map is `cells` and whose score is the mean of the `top` largest."""
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    fusion = msgspec.structs.replace(opened.manifest.fusion, score=ScoreSpec(top=top))
    artifact = opened.manifest.artifacts[0]
    lower = msgspec.structs.replace(artifact, thresholds=msgspec.structs.replace(THRESHOLDS, image=0.45))
    manifest = msgspec.structs.replace(opened.manifest, fusion=fusion, artifacts=(lower,))
    raw = calibrated(cells)
    engine = FixedEngine(raw, ops.image_score(raw, fusion))
    with Detector(Bundle(manifest, opened.members(), "", None), engine=engine, rules=Rules(min_area=min_area)) as made:
        return made(tiny.good())


def test_a_speck_does_not_overrule_what_lies_below_the_pixel_threshold(tiny_bundle: Path) -> None:
    """A quarter of the picture at 0.97 of the pixel threshold is NG by its score; one more cell above it, too."""
    cells = np.zeros((8, 8))
    cells[:4, :4] = 0.97
    plain = judged(tiny_bundle, cells)
    cells[7, 7] = 1.05
    specked = judged(tiny_bundle, cells)
    for result in (plain, specked):  # the strongest cells show where, and the speck is none of them
        assert result.verdict is Verdict.NG
        assert [(one.x, one.y, one.width, one.height) for one in result.regions] == [(0, 0, 32, 24)]
    assert specked.score == pytest.approx(plain.score)


@pytest.mark.parametrize("top", [1, 4])
def test_specks_alone_are_ok_and_a_large_region_is_not(tiny_bundle: Path, top: int) -> None:
    cells = np.zeros((8, 8))
    cells[1, 1] = cells[5, 5] = 9.0
    assert judged(tiny_bundle, cells, min_area=0, top=top).verdict is Verdict.NG
    assert judged(tiny_bundle, cells, min_area=CELL + 1, top=top).verdict is Verdict.OK
    assert judged(tiny_bundle, cells, min_area=CELL, top=top).verdict is Verdict.NG
    cells[5, 6] = 9.0
    assert judged(tiny_bundle, cells, min_area=CELL + 1, top=top).verdict is Verdict.NG


@given(st.integers(0, 2**32 - 1), st.integers(1, 64), st.floats(1, 1000))
def test_the_score_without_specks_is_that_of_the_other_cells(seed: int, top: int, area: float) -> None:
    grid = (np.random.default_rng(seed).random((8, 8)) * 1.3).astype(np.float32)
    spec = FusionSpec(maps=(MapSpec(name="map"),), height=8, width=8, score=ScoreSpec(top=top))
    reading = Reading(grid, ops.image_score(grid, spec))
    specks = ops.find_specks(grid, (48, 64), area)
    if specks is None:
        assert len(ops.find_regions(grid, (48, 64), min_area=area)) == len(ops.find_regions(grid, (48, 64)))
        return
    without = ops.remove_specks(reading, spec, specks)
    others = sorted(grid[~specks], reverse=True)[:top]
    assert without.score == pytest.approx(np.mean(others), rel=1e-6)
    assert without.score <= reading.score * (1 + 1e-6)
    np.testing.assert_array_equal(without.anomaly_map, grid)


def test_specks_are_taken_from_the_cells_that_are_judged(tiny_bundle: Path) -> None:
    """With an area to judge, its score is that of its own cells: those outside must not dilute it."""
    mask = np.zeros((8, 8), np.float32)
    mask[:2, :2] = 1.0
    raw = np.zeros((8, 8), np.float32)
    raw[:2, :2] = 0.61  # above the image threshold, and above the pixel threshold
    raw[0, 0] = 0.59
    fusion = FusionSpec(maps=(MapSpec(name="distance"),), height=8, width=8, score=ScoreSpec(top=64))
    reading = ops.mask_reading(Reading(raw, 0.0), fusion, mask)
    specks = np.zeros((8, 8), bool)
    specks[1, 1] = True
    assert ops.remove_specks(reading, fusion, specks, mask).score == pytest.approx((0.61 * 2 + 0.59) / 3)
    everything = ops.remove_specks(reading, fusion, np.ones((8, 8), bool), mask)
    assert everything.score == reading.score  # nothing would be left to judge


def test_an_area_to_judge_and_specks_together(tiny_bundle: Path) -> None:
    spot = tiny.good(1)
    spot[24:30, 32:40] = 255  # one cell
    mask = np.zeros((8, 8), np.float32)
    mask[3:6, 3:6] = 1.0
    for area, verdict in ((CELL, Verdict.NG), (CELL + 1, Verdict.OK)):
        with Detector(tiny_bundle, engine="onnx", threads=1, rules=Rules(min_area=area)) as detector:
            (result,) = detector.detect_many([Frame(spot)], [mask])
            assert result.verdict is verdict


def test_a_speck_takes_nothing_from_the_logical_branch() -> None:
    """Neither branch is above the threshold alone, their sum is; a speck beside them does not make it OK."""
    bundle = component_tray.bundle()
    spec = bundle.manifest.fusion.components
    assert spec is not None
    cells = calibrated(np.full((8, 8), 0.98))
    logical = THRESHOLDS.image - 0.5 * spec.structural.apply(float(cells.max()))
    verdicts = []
    for speck in (0.98, 1.05):
        cells[0, 0] = calibrated(np.array(speck))
        structural = spec.structural.apply(float(cells.max()))
        branches = Branches(logical, structural, component_tray.labels(), ())
        engine = FixedEngine(cells.copy(), logical + structural, branches)
        with Detector(bundle, engine=engine, rules=Rules(min_area=100)) as detector:
            result = detector(component_tray.frame(component_tray.labels()))
        assert result.branches is not None
        assert result.raw_score == pytest.approx(result.branches.logical + result.branches.structural)
        assert result.branches.logical == logical
        verdicts.append(result.verdict)
    assert verdicts == [Verdict.NG, Verdict.NG]


def test_an_area_as_large_as_the_frame_is_refused(tiny_bundle: Path) -> None:
    with fake_detector(tiny_bundle) as detector:
        detector.rules = Rules(min_area=48 * 64)
        with pytest.raises(UsageError, match="all of a frame of 64x48"):
            detector(tiny.bad())
