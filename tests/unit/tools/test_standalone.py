"""One self-contained ONNX graph judges as the bundle does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import component_tray
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import tiny

from edgead import Bundle, BundleError, Detector, GateError, UsageError
from edgead.bundle import FusionSpec, MapSpec, ScoreSpec
from edgead_tools.export.standalone import export_onnx

Output = tuple[int, str, str]


def run(path: Path, image: np.ndarray) -> tuple[float, np.ndarray, bool]:
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    score, grid_map, anomalous = session.run(["score", "anomaly_map", "is_anomalous"], {"frame": image[np.newaxis]})
    return float(score[0]), grid_map[0], bool(anomalous[0])


def assert_same(path: Path, bundle: Bundle, image: np.ndarray, tolerance: float = 1e-4) -> None:
    with Detector(bundle, engine="onnx") as detector:
        expected = detector(image)
    score, grid_map, anomalous = run(path, image)
    assert score == pytest.approx(expected.score, abs=tolerance)
    np.testing.assert_allclose(grid_map, expected.grid_map, atol=tolerance)
    assert anomalous == expected.is_anomalous


def test_frames_at_the_size_of_the_input(tmp_path: Path) -> None:
    bundle = tiny.write_tiny(tmp_path / "tiny.edgead")
    assert export_onnx(bundle, tmp_path / "tiny.onnx") < 1e-4
    for image in (tiny.good(3, 32, 32), tiny.bad(3, 32, 32)):
        assert_same(tmp_path / "tiny.onnx", bundle, image)


@pytest.mark.parametrize("size", [(64, 48), (200, 131), (37, 301), (20, 20)])
def test_frames_of_the_camera_are_resized_in_the_graph(tmp_path: Path, size: tuple[int, int]) -> None:
    bundle = tiny.write_tiny(tmp_path / "tiny.edgead")
    export_onnx(bundle, tmp_path / "tiny.onnx", frame_size=size)
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    assert_same(tmp_path / "tiny.onnx", bundle, noise)  # to the pixel: OpenCV's rounding is in the graph


@pytest.mark.parametrize("combine", ["sum", "product"])
def test_every_part_of_the_fusion(tmp_path: Path, combine: str) -> None:
    parts = (MapSpec(name="distance", weight=2.0, scale=1.5, offset=0.25), MapSpec(name="distance", offset=0.5))
    fusion = FusionSpec(maps=parts, height=12, width=16, combine=combine, sigma=1.3, score=ScoreSpec(top=5))
    bundle = tiny.write_tiny(tmp_path / "tiny.edgead", fusion=fusion)
    export_onnx(bundle, tmp_path / "tiny.onnx")
    assert_same(tmp_path / "tiny.onnx", bundle, tiny.bad(5, 32, 32))


def test_components_are_counted_in_the_graph(tmp_path: Path) -> None:
    bundle = component_tray.write(tmp_path / "tray.edgead")
    export_onnx(bundle, tmp_path / "tray.onnx")
    for bolt in (8, 5, 0):
        assert_same(tmp_path / "tray.onnx", bundle, component_tray.frame(component_tray.labels(bolt=bolt)), 1e-3)


def test_components_count_no_less_than_the_least(tmp_path: Path) -> None:
    path = tmp_path / "tray.edgead"
    bundle = component_tray.write(path, component_tray.spec(least=3.0))
    export_onnx(bundle, tmp_path / "tray.onnx")
    for bolt in (8, 0):
        assert_same(tmp_path / "tray.onnx", bundle, component_tray.frame(component_tray.labels(bolt=bolt)), 1e-3)


def test_the_graph_says_what_it_is_made_of(tmp_path: Path) -> None:
    bundle = tiny.write_tiny(tmp_path / "tiny.edgead")
    export_onnx(bundle, tmp_path / "tiny.onnx")
    props = {one.key: one.value for one in onnx.load(tmp_path / "tiny.onnx").metadata_props}
    assert props == {"edgead_bundle": "tiny", "edgead_digest": bundle.digest, "edgead_method": "brightness"}


def test_a_graph_that_judges_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny.write_tiny(tmp_path / "tiny.edgead")
    monkeypatch.setattr("edgead_tools.export.standalone._prepare", _without_offset)
    with pytest.raises(GateError, match="nothing was written"):
        export_onnx(bundle, tmp_path / "tiny.onnx")
    assert not (tmp_path / "tiny.onnx").exists()


def _without_offset(nodes, spec, size, output):  # type: ignore[no-untyped-def]
    """Ten gray levels too bright."""
    pixels = nodes.add("Cast", [nodes.add("Transpose", ["frame"], perm=[0, 3, 1, 2])], to=1)
    brighter = nodes.add("Add", [pixels, nodes.constant(np.float32(10))])
    nodes.add("Mul", [brighter, nodes.constant(np.float32(spec.scale[0]))], output)


def test_the_command(tmp_path: Path, edgead: Callable[..., Output]) -> None:
    tiny.write_tiny(tmp_path / "tiny.edgead")
    (tmp_path / "notes.txt").write_text("mine")
    code, out, _ = edgead("export", tmp_path / "tiny.edgead", "--onnx", tmp_path / "tiny.onnx", "--frame", "64x48")
    assert code == 0
    assert "at most" in out
    code, _, err = edgead("export", tmp_path / "tiny.edgead", "--onnx", tmp_path / "tiny.onnx", "--frame", "64*48")
    assert code != 0
    assert "1920x1080" in err
    code, _, err = edgead("export", tmp_path / "tiny.edgead", "--onnx", tmp_path / "notes.txt")
    assert code != 0
    assert "end the name in .onnx" in err
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_bad_input(tmp_path: Path) -> None:
    bundle = tiny.write_tiny(tmp_path / "tiny.edgead")
    with pytest.raises(UsageError, match="outside"):
        export_onnx(bundle, tmp_path / "tiny.onnx", frame_size=(0, 5))
    with pytest.raises(BundleError, match="int8"):
        export_onnx(bundle, tmp_path / "tiny.onnx", precision="int8")
