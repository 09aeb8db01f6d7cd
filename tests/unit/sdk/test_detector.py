"""The library: images in, results out."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import tiny
from fixed_engine import FixedEngine
from lines import fake_detector

from edgead import Bundle, Detector, Frame, Verdict
from edgead.errors import BundleError, DataError, EngineError, SourceError, UsageError


def test_a_good_and_a_bad_part(detector: Detector) -> None:
    assert detector(tiny.good(5)).verdict is Verdict.OK
    result = detector(tiny.bad(5))
    assert result.is_anomalous
    assert result.score > 1.0
    assert result.raw_score > result.threshold
    (region,) = result.regions
    assert (region.x, region.y, region.width, region.height) == (32, 24, 16, 12)
    assert (result.engine, result.precision, result.frame_size) == ("onnx", "fp32", (48, 64))
    assert result.model == detector.bundle.digest[:12]
    assert result.anomaly_map.shape == result.mask.shape == (48, 64)
    assert result.mask[30, 40]
    assert not result.mask[10, 10]


def test_every_kind_of_image_gives_the_same_result(detector: Detector) -> None:
    gray = cv2.cvtColor(tiny.bad(1), cv2.COLOR_BGR2GRAY)
    bgr = cv2.merge([gray] * 3)
    expected = detector(bgr).raw_score
    kinds = [gray, gray[:, :, np.newaxis], np.dstack([bgr, gray]), gray.astype(np.uint16) * 257, np.asfortranarray(bgr)]
    assert [detector(image).raw_score for image in kinds] == pytest.approx([expected] * len(kinds), abs=1e-6)
    color = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    assert detector(color[:, :, ::-1], color="rgb").raw_score == detector(color).raw_score


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8, 3)), np.zeros((8, 8, 2), np.uint8), np.zeros(8, np.uint8), [[1, 2], [3, 4]], b"a.png", None],
)
def test_what_is_no_image_is_refused_in_a_sentence(detector: Detector, image: object) -> None:
    with pytest.raises(DataError, match="an image must"):
        detector(image)


def test_results_do_not_depend_on_the_order(detector: Detector) -> None:
    images = [tiny.good(1), tiny.bad(2, 100, 30), tiny.good(3, 32, 32), tiny.bad(4)]
    forward = [result.raw_score for result in detector.predict(images)]
    backward = [result.raw_score for result in detector.predict(images[::-1])]
    assert forward == backward[::-1]


def test_predict_reads_files_and_numbers_them(detector: Detector, parts: Path) -> None:
    results = detector.predict([parts / "part_1.png", str(parts / "part_10.png"), tiny.good()])
    assert [str(result.verdict) for result in results] == ["OK", "NG", "OK"]
    assert [result.index for result in results] == [0, 1, 2]
    assert results[1].name == str(parts / "part_10.png")
    with pytest.raises(DataError, match="there is no image"):
        detector.predict([parts / "none.png"])


def test_stream_judges_a_folder_in_natural_order(detector: Detector, parts: Path) -> None:
    results = list(detector.stream(str(parts)))
    assert [(Path(r.name).stem, str(r.verdict)) for r in results] == [
        ("part_1", "OK"),
        ("part_2", "OK"),
        ("part_10", "NG"),
    ]


def test_a_closed_engine_says_so(tiny_bundle: Path) -> None:
    detector = Detector(tiny_bundle)
    detector.close()
    detector.close()
    with pytest.raises(EngineError, match="closed"):
        detector(tiny.good())


def test_an_engine_of_ones_own_is_used_and_closed(tiny_bundle: Path) -> None:
    engine = FixedEngine(np.full((8, 8), 0.4, np.float32), 0.4)
    with Detector(Bundle.open(tiny_bundle), engine=engine) as detector:
        result = detector(tiny.bad())
    assert engine.closed == 1
    assert (result.engine, result.score) == ("fixed", pytest.approx(0.5))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_valid_json(tiny_bundle: Path, value: float) -> None:
    cells = np.full((8, 8), value, np.float32)
    result = Detector(tiny_bundle, engine=FixedEngine(cells, value))(tiny.good())
    assert result.verdict is Verdict.NG
    assert json.loads(result.to_json())["score"] is None
    assert result.overlay(tiny.good()).shape == (48, 64, 3)


def test_a_result_is_one_line_of_json(detector: Detector) -> None:
    line = detector.detect(Frame(tiny.bad(), 3, "line\nbreak.png", 12.5)).to_json()
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["index"], fields["name"], fields["time"], fields["verdict"]) == (3, "line\nbreak.png", 12.5, "NG")


def test_the_overlay_leaves_the_frame_alone(detector: Detector) -> None:
    image = tiny.bad()
    before = image.copy()
    drawn = detector(image).overlay(image)
    assert np.array_equal(image, before)
    assert drawn.shape == image.shape
    assert not np.array_equal(drawn, before)


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (400, 1), (8, 8)])
def test_frames_of_any_size_are_judged_and_drawn(detector: Detector, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 255, np.uint8)
    result = detector(image)
    assert result.is_anomalous
    assert result.overlay(image).shape == image.shape


def test_what_cannot_be_loaded_is_named(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'onnx'"):
        Detector(tiny_bundle, engine="onxx")
    with pytest.raises(BundleError, match="no int8 network; it has fp32"):
        Detector(tiny_bundle, precision="int8")
    with pytest.raises(BundleError, match="there is no bundle"):
        Detector(tmp_path / "none.edgead")


def test_predict_wants_several_images(detector: Detector) -> None:
    for one in (tiny.good(), "part.png", Path("part.png")):
        with pytest.raises(DataError, match="several images"):
            detector.predict(one)  # type: ignore[arg-type]
    assert len(detector.predict(np.stack([tiny.good(1), tiny.good(2)]))) == 2


def test_stream_takes_a_path_and_a_number(detector: Detector, parts: Path) -> None:
    assert len(list(detector.stream(parts))) == 3
    with pytest.raises(SourceError, match="camera:99"):
        next(detector.stream(99))


def test_an_overlay_needs_the_judged_frame(detector: Detector) -> None:
    result = detector(tiny.good())
    with pytest.raises(DataError, match="needs the judged image, 64 x 48 pixels"):
        result.overlay(tiny.good(0, 20, 20))


def test_predict_hands_the_engine_as_many_images_as_it_takes_at_once(tiny_bundle: Path, parts: Path) -> None:
    files = sorted(parts.glob("*.png"))
    with fake_detector(tiny_bundle, batch=2) as detector:
        results = detector.predict(str(path) for path in files)
        assert detector.engine.calls == [2, 1]
        assert [(result.index, result.name) for result in results] == [(n, str(path)) for n, path in enumerate(files)]
        with pytest.raises(DataError):
            detector.predict([tiny.good(), tiny.good(), parts / "notes.txt"])
    with fake_detector(tiny_bundle) as detector:
        one_by_one = detector.predict(files)
    assert [result.raw_score for result in results] == [result.raw_score for result in one_by_one]


@pytest.mark.parametrize("bits", [12, 16])
def test_an_overlay_takes_the_image_in_the_form_that_was_judged(tmp_path: Path, bits: int) -> None:
    spec = msgspec.structs.replace(tiny.manifest().input, bits=bits)
    tiny.write_tiny(tmp_path / "b.edgead", input=spec)
    gray = cv2.cvtColor(tiny.bad(1), cv2.COLOR_BGR2GRAY)
    bgr = cv2.merge([gray] * 3)
    deep = (gray.astype(np.float64) * (2**bits - 1) / 255).astype(np.uint16)
    with Detector(tmp_path / "b.edgead", engine="onnx", threads=1) as detector:
        result = detector(bgr)
        expected = result.overlay(bgr)
        for image in (gray, gray[:, :, None], np.dstack([bgr, gray]), deep, np.asfortranarray(bgr)):
            assert np.abs(result.overlay(image).astype(int) - expected).max() <= 1
        color = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
        assert np.array_equal(result.overlay(color[:, :, ::-1], color="rgb"), result.overlay(color))
