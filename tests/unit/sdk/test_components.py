"""The logical branch: labels, histograms and distances against slow plain versions, and what is said of them."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path

import component_tray
import cv2
import msgspec
import numpy as np
import pytest
import tiny
import torch
from component_tray import frame, labels, spec
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import Bundle, Detector, Verdict
from edgead.bundle import HistogramSpec, Scale
from edgead.bundle.manifest import decode, encode
from edgead.engines import load_engine
from edgead.errors import BundleError, EngineError
from edgead.ops import Rules, judge_components, load_components
from edgead.ops.components import ComponentStatistics, count_components, distance, label_cells
from edgead.ops.places import WHOLE
from edgead.overlay import component_colors, paint
from edgead.types import Branches

SIDE, NAMES = component_tray.SIDE, component_tray.NAMES


def logits_of(cells: np.ndarray) -> np.ndarray:
    return np.float32(cells == np.arange(len(NAMES))[:, None, None])


def judged(cells: np.ndarray, score: float = 0.25) -> tuple[float, Branches]:
    components = load_components(component_tray.bundle())
    assert components is not None
    return judge_components(logits_of(cells), score, components)


def slow_histogram(labels: np.ndarray, classes: int, rows: int, columns: int) -> np.ndarray:
    height, width = labels.shape
    shares = np.zeros((rows, columns, classes - 1))
    for y in range(height):
        for x in range(width):
            if labels[y, x]:
                shares[y * rows // height, x * columns // width, labels[y, x] - 1] += rows * columns / (height * width)
    return shares


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.sampled_from([(1, 1), (2, 2), (3, 4), (6, 1)]))
def test_histograms_equal_their_definition(seed: int, classes: int, grid: tuple[int, int]) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, (12, 24)).astype(np.uint8)
    found = count_components(labels, classes, *grid)
    assert (found.shape, found.dtype) == ((*grid, classes - 1), np.float32)
    np.testing.assert_allclose(found, slow_histogram(labels, classes, *grid), atol=1e-6)
    assert (found.sum(axis=2) <= 1 + 1e-6).all()
    np.testing.assert_allclose(found.mean(axis=(0, 1)), count_components(labels, classes, 1, 1)[0, 0], atol=1e-6)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_labels_are_the_first_largest_logit_of_the_upsampled_planes(seed: int) -> None:
    logits = np.random.default_rng(seed).integers(-2, 3, (4, 5, 7)).astype(np.float32)
    assert np.array_equal(label_cells(logits, 5, 7), logits.argmax(axis=0))
    large = torch.nn.functional.interpolate(torch.from_numpy(logits)[None], (20, 28), mode="bilinear")[0].numpy()
    found = label_cells(logits, 20, 28)
    best = np.take_along_axis(large, found[None].astype(int), axis=0)[0]
    np.testing.assert_allclose(best, large.max(axis=0), atol=1e-5)
    assert (found.shape, found.dtype) == ((20, 28), np.uint8)


def test_the_distance_is_mahalanobis() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 8)) @ rng.normal(size=(8, 8))
    mean, inverse = rows.mean(axis=0), np.linalg.inv(np.cov(rows.T))
    factor = np.linalg.cholesky(inverse).T
    statistics = ComponentStatistics(mean.astype(np.float32), np.ones(8, np.float32), factor.astype(np.float32))
    for row in rows:
        expected = math.sqrt((row - mean) @ inverse @ (row - mean))
        found = distance(row.astype(np.float32).reshape(2, 2, 2), statistics)
        assert found == pytest.approx(expected, rel=1e-3)


def test_the_score_is_the_sum_of_both_branches() -> None:
    score, branches = judged(labels(bolt=0), 0.5)
    gone = 100 * 64 / SIDE**2  # the bolt's share, in the whole and four times as much in its quarter
    assert branches.structural == pytest.approx((0.5 - 0.25) / 0.125)
    assert branches.logical == pytest.approx(((gone - 1.0) / 0.5 + (4 * gone - 2.0) / 4.0 + 1.0) / 2.0, rel=1e-5)
    assert score == branches.structural + branches.logical
    assert np.array_equal(branches.labels, labels(bolt=0))


def test_what_is_usual_of_components_blurs_no_score() -> None:
    components = load_components(component_tray.bundle(component_tray.spec(least=3.0)))
    assert components is not None
    usual, strange = labels(), labels(bolt=0)
    assert judge_components(logits_of(usual), 0.5, components)[0] == pytest.approx(3 + (0.5 - 0.25) / 0.125)
    plain = judged(strange, 0.5)
    assert plain[1].logical > 3
    assert judge_components(logits_of(strange), 0.5, components)[0] == plain[0]


def told(cells: np.ndarray) -> list[str]:
    return [str(one) for one in judged(cells)[1].deviations]


def test_what_is_usual_needs_no_words() -> None:
    assert told(labels()) == []


def test_what_is_missing_is_said() -> None:
    assert told(labels(nut=0)) == ["nut: none at the bottom right, where good parts have 25.0% of the area"]
    assert told(labels(bolt=4)) == ["bolt: 50% less than usual at the top left"]


def test_what_is_too_much_is_said() -> None:
    cells = labels()
    cells[2:10, 20:28] = 1
    assert told(cells) == ["bolt: 25.0% of the area at the top right, where good parts have none"]


def test_what_is_misplaced_is_missing_here_and_too_much_there() -> None:
    cells = labels(nut=0)
    cells[2:10, 20:28] = 2
    assert set(told(cells)) == {
        "nut: none at the bottom right, where good parts have 25.0% of the area",
        "nut: 25.0% of the area at the top right, where good parts have none",
    }


def test_the_whole_picture_is_a_place() -> None:
    components = load_components(component_tray.bundle(spec(histograms=spec().histograms[:1])))
    assert components is not None
    (deviation,) = judge_components(logits_of(labels(nut=4)), 0.25, components)[1].deviations
    assert (deviation.component, deviation.place) == ("nut", WHOLE)
    assert deviation.share == pytest.approx(deviation.usual / 2)
    assert deviation.size == pytest.approx(-100 * deviation.usual / 2)


@pytest.mark.parametrize(
    ("grid", "places"),
    [
        ((1, 2), {"at the left", "at the right"}),
        ((2, 1), {"at the top", "at the bottom"}),
        ((1, 4), {f"in row 1 of 1, column {n} of 4" for n in (1, 2, 3, 4)}),
    ],
)
def test_every_cell_has_a_name(grid: tuple[int, int], places: set[str]) -> None:
    entries = 2 * grid[0] * grid[1]
    content = tiny.npy(
        np.concatenate([[np.zeros(entries), np.full(entries, 0.01)], np.eye(entries)]).astype(np.float32)
    )
    one = HistogramSpec(rows=grid[0], columns=grid[1], statistics="a.npy", scale=Scale(center=0.0, spread=1.0))
    components = load_components(component_tray.bundle(spec(histograms=(one,)), {"a.npy": content}))
    assert components is not None
    found = set()
    for y, x in product(range(grid[0]), range(grid[1])):
        cells = np.zeros((grid[0], grid[1], SIDE // grid[0], SIDE // grid[1]), np.uint8)
        cells[y, x] = 1
        cells = cells.swapaxes(1, 2).reshape(SIDE, SIDE)
        (deviation,) = judge_components(logits_of(cells), 0.25, components)[1].deviations
        found.add(deviation.place)
    assert found == places


def test_a_bundle_without_components_has_no_logical_branch() -> None:
    assert load_components(Bundle(tiny.manifest(), {}, "", None)) is None


def test_a_manifest_of_before_there_were_components_is_read() -> None:
    old = msgspec.json.decode(encode(tiny.manifest()))
    del old["fusion"]["components"]
    assert decode(msgspec.json.encode(old)) == tiny.manifest()


def test_the_spec_survives_the_manifest() -> None:
    manifest = component_tray.bundle().manifest
    assert decode(encode(manifest)) == manifest


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"names": ("background",)}, "2 to 255 names"),
        ({"names": ("background", "bolt", "bolt")}, "all different"),
        ({"height": 0}, "outside"),
        ({"width": 31}, "do not divide"),
        ({"histograms": ()}, "at least one histogram"),
    ],
)
def test_an_impossible_spec_is_refused(changes: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        spec(**changes)


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Scale(center=0.0, spread=0.0)
    with pytest.raises(ValueError, match="no cell"):
        HistogramSpec(rows=0, columns=1, statistics="a.npy", scale=Scale(center=0.0, spread=1.0))


def test_statistics_that_are_not_listed_are_refused() -> None:
    fusion = msgspec.structs.replace(tiny.manifest().fusion, components=spec())
    with pytest.raises(ValueError, match=r"components/1x1\.npy"):
        tiny.manifest(fusion=fusion)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"no array", "cannot be read"),
        (tiny.npy(np.zeros((3, 8))), "no float32"),
        (tiny.npy(np.zeros((2, 8), np.float32)), "no float32"),
        (tiny.npy(np.ones((3, 7), np.float32)), "8 finite entries"),
        (tiny.npy(np.full((3, 8), np.nan, np.float32)), "8 finite entries"),
        (tiny.npy(np.zeros((3, 8), np.float32)), "8 finite entries"),
    ],
    ids=["bytes", "type", "rows", "entries", "nan", "deviation"],
)
def test_statistics_that_do_not_fit_are_refused(content: bytes, match: str) -> None:
    with pytest.raises(BundleError, match=match):
        load_components(component_tray.bundle(contents={"components/2x2.npy": content}))


def test_a_detector_tells_both_branches(tmp_path: Path) -> None:
    component_tray.write(tmp_path / "tray.edgead")
    with Detector(tmp_path / "tray.edgead", threads=1) as detector:
        good, bad = detector(frame(labels())), detector(frame(labels(nut=0)))
    assert (good.verdict, good.reasons) == (Verdict.OK, ())
    assert bad.verdict is Verdict.NG
    assert bad.reasons == ("nut: none at the bottom right, where good parts have 25.0% of the area",)
    assert bad.branches is not None
    assert np.array_equal(bad.branches.labels, labels(nut=0))
    assert bad.raw_score == pytest.approx(bad.branches.logical + bad.branches.structural)
    told = bad.to_dict()
    assert told["logical_score"] > 5 > told["structural_score"]
    assert told["deviations"][0]["component"] == "nut"
    assert json.loads(bad.to_json()) == told


def test_what_is_missing_is_no_speck(tmp_path: Path) -> None:
    component_tray.write(tmp_path / "tray.edgead")
    cells = frame(labels(nut=0))
    cells[4:8, 4:8] = (250, 255, 250)  # a bright bolt: one cell of the map is anomalous
    with Detector(tmp_path / "tray.edgead", threads=1, rules=Rules(min_area=100)) as detector:
        result = detector(cells)
    assert result.regions == ()
    assert result.mask.any()
    assert result.verdict is Verdict.NG


def test_an_overlay_colors_components(tmp_path: Path) -> None:
    component_tray.write(tmp_path / "tray.edgead")
    image = frame(labels())
    with Detector(tmp_path / "tray.edgead", threads=1) as detector:
        result = detector(image)
    drawn = result.overlay(image, components=True)
    assert not np.array_equal(drawn, result.overlay(image))
    large = np.asarray(cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST), np.uint8)
    painted = paint(large, labels())
    assert np.array_equal((painted != large).any(axis=2), np.kron(labels(), np.ones((4, 4))) > 0)
    assert len({tuple(color) for color in component_colors()[:50]}) == 50


@pytest.mark.parametrize("network", [component_tray.graph(classes=6), component_tray.graph(rank=3)], ids=["K", "rank"])
def test_a_graph_with_other_components_is_an_engine_error(network: bytes) -> None:
    with pytest.raises(EngineError, match="'components' is tensor"):
        load_engine(component_tray.bundle(contents={"fp32.onnx": network}), "onnx")
