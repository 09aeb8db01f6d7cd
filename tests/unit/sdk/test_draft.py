"""The draft of a bundle: read through before it has thresholds, complete with them, written once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny

from edgead import Bundle, Detector
from edgead.bundle.draft import BundleDraft, DraftNetwork, DraftSpec
from edgead.bundle.store import list_members, write_bundle
from edgead.errors import BundleError
from edgead.reader import Reader


@pytest.fixture
def draft() -> BundleDraft:
    spec = tiny.manifest()
    model = DraftSpec("tiny", spec.method, spec.input, spec.fusion, DraftNetwork("fp32.onnx"))
    return BundleDraft(model, {"fp32.onnx": tiny.graph()}, dict(spec.provenance))


def fill(draft: BundleDraft) -> None:
    """Thresholds and the golden frames of the tiny bundle."""
    bundle = Bundle(tiny.manifest(), {"fp32.onnx": tiny.graph()})
    draft.fit(tiny.THRESHOLDS, (0.2, 0.21), (0.2, 0.21))
    with Detector(bundle, engine="onnx") as detector:
        reading = detector.read(tiny.bad(1))
    draft.add_golden(
        {"golden/0.png": tiny.npy(tiny.bad(1))},  # never decoded here
        {"golden/0.npy": tiny.npy(reading.anomaly_map)},
        (reading.score,),
        1e-4,
        ("golden/0.png",),
    )


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_a_draft_is_read_as_the_bundle_will_be(engine: str, draft: BundleDraft, tiny_bundle: Path) -> None:
    with Reader(draft, engine) as reader, Detector(tiny_bundle, engine=engine) as detector:
        for image in (tiny.good(3), tiny.bad(4, 100, 30)):
            found, expected = reader.read(image), detector.read(image)
            assert found.score == expected.score
            assert np.array_equal(found.anomaly_map, expected.anomaly_map)


def test_a_draft_cannot_judge(draft: BundleDraft) -> None:
    with pytest.raises(AssertionError):
        draft.bundle()
    with pytest.raises(BundleError, match="has no int8 network"):
        Reader(draft, "onnx", "int8")
    with pytest.raises(BundleError, match="no member 'mask"):
        draft.read("mask.png")


def test_what_is_written_is_what_was_drafted(draft: BundleDraft, tmp_path: Path) -> None:
    fill(draft)
    made = draft.bundle()
    written = write_bundle(tmp_path / "a.edgead", made.manifest, made.members())
    assert made.digest == written.digest == Bundle.open(tmp_path / "a.edgead").digest
    assert made.manifest == written.manifest
    assert made.manifest.members == list_members(made.members())
    assert made.manifest.artifact().thresholds == tiny.THRESHOLDS
    assert made.manifest.golden_anomalies == ("golden/0.png",)


def test_nothing_is_fitted_twice(draft: BundleDraft) -> None:
    fill(draft)
    with pytest.raises(AssertionError):
        draft.fit(tiny.THRESHOLDS, (), ())
