"""The bank of good images grows: what new good images show is good, and nothing is written that does not verify."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import object_scenes
import pytest
from object_scenes import draw, good, usual

from edgead import Bundle, Detector
from edgead.bundle.store import list_members, write_bundle
from edgead.ops import load_references
from edgead.ops.matching import measure
from edgead.verify import verify
from edgead_calibration import object_bank
from edgead_calibration.golden import encode_map

ANOMALY = "golden/anomaly.png"


def shifted(seed: int, by: int = 14) -> np.ndarray:
    """A scene whose red shape lies further to the right than in any that was learned."""
    random = np.random.default_rng(seed)
    shapes = usual(random)
    shapes[0] = ("red", shapes[0][1] + by, shapes[0][2])
    return draw(shapes, random)


def without_blue(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return draw([shape for shape in usual(random) if shape[0] != "blue"], random)


def golden(bundle: Bundle, anomaly: np.ndarray) -> Bundle:
    """The bundle with golden frames of a good part and of a bad one."""
    frames = {"golden/0.png": good(900), ANOMALY: anomaly}
    members, maps, scores = bundle.members(), {}, []
    with Detector(bundle, engine="onnx", threads=1) as detector:
        for name, frame in frames.items():
            reading = detector.read(frame)
            members[name] = cv2.imencode(".png", frame)[1].tobytes()
            maps[name.replace(".png", ".npy")] = encode_map(reading.anomaly_map)
            scores.append(reading.score)
    members |= maps
    artifacts = tuple(
        msgspec.structs.replace(one, golden=tuple(maps), golden_scores=tuple(scores), tolerance=1e-3)
        for one in bundle.manifest.artifacts
    )
    manifest = msgspec.structs.replace(
        bundle.manifest, artifacts=artifacts, golden_frames=tuple(frames), golden_anomalies=(ANOMALY,),
        members=list_members(members),
    )  # fmt: skip
    return Bundle(manifest, members)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    made = golden(object_scenes.bundle(), without_blue(901))
    write_bundle(tmp_path / "scenes.edgead", made.manifest, made.members())
    return tmp_path / "scenes.edgead"


def folder(path: Path, images: list[np.ndarray]) -> Path:
    path.mkdir()
    for index, image in enumerate(images):
        cv2.imwrite(str(path / f"{index}.png"), image)
    return path


def scores(bundle: Bundle, images: list[np.ndarray]) -> list[float]:
    with Detector(bundle, engine="onnx", threads=1) as detector:
        return [detector(image).score for image in images]


def state(path: Path) -> dict[str, str]:
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in path.parent.iterdir() if one.is_file()}


def test_what_new_images_show_is_good_and_what_was_wrong_stays_wrong(
    edgead: Any, tmp_path: Path, written: Path
) -> None:
    old = Bundle.open(written)
    unseen, wrong = [shifted(seed) for seed in range(1200, 1206)], [without_blue(seed) for seed in range(1300, 1304)]
    assert min(scores(old, unseen)) > 1
    given = folder(tmp_path / "new", [shifted(seed) for seed in range(1000, 1012)])
    code, out, err = edgead("add-normals", written, given, "--by", "ana")
    assert code == 0, err
    assert "bank: 36 good images (until now 24)" in out
    new = Bundle.open(written)
    assert max(scores(new, unseen)) < 1
    assert min(scores(new, wrong)) > 1
    assert written.with_name("scenes.edgead.old").read_bytes() != written.read_bytes()
    assert Bundle.open(written.with_name("scenes.edgead.old")).digest == old.digest
    (entry,) = new.manifest.provenance["thresholds"]
    assert (entry["who"], entry["images"]) == ("ana", 12)
    assert len(new.manifest.artifacts[0].good_scores) == 24 + 12
    with Detector(new, engine="onnx", threads=1) as detector:
        assert all(check.passed for check in verify(new, detector))
    code, _, err = edgead("add-normals", written, given)
    assert (code, "all 12 images are in the bank already: there is nothing to add" in err) == (1, True)


def test_images_of_another_product_are_refused_by_name_and_nothing_is_written(
    edgead: Any, tmp_path: Path, written: Path
) -> None:
    random = np.random.default_rng(7)
    other = draw([("white", 40, 90), ("white", 90, 40)], random)
    given, before = folder(tmp_path / "new", [good(1400), other]), state(written)
    code, out, err = edgead("add-normals", written, given)
    assert (code, out) == (1, "")
    assert "1 of 2 images do not show this product, 1.png" in err
    assert state(written) == before


def test_a_planted_anomaly_that_would_pass_keeps_the_old_bundle(edgead: Any, tmp_path: Path) -> None:
    made, path = golden(object_scenes.bundle(), shifted(1500)), tmp_path / "scenes.edgead"
    write_bundle(path, made.manifest, made.members())
    given, before = folder(tmp_path / "new", [shifted(seed) for seed in range(1000, 1012)]), state(path)
    code, _, err = edgead("add-normals", path, given)
    assert code != 0
    assert f"would not keep {ANOMALY}" in err
    assert state(path) == before


def test_ctrl_c_leaves_the_old_bundle(
    edgead: Any, tmp_path: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(object_bank, "_verified", interrupted)  # the last step before it is written
    given, before = folder(tmp_path / "new", [good(1600 + seed) for seed in range(4)]), state(written)
    code, out, _ = edgead("add-normals", written, given)
    assert (code, out) == (130, "")
    assert state(written) == before


def test_every_network_is_fitted_through_its_own_engine_and_must_be_here(
    edgead: Any, tmp_path: Path, written: Path
) -> None:
    old = Bundle.open(written)
    (exact,) = old.manifest.artifacts
    given = folder(tmp_path / "new", [good(1700 + seed) for seed in range(4)])
    for engine, expected in (("tensorrt", 3), ("onnx", 0)):
        second = msgspec.structs.replace(exact, precision="int8", engine=engine, good_scores=exact.good_scores[:10])
        manifest = msgspec.structs.replace(old.manifest, artifacts=(second, exact))
        write_bundle(written, manifest, old.members())
        code, _, err = edgead("add-normals", written, given)
        assert code == expected, err
        if code:
            assert "the int8 network for tensorrt cannot be read here, so the bank cannot grow on this machine" in err
    new = Bundle.open(written).manifest
    assert [len(one.good_scores) for one in new.artifacts] == [14, 28]
    assert new.artifacts[0].good_scores[-4:] == pytest.approx(new.artifacts[1].good_scores[-4:], abs=0.02)


def test_the_bank_stays_within_its_limit(edgead: Any, tmp_path: Path, written: Path) -> None:
    given = folder(tmp_path / "new", [good(1800 + seed) for seed in range(6)])
    code, out, err = edgead("add-normals", written, given, "--bank", 20, "--out", "small.edgead")
    assert (code, "bank: 20 good images" in out) == (0, True), err
    references = load_references(Bundle.open(tmp_path / "small.edgead"))
    assert references is not None
    assert len(references.bank) == 20


def test_a_bundle_without_a_bank_says_what_to_use(edgead: Any, tmp_path: Path, tiny_bundle: Path) -> None:
    code, _, err = edgead("add-normals", tiny_bundle, folder(tmp_path / "new", [good(0)]))
    assert (code, "keeps no good images: `edgead calibrate` refits its thresholds" in err) == (2, True)


def test_an_image_of_the_bank_is_the_scene_it_was() -> None:
    bundle = object_scenes.bundle()
    references = load_references(bundle)
    assert references is not None
    again = references.scene_of(3)
    assert references.distance_to_nearest(again) == 0
    assert references.nearest(again)[0] == 3
    described, boxes = references.project(again)
    rows = references.objects_of(3)
    np.testing.assert_allclose(described, references.descriptors[rows], atol=1e-5)
    np.testing.assert_allclose(boxes, references.boxes[rows], atol=1e-5)
    assert measure(again, references, (3,)).slots.tolist() == references.slots[rows].tolist()
