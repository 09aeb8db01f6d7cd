"""A build with a mask: stored, applied before the thresholds are fitted, refused early where it does not fit."""

from __future__ import annotations

from pathlib import Path

import boards
import component_tray
import cv2
import numpy as np
import pytest

from edgead import Bundle, Detector
from edgead.config import BuildConfig
from edgead.errors import DataError, UsageError
from edgead.ops import load_mask
from edgead.progress import Reporter
from edgead.verify import verify
from edgead_tools.pipeline.build import build

pytestmark = pytest.mark.usefixtures("one_thread", "tiny_method")

SIDE = 96


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("boards")
    for index in range(16):
        cv2.imwrite(str(root / f"{index:02d}.png"), boards.board(index, SIDE))
    return root


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """White but for the right third."""
    path = tmp_path_factory.mktemp("drawn") / "mask.png"
    mask = np.full((SIDE, SIDE), 255, np.uint8)
    mask[:, 2 * SIDE // 3 :] = 0
    cv2.imwrite(str(path), mask)
    return path


def config(data: Path, out: Path, **changes: object) -> BuildConfig:
    values = {"method": "tiny", "data": str(data), "out": str(out), "steps": 2, "threads": 1} | changes
    return BuildConfig(**values)  # type: ignore[arg-type]


def built(data: Path, out: Path, mask: Path | None) -> Bundle:
    return build(config(data, out, mask=str(mask or "")), Reporter()).bundle


def test_thresholds_are_fitted_to_what_is_judged(data: Path, drawn: Path, tmp_path: Path) -> None:
    plain, masked = built(data, tmp_path / "plain.edgead", None), built(data, tmp_path / "masked.edgead", drawn)
    fusion, mask = masked.manifest.fusion, load_mask(masked)
    assert mask is not None
    assert mask.mean() == pytest.approx(2 / 3, abs=0.05)
    assert plain.manifest.fusion.mask is None
    assert masked.manifest.provenance["config"]["mask"] == str(drawn)
    cells = fusion.height * fusion.width
    assert plain.manifest.fusion.score.top == max(1, round(0.01 * cells))
    assert fusion.score.top == max(1, round(plain.manifest.fusion.score.top * mask.mean()))
    assert masked.read("model.fp32.onnx") == plain.read("model.fp32.onnx")
    image = boards.board(99, SIDE)
    image[40:60, 80:92] = 255  # a disturbance that is not judged
    with Detector(plain, engine="onnx") as before, Detector(masked, engine="onnx") as after:
        assert all(check.passed for check in verify(masked, after))
        unmasked, reading = before.read(image), after.read(image)
        np.testing.assert_allclose(reading.anomaly_map, unmasked.anomaly_map * mask, rtol=1e-5, atol=1e-5)
        assert (mask == 0).any()
        assert reading.score < unmasked.score
        scores = [after.read(boards.board(index, SIDE)).score for index in range(16)]
    fitted = masked.manifest.artifacts[0].good_scores
    assert len(fitted) == 16  # every good image, those held out as the detector reads them
    assert len(set(fitted) & set(scores)) == 4
    assert masked.manifest.detection is not None
    assert [curve.planted for curve in masked.manifest.detection.curves] == [24]  # six in each, of kinds too few


def test_a_bundle_with_components_says_what_is_judged(tmp_path: Path) -> None:
    random, data = np.random.default_rng(0), tmp_path / "trays"
    data.mkdir()
    for index in range(16):
        frame = component_tray.frame(component_tray.labels()) + random.integers(0, 8, (32, 32, 1), np.uint8)
        cv2.imwrite(str(data / f"{index:02d}.png"), cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST))
    component_tray.write(tmp_path / "trays.edgead")
    mask = load_mask(built(data, tmp_path / "masked.edgead", tmp_path / "trays.edgead"))
    assert mask is not None
    judged = cv2.resize(mask, (32, 32), interpolation=cv2.INTER_LINEAR)
    assert min(judged[4:8, 4:8].min(), judged[22:26, 22:26].min()) > 0.75  # the map's cells are coarser
    assert judged[4:8, 16:].max() == 0  # the bare tray
    with pytest.raises(UsageError, match="knows no components"):
        build(config(data, tmp_path / "other.edgead", mask=str(tmp_path / "masked.edgead")), Reporter())


@pytest.mark.parametrize(
    ("shape", "value", "says"),
    [((96, 128), 255, "draw it on one of them"), ((96, 96), 0, "all black"), (None, 0, "there is no image at")],
)
def test_a_mask_that_does_not_fit_stops_the_build_before_it_trains(
    data: Path, tmp_path: Path, shape: tuple[int, int] | None, value: int, says: str
) -> None:
    path = tmp_path / "mask.png"
    if shape is not None:
        cv2.imwrite(str(path), np.full(shape, value, np.uint8))
    with pytest.raises(DataError, match=says):
        build(config(data, tmp_path / "out.edgead", mask=str(path)), Reporter())
    assert list(tmp_path.glob("out*")) == []
