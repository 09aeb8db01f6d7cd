"""What of a camera's picture is judged: as it is written, as it is painted, and what it does to a verdict."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lines import QUICK, Memory, Scripted, fake_detector

from edgead import Detector, Frame, Verdict, ops
from edgead.bundle import ComponentSpec, FusionSpec, HistogramSpec, MapSpec, Scale, ScoreSpec
from edgead.engines.base import Engine
from edgead.errors import DataError, UsageError
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline
from edgead.stream.roi import RoiMask, read_roi, read_roi_masks
from edgead.types import Branches, Reading

SIZE = (60, 80)  # of a frame, (H, W)


def painted(text: str) -> np.ndarray:
    return read_roi(text).paint(SIZE) > 127


def test_a_box_has_the_pixels_it_names() -> None:
    expected = np.zeros(SIZE, bool)
    expected[20:50, 10:30] = True
    np.testing.assert_array_equal(painted("10,20,20,30"), expected)
    np.testing.assert_array_equal(painted("10,20 29,20 29,49 10,49"), expected)  # its corners, the last included
    assert painted("-10,-10,200,200").all()  # beyond the frame there is nothing to judge
    assert painted("5,5,1,1").sum() == 1


def test_a_triangle_is_half_a_box() -> None:
    inside = painted("0,0 59,0 0,59")
    assert inside[:, :60].mean() == pytest.approx(0.5, abs=0.02)
    assert inside[2, 2]
    assert not inside[58, 58]


def test_a_picture_of_any_size_is_stretched_over_the_frame(tmp_path: Path) -> None:
    picture = np.zeros((30, 40), np.uint8)
    picture[:, :20] = 255
    cv2.imwrite(str(tmp_path / "left half=1,2.png"), picture)
    inside = painted(str(tmp_path / "left half=1,2.png"))
    assert inside[:, :40].all()
    assert not inside[:, 40:].any()


@pytest.mark.parametrize("text", ["", "1,2", "1,2,3", "1,2 3,4", "1,2,3,4,5", "1,2,0,5", "1,2,3 4,5,6 7,8,9", "no.png"])
def test_what_is_no_area_is_said(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no area|is empty"):
        read_roi(text)


def test_a_picture_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"mask\.png"):
        read_roi(str(tmp_path / "mask.png"))


def test_areas_belong_to_cameras() -> None:
    left, right, all_of_it = read_roi_masks(
        ["left=0,0,40,60"], ["right=0,0,40,60", "left=0,0,40,30"], ["left", "right", "x"]
    )
    assert all_of_it is None
    assert left is not None
    assert right is not None
    np.testing.assert_array_equal(left.cells(SIZE, (2, 2)), [[0, 0], [1, 0]])
    np.testing.assert_array_equal(right.cells(SIZE, (2, 2)), [[0, 1], [0, 1]])
    with pytest.raises(UsageError, match="did you mean 'left'"):
        read_roi_masks(["lefd=0,0,4,4"], [], ["left", "right"])
    with pytest.raises(UsageError, match="name the camera"):
        read_roi_masks([], ["left=0,0,4,4"], [""])


def test_a_cell_counts_by_its_share() -> None:
    (view,) = read_roi_masks([], ["0,0,30,60"], [""])
    assert view is not None
    np.testing.assert_allclose(view.cells(SIZE, (1, 4)), [[0, 0.5, 1, 1]], atol=1 / 255)


def test_nothing_left_to_judge_is_refused() -> None:
    with pytest.raises(UsageError, match="of 80x60 pixels nothing is left"):
        RoiMask([], [read_roi("0,0,80,60")]).cells(SIZE, (4, 4))


@pytest.mark.parametrize("small", ["90,0,5,5", "3,3,4,4", "0,7 79,7 79,7"], ids=["outside", "tiny", "a line"])
def test_an_area_in_which_no_defect_could_count_is_refused(small: str) -> None:
    """Its cells would weigh next to nothing; another area that is large enough must not hide that."""
    with pytest.raises(UsageError, match=f"the area '{small}' covers not half of one cell of the 4x4 map"):
        RoiMask([read_roi("0,0,40,60"), read_roi(small)], []).cells(SIZE, (4, 4))


@pytest.mark.parametrize(("gray", "judged"), [(255, True), (240, True), (128, True), (127, False), (10, False)])
def test_a_painted_area_selects_and_does_not_weigh(tmp_path: Path, gray: int, judged: bool) -> None:
    """An area in gray 240 shrank scores by a tenth: each pixel is in the area or not."""
    picture = np.zeros(SIZE, np.uint8)
    picture[:, :50] = gray
    cv2.imwrite(str(tmp_path / "area.png"), picture)
    area = read_roi(str(tmp_path / "area.png"))
    expected = [[1.0, 1.0, 0.5, 0.0]] if judged else [[1.0] * 4]
    cells = RoiMask([area], []).cells(SIZE, (1, 4)) if judged else RoiMask([], [area]).cells(SIZE, (1, 4))
    np.testing.assert_allclose(cells, expected, atol=1 / 255)  # the column that its edge cuts counts in part


@given(
    st.integers(0, 10**6),
    st.integers(1, 64),
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=40),
)
def test_a_masked_score_is_never_larger_while_enough_cells_are_judged(
    seed: int, top: int, cells: list[tuple[int, int]]
) -> None:
    fused = np.random.default_rng(seed).gamma(1.0, size=(8, 8)).astype(np.float32)
    spec = FusionSpec(maps=(MapSpec(name="map"),), height=8, width=8, score=ScoreSpec(top=top))
    mask = np.zeros((8, 8), np.float32)
    mask[tuple(np.array(cells).T)] = 1.0
    whole = Reading(fused, ops.image_score(fused, spec))
    seen = ops.mask_reading(whole, spec, mask)
    np.testing.assert_array_equal(seen.anomaly_map, fused * mask)
    judged = sorted(fused[mask > 0], reverse=True)
    assert seen.score == pytest.approx(np.mean(judged[:top]), rel=1e-6)
    if len(judged) >= top:
        assert seen.score <= whole.score * (1 + 1e-6)


def test_a_masked_map_leaves_the_logical_branch_as_it_is() -> None:
    logical, structural = Scale(center=0.0, spread=1.0), Scale(center=1.0, spread=2.0)
    components = ComponentSpec(
        names=("background", "screw"),
        height=2,
        width=2,
        histograms=(HistogramSpec(rows=1, columns=1, statistics="h.npy", scale=logical),),
        logical=logical,
        structural=structural,
    )
    spec = FusionSpec(maps=(MapSpec(name="map"),), height=2, width=2, components=components)
    fused = np.array([[9.0, 1.0], [3.0, 2.0]], np.float32)
    branches = Branches(5.0, 4.0, np.zeros((2, 2), np.uint8), ())
    seen = ops.mask_reading(Reading(fused, 9.0, branches=branches), spec, np.array([[0, 1], [1, 1]], np.float32))
    assert seen.branches is not None
    assert (seen.score, seen.branches.logical, seen.branches.structural) == (6.0, 5.0, 1.0)


def test_a_defect_outside_of_what_is_judged_is_none(tiny_bundle: Path) -> None:
    image = np.full((64, 64, 3), 50, np.uint8)
    image[:16, :16] = 255
    with Detector(tiny_bundle, threads=1) as detector:
        grid = (detector.bundle.manifest.fusion.height, detector.bundle.manifest.fusion.width)
        ignored = RoiMask([], [read_roi("0,0,24,24")]).cells((64, 64), grid)
        seen, hidden = detector.detect_many([Frame(image), Frame(image)], [None, ignored])
    assert (seen.verdict, hidden.verdict) == (Verdict.NG, Verdict.OK)
    assert seen.regions
    assert hidden.regions == ()


def test_cameras_of_a_line_are_judged_by_their_own_areas(tiny_bundle: Path) -> None:
    half = np.full((8, 8, 3), 20, np.uint8)
    half[:, 4:] = 250
    sink = Memory()
    left, right, none = read_roi_masks(
        ["left=0,0,4,8", "right=4,0,4,8", "none=100,100,4,4"], [], ["left", "right", "none"]
    )
    with fake_detector(tiny_bundle, batch=3) as detector:
        detector.engine = Halves()
        cameras = [
            Camera(name, Scripted([half] * 3, live=False), roi_mask=view)
            for name, view in (("left", left), ("right", right), ("none", none))
        ]
        Pipeline(cameras, detector, [sink], QUICK).run()
    verdicts = {name: {r.verdict.value for r in sink.results if r.camera == name} for name in ("left", "right", "none")}
    assert verdicts == {"left": {"OK"}, "right": {"NG"}, "none": {"INVALID"}}
    assert any("nothing in it could count" in words for result in sink.results for words in result.reasons)


class Halves(Engine):
    """An engine whose map is the brightness of each pixel, 0..1."""

    name, precision, batch = "fake", "fp32", 3

    def infer(self, images: list[np.ndarray]) -> list[Reading]:
        maps = [np.asarray(image[:, :, 0], np.float32) / 255 for image in images]
        return [Reading(one, float(one.max())) for one in maps]

    def close(self) -> None:
        pass
