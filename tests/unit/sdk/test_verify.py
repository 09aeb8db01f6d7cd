"""Golden frames: an engine that measures something else is noticed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import tiny

from edgead import Bundle, Detector
from edgead.errors import BundleError
from edgead.verify import golden_frame, verify
from edgead_calibration.golden import record_golden


def checks(path: Path) -> list[tuple[bool, float]]:
    with Detector(path) as detector:
        return [(check.passed, check.map_error) for check in verify(detector.bundle, detector)]


def test_a_difference_beyond_the_tolerance_fails(tmp_path: Path) -> None:
    tiny.write_tiny(tmp_path / "off.edgead", distort=lambda golden: golden + np.float32(0.25))
    assert checks(tmp_path / "off.edgead") == [(False, pytest.approx(0.25, abs=1e-5))] * 2


@pytest.mark.parametrize(
    "distort",
    [lambda golden: np.full_like(golden, np.nan), lambda golden: golden[:4], lambda golden: golden[:, :1]],
    ids=["nan", "rows", "column"],
)
def test_what_cannot_be_compared_fails(tmp_path: Path, distort: object) -> None:
    tiny.write_tiny(tmp_path / "odd.edgead", distort=distort)
    assert checks(tmp_path / "odd.edgead") == [(False, np.inf)] * 2


@pytest.mark.parametrize(
    ("member", "data"),
    [
        ("golden/0.png", b""),
        ("golden/0.png", b"no image"),
        ("golden/fp32-0.npy", b""),
        ("golden/fp32-0.npy", b"\x93NUMPY"),
        ("golden/fp32-0.npy", tiny.npy(np.array([{"code": "pickled"}]))),
        ("golden/fp32-0.npy", tiny.npy(np.zeros((8, 8)))),
        ("golden/fp32-0.npy", tiny.npy(np.zeros(64, np.float32))),
    ],
)
def test_a_damaged_golden_member_is_named(tiny_bundle: Path, member: str, data: bytes) -> None:
    whole = Bundle.open(tiny_bundle)
    bundle = Bundle(whole.manifest, {**whole.members(), member: data}, whole.digest, None)
    with Detector(bundle) as detector, pytest.raises(BundleError, match=member):
        verify(bundle, detector)


def test_a_score_that_no_map_explains_fails(tiny_bundle: Path) -> None:
    """Broken components, say: the map is the same and the score is another."""
    whole = Bundle.open(tiny_bundle)
    (artifact,) = whole.manifest.artifacts
    with Detector(whole) as detector:
        scores = tuple(detector.read(golden_frame(whole, name)).score for name in whole.manifest.golden_frames)
    gap = artifact.thresholds.image - artifact.thresholds.image_center
    for off, allowed, passed in (
        (0.0, 0.05, True),
        (0.04, 0.05, True),
        (0.2, 0.05, False),
        (0.2, 0.3, True),
        (np.nan, 0.3, False),
    ):
        golden = tuple(score + off * gap for score in scores)
        changed = msgspec.structs.replace(artifact, golden_scores=golden, score_tolerance=allowed)
        manifest = msgspec.structs.replace(whole.manifest, artifacts=(changed,))
        bundle = Bundle(manifest, whole.members(), whole.digest, None)
        with Detector(bundle) as detector:
            found = verify(bundle, detector)
        assert found[0].passed is passed, off
        assert all(check.map_error <= check.tolerance for check in found)


def test_a_lower_precision_may_differ_by_more_than_it_costs(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    (exact,) = bundle.manifest.artifacts
    with Detector(bundle, engine="onnx") as detector:
        scores = tuple(detector.read(golden_frame(bundle, name)).score for name in bundle.manifest.golden_frames)
        gap = exact.thresholds.image - exact.thresholds.image_center
        for cost, allowed in ((0.0, 0.05), (0.1, 0.15)):
            reference = msgspec.structs.replace(exact, golden_scores=tuple(score + cost * gap for score in scores))
            assert record_golden(bundle, detector, reference, "int8").score_tolerance == pytest.approx(allowed)
        distorted = tiny.write_tiny(tmp_path / "off.edgead", distort=lambda golden: golden + 0.2)
        golden = record_golden(distorted, detector, distorted.manifest.artifacts[0], "int8")
        assert golden.tolerance == pytest.approx(0.3, abs=1e-5)


def test_no_golden_frames_means_no_checks() -> None:
    manifest = msgspec.structs.replace(tiny.manifest(), name="bare")
    with Detector(Bundle(manifest, {"fp32.onnx": tiny.graph()}, "0" * 64, None)) as detector:
        assert verify(detector.bundle, detector) == []
