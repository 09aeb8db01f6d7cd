"""A build with a recipe, and `edgead quantize` on a bundle of FP32 alone: the same networks by both ways."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boards
import cv2
import msgspec
import pytest

from edgead import Bundle, Detector
from edgead.bundle.store import write_bundle
from edgead.config import BuildConfig
from edgead.progress import Reporter
from edgead.verify import verify
from edgead_calibration.gate import Tolerances
from edgead_calibration.precisions import PrecisionResult
from edgead_calibration.probe import open_probe
from edgead_calibration.recipe import load_recipe
from edgead_tools.pipeline.build import build

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", autouse=True)
def _loose() -> Iterator[None]:
    """A recipe that ten steps of training pass at once: repairs are tried on smaller networks."""
    tolerances = Tolerances(map_mean=1, map_largest=3, spearman=0, false_alarms=1, misses=1, auroc=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "edgead_tools.pipeline.precisions.load_recipe",
            lambda name: msgspec.structs.replace(load_recipe(name), tolerances=tolerances),
        )
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boards")
    for index, image in enumerate(boards.boards(40)):
        cv2.imwrite(str(folder / f"{index:02d}.png"), image)
    return folder


@pytest.fixture(scope="module")
def built(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("built") / "boards.edgead"
    config = BuildConfig(data=str(data), out=str(out), steps=10, size=64, threads=1, recipe="cpu")
    return build(config, Reporter()).bundle


def trials(bundle: Bundle) -> list[PrecisionResult]:
    return msgspec.convert(bundle.manifest.provenance["precisions"]["trials"], list[PrecisionResult])


def test_each_precision_is_in_the_bundle_or_left_out_with_a_reason(built: Bundle) -> None:
    tried = trials(built)
    assert {trial.precision for trial in tried} == {"int8"}
    have = {(artifact.precision, artifact.engine) for artifact in built.manifest.artifacts}
    assert have == {("fp32", ""), *((trial.precision, trial.engine) for trial in tried if trial.shipped)}
    for artifact in built.manifest.artifacts:
        with Detector(built, engine=artifact.engine or "onnx", precision=artifact.precision) as detector:
            assert all(check.passed for check in verify(built, detector))


def test_a_network_of_the_bundle_can_be_tried_again(built: Bundle) -> None:
    """As `benchmarks/precision.py` does; a bundle's own artifact has golden readings, and a trial has none."""
    for artifact in built.manifest.artifacts:
        with open_probe(built, built.read(artifact.member), artifact, artifact.engine or "onnx") as trial:
            assert trial.bundle.manifest.golden_frames == ()
            assert trial.artifact.thresholds == artifact.thresholds


def test_auto_is_int8_only_where_it_was_faster(built: Bundle) -> None:
    for trial in trials(built):
        faster = trial.shipped and trial.is_faster
        assert built.manifest.artifact("auto", trial.engine).precision == ("int8" if faster else "fp32")


def write_plain(built: Bundle, path: Path) -> None:
    """What the same build without a recipe would have written: FP32 alone."""
    manifest = built.manifest
    exact = manifest.artifact("fp32")
    others = {name for one in manifest.artifacts if one != exact for name in (one.member, *one.golden)}
    members = {name: data for name, data in built.members().items() if name not in others}
    provenance = {name: value for name, value in manifest.provenance.items() if name != "precisions"}
    write_bundle(path, msgspec.structs.replace(manifest, artifacts=(exact,), provenance=provenance), members)


def test_quantize_adds_to_a_bundle_what_its_build_would_have(built: Bundle, data: Path, tmp_path: Path, edgead) -> None:
    write_plain(built, tmp_path / "plain.edgead")
    code, out, err = edgead("quantize", "plain.edgead", "--data", data, "--recipe", "cpu", "--precision", "int8")
    assert code == 0, err
    assert out.splitlines() == ["plain.edgead"]
    assert len([line for line in err.splitlines() if line.startswith("int8 on ")]) == len(trials(built))  # said once
    again = Bundle.open(tmp_path / "plain.edgead")
    assert again.members() == built.members()
    kept = [msgspec.structs.replace(trial, milliseconds=None, milliseconds_fp32=None) for trial in trials(again)]
    assert kept == [
        msgspec.structs.replace(trial, milliseconds=None, milliseconds_fp32=None) for trial in trials(built)
    ]


def test_quantize_says_what_is_odd_about_its_images(
    built: Bundle, data: Path, tmp_path: Path, edgead, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in sorted(data.glob("*.png"))[:12]:
        cv2.imwrite(str(tmp_path / path.name), cv2.imread(str(path)) // 2)
    (tmp_path / "copy.png").write_bytes((tmp_path / "00.png").read_bytes())
    monkeypatch.setattr("edgead_tools.pipeline.precisions.fill", lambda *_, **__: (built.manifest, built.members(), []))
    code, _, err = edgead("quantize", built.path, "--data", tmp_path, "--out", tmp_path / "new.edgead")
    assert code == 0, err
    assert "is a duplicate: it has the same pixels as 00.png" in err
    assert "these images are darker than those of the build" in err


def test_what_quantize_cannot_do_is_said(edgead, built: Bundle, data: Path, tmp_path: Path) -> None:
    for arguments, match in [
        (("--recipe", "jetson-orion"), "did you mean 'jetson-orin'"),
        (("--precision", "fp32"), "takes int8 and fp16"),
    ]:
        code, _, err = edgead("quantize", built.path, "--data", data, "--out", tmp_path / "new.edgead", *arguments)
        assert (code, match in err) == (2, True), err
    assert not (tmp_path / "new.edgead").exists()
