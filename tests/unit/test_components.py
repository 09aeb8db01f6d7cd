"""The logical branch: labels, histograms and distances against slow plain versions, and what is said of them."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import Bundle
from edgead.bundle import ComponentSpec, HistogramSpec, Scale
from edgead.bundle.manifest import decode, encode
from edgead.errors import BundleError
from edgead.ops import judge_components, load_components
from edgead.ops.components import WHOLE, Components, Statistics, count_components, distance, label_cells

NAMES = ("background", "bolt", "nut")
SIDE = 32


def spec(**changes: object) -> ComponentSpec:
    fields: dict[str, object] = {
        "names": NAMES,
        "height": SIDE,
        "width": SIDE,
        "histograms": (
            HistogramSpec(rows=1, columns=1, statistics="components/1x1.npy", scale=Scale(center=1.0, spread=0.5)),
            HistogramSpec(rows=2, columns=2, statistics="components/2x2.npy", scale=Scale(center=2.0, spread=4.0)),
        ),
        "logical": Scale(center=-1.0, spread=2.0),
        "structural": Scale(center=0.25, spread=0.125),
    }
    return ComponentSpec(**{**fields, **changes})  # type: ignore[arg-type]


def members() -> dict[str, bytes]:
    """Statistics of a part with a bolt at the top left and a nut at the bottom right."""
    values = {}
    for side in (1, 2):
        usual = count_components(part(), len(NAMES), side, side).ravel()
        size = len(usual)
        values[f"components/{side}x{side}.npy"] = tiny.npy(
            np.concatenate([[usual, np.full(size, 0.01)], 100 * np.eye(size)]).astype(np.float32)
        )
    return values


def bundle(spec: ComponentSpec, **contents: bytes) -> Bundle:
    fusion = msgspec.structs.replace(tiny.manifest().fusion, components=spec)
    names = {"fp32.onnx", *members()}
    manifest = tiny.manifest(fusion=fusion, members={name: tiny.Member(sha256="", size=0) for name in names})
    return Bundle(manifest, members() | contents, "", None)


def part(bolt: int = 8, nut: int = 8) -> np.ndarray:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[2 : 2 + bolt, 2:10] = 1
    labels[20 : 20 + nut, 20:28] = 2
    return labels


def logits_of(labels: np.ndarray) -> np.ndarray:
    return np.float32(labels == np.arange(len(NAMES))[:, None, None])


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
    statistics = Statistics(mean.astype(np.float32), np.ones(8, np.float32), factor.astype(np.float32))
    for row in rows:
        expected = math.sqrt((row - mean) @ inverse @ (row - mean))
        found = distance(row.astype(np.float32).reshape(2, 2, 2), statistics)
        assert found == pytest.approx(expected, rel=1e-3)


def test_the_score_is_the_sum_of_both_branches() -> None:
    logits = logits_of(part(bolt=0))
    components = load_components(bundle(spec()))
    assert components is not None
    score, branches = judge_components(logits, 0.5, components)
    gone = 100 * 64 / SIDE**2  # the bolt's share, in the whole and four times as much in its quarter
    assert branches.structural == pytest.approx((0.5 - 0.25) / 0.125)
    assert branches.logical == pytest.approx(((gone - 1.0) / 0.5 + (4 * gone - 2.0) / 4.0 + 1.0) / 2.0, rel=1e-5)
    assert score == branches.structural + branches.logical
    assert np.array_equal(branches.labels, part(bolt=0))


def told(labels: np.ndarray) -> list[str]:
    components = load_components(bundle(spec()))
    assert isinstance(components, Components)
    return [str(one) for one in judge_components(logits_of(labels), 0.25, components)[1].deviations]


def test_what_is_usual_needs_no_words() -> None:
    assert told(part()) == []


def test_what_is_missing_is_said() -> None:
    assert told(part(nut=0)) == ["nut: none at the bottom right, where good parts have 25.0% of the area"]
    assert told(part(bolt=4)) == ["bolt: 50% less than usual at the top left"]


def test_what_is_too_much_is_said() -> None:
    labels = part()
    labels[2:10, 20:28] = 1
    assert told(labels) == ["bolt: 25.0% of the area at the top right, where good parts have none"]


def test_what_is_misplaced_is_missing_here_and_too_much_there() -> None:
    labels = part()
    labels[labels == 2] = 0
    labels[2:10, 20:28] = 2
    assert told(labels) == [
        "nut: 25.0% of the area at the top right, where good parts have none",
        "nut: none at the bottom right, where good parts have 25.0% of the area",
    ]


def test_the_whole_picture_is_a_place() -> None:
    one = spec(histograms=spec().histograms[:1])
    branches = judge_components(logits_of(part(nut=4)), 0.25, load_components(bundle(one)))[1]
    (deviation,) = branches.deviations
    assert (deviation.component, deviation.place) == ("nut", WHOLE)
    assert deviation.share == pytest.approx(deviation.usual / 2)
    assert deviation.size == pytest.approx(-100 * deviation.usual / 2)


def test_a_bundle_without_components_has_no_logical_branch() -> None:
    assert load_components(Bundle(tiny.manifest(), {}, "", None)) is None


def test_a_manifest_of_before_there_were_components_is_read() -> None:
    old = msgspec.json.decode(encode(tiny.manifest()))
    del old["fusion"]["components"]
    assert decode(msgspec.json.encode(old)) == tiny.manifest()


def test_the_spec_survives_the_manifest() -> None:
    manifest = bundle(spec()).manifest
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
        load_components(bundle(spec(), **{"components/2x2.npy": content}))
