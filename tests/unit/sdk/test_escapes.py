"""Ways in which a bad part could be called good that are not the network's: each is refused or INVALID instead."""

from __future__ import annotations

from pathlib import Path

import component_tray
import cv2
import numpy as np
import pytest
import tiny

from edgead import Detector, Verdict
from edgead.errors import DataError, EngineError, UsageError
from edgead.images import read_image
from edgead.ops import judge_components, load_components
from edgead.stream.roi import read_roi
from edgead.types import Frame


def test_sixteen_bits_of_a_pil_picture_are_not_clipped(detector: Detector) -> None:
    """PIL turns a 16-bit picture to RGB by clipping it at 255: every part was white."""
    image = pytest.importorskip("PIL.Image")
    good, bad = (cv2.cvtColor(one, cv2.COLOR_BGR2GRAY).astype(np.uint16) * 257 for one in (tiny.good(), tiny.bad()))
    for gray in (good, bad):
        picture = image.fromarray(gray)
        assert picture.mode.startswith("I;16")
        assert detector(picture).raw_score == pytest.approx(detector(gray).raw_score)
    assert detector(image.fromarray(good)).verdict is Verdict.OK
    with pytest.raises(DataError, match="must be uint8"):
        detector(image.fromarray(good.astype(np.int32)))


def test_a_file_of_several_pictures_is_not_judged_by_its_first(tmp_path: Path) -> None:
    assert cv2.imwritemulti(str(tmp_path / "parts.tiff"), [tiny.good(), tiny.bad(), tiny.good()])
    assert cv2.imwrite(str(tmp_path / "part.tiff"), tiny.bad())
    with pytest.raises(DataError, match=r"parts\.tiff holds 3 pictures, of which only the first would be judged"):
        read_image(tmp_path / "parts.tiff")
    assert read_image(tmp_path / "part.tiff").shape == tiny.bad().shape


@pytest.mark.parametrize("crossed", ["0,0 40,40 40,0 0,40", "0,0 60,0 60,60 20,-10 0,60"])
def test_an_area_whose_sides_cross_is_refused(crossed: str) -> None:
    """A bow tie, by corners in the wrong order, left half of what was meant unjudged without a word."""
    with pytest.raises(UsageError, match=r"sides of the area .* cross"):
        read_roi(crossed)


@pytest.mark.parametrize("simple", ["0,0 40,0 40,40 0,40", "0,0 40,0 20,10 0,40", "0,0 10,0 20,0 20,20", "0,0,5,5"])
def test_an_area_whose_sides_do_not_cross_is_taken(simple: str) -> None:
    assert read_roi(simple).paint((50, 50)).any()


@pytest.mark.parametrize("plane", [0, 1, 2])
def test_a_logit_that_is_no_number_is_no_label(plane: int) -> None:
    components = load_components(component_tray.bundle())
    assert components is not None
    logits = np.random.default_rng(0).random((3, 32, 32)).astype(np.float32)
    judge_components(logits, 0.2, components)
    logits[plane, 1, 2] = np.nan
    with pytest.raises(EngineError, match="a class logit is no number"):
        judge_components(logits, 0.2, components)


def test_what_could_not_be_judged_shows_no_region(detector: Detector) -> None:
    result = detector.invalid(Frame(tiny.bad()), "dark")
    assert (result.verdict, result.regions, result.reasons) == (Verdict.INVALID, (), ("dark",))
