"""The mask of a bundle: only what is white in it is judged, on every path to a score, and nobody can change it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import Bundle, Detector, Verdict
from edgead.bundle import FusionSpec, Manifest, MapSpec
from edgead.bundle.manifest import decode, encode
from edgead.bundle.store import write_bundle
from edgead.errors import BundleError
from edgead.ops import fuse, image_score, load_mask
from edgead.verify import verify

LEFT = np.zeros((tiny.GRID, tiny.GRID), np.uint8)  # the left half is judged, and its last column half
LEFT[:, :3], LEFT[:, 3] = 255, 128


def png(cells: np.ndarray) -> bytes:
    return cv2.imencode(".png", cells)[1].tobytes()


def masked(bundle: Bundle, member: bytes, path: Path) -> Bundle:
    """The same bundle with a mask."""
    fusion = msgspec.structs.replace(bundle.manifest.fusion, mask="mask.png")
    members = bundle.members() | {"mask.png": member}
    listed = bundle.manifest.members | {"mask.png": bundle.manifest.members["fp32.onnx"]}
    return write_bundle(path, msgspec.structs.replace(bundle.manifest, fusion=fusion, members=listed), members)


@pytest.fixture
def left(tiny_bundle: Path, tmp_path: Path) -> Bundle:
    """The bundle of tests, which judges the left half alone."""
    return masked(Bundle.open(tiny_bundle), png(LEFT), tmp_path / "left.edgead")


def spotted(x: int) -> np.ndarray:
    """A good part with a bright spot at x of 64 columns."""
    image = tiny.good(1)
    image[20:32, x : x + 12] = 250
    return image


def test_only_what_is_white_is_judged(left: Bundle, tiny_bundle: Path) -> None:
    with Detector(tiny_bundle, threads=1) as plain, Detector(left, threads=1) as detector:
        assert plain(spotted(8)).verdict is plain(spotted(44)).verdict is Verdict.NG
        inside, outside = detector(spotted(8)), detector(spotted(44))
        unmasked = plain.read(spotted(44))
        assert inside.verdict is Verdict.NG
        assert [region.x < 32 for region in inside.regions] == [True]
        assert outside.verdict is Verdict.OK
        assert outside.regions == ()
        reading = detector.read(spotted(44))
    np.testing.assert_allclose(reading.anomaly_map, unmasked.anomaly_map * (LEFT / 255), rtol=1e-6)
    assert reading.score == reading.anomaly_map.max() < unmasked.score


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_a_masked_map_is_the_map_times_the_mask_after_smoothing(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    sigma, combine = data.draw(st.sampled_from([0.0, 1.5])), data.draw(st.sampled_from(["sum", "product"]))
    spec = FusionSpec(
        maps=(MapSpec(name="a"), MapSpec(name="b", weight=0.5)), height=8, width=6, sigma=sigma, combine=combine
    )
    maps = {name: random.random((8, 6), np.float32) for name in "ab"}
    mask = random.integers(0, 256, (8, 6)).astype(np.float32) / 255
    kept = {name: array.copy() for name, array in maps.items()}
    fused = fuse(maps, spec, mask)
    np.testing.assert_array_equal(fused, fuse(maps, spec) * mask)
    assert all(np.array_equal(maps[name], kept[name]) for name in maps)
    assert image_score(fused, spec) <= image_score(fuse(maps, spec), spec)  # of maps that are not negative
    np.testing.assert_array_equal(fuse(maps, spec, np.ones_like(mask)), fuse(maps, spec))


def test_the_mask_is_read_from_its_member(left: Bundle, tiny_bundle: Path) -> None:
    mask = load_mask(left)
    assert mask is not None
    assert mask.dtype == np.float32
    np.testing.assert_allclose(mask, LEFT / 255)
    assert load_mask(Bundle.open(tiny_bundle)) is None


@pytest.mark.parametrize(
    "member",
    [b"", b"no picture", png(LEFT[:4]), png(np.zeros((8, 8, 3), np.uint8)), png(LEFT.astype(np.uint16))],
    ids=["empty", "no picture", "another size", "colors", "16 bits"],
)
def test_a_member_that_is_no_mask_is_refused_by_name(tiny_bundle: Path, tmp_path: Path, member: bytes) -> None:
    bundle = masked(Bundle.open(tiny_bundle), member, tmp_path / "odd.edgead")
    with pytest.raises(BundleError, match=r"mask 'mask.png' is no gray picture of 8x8 cells"):
        Detector(bundle)


def test_a_mask_that_is_not_listed_is_refused(tiny_bundle: Path) -> None:
    manifest = Bundle.open(tiny_bundle).manifest
    fusion = msgspec.structs.replace(manifest.fusion, mask="mask.png")
    fields: dict[str, Any] = {name: getattr(manifest, name) for name in manifest.__struct_fields__}
    with pytest.raises(ValueError, match=r"'mask.png' is used but not listed"):
        Manifest(**{**fields, "fusion": fusion})


def test_a_manifest_from_before_masks_is_read(tiny_bundle: Path) -> None:
    manifest = Bundle.open(tiny_bundle).manifest
    fields = json.loads(encode(manifest))
    del fields["fusion"]["mask"]
    assert decode(json.dumps(fields).encode()) == manifest


def test_golden_frames_notice_a_mask_that_is_left_out_or_changed(left: Bundle, tmp_path: Path) -> None:
    """Golden maps are recorded with the mask; here those of the bundle without one stand for a changed mask."""
    with Detector(left, threads=1) as detector:
        assert not any(check.passed for check in verify(left, detector))


def test_a_changed_mask_is_noticed_when_the_bundle_is_opened(left: Bundle) -> None:
    assert left.path is not None
    raw = bytearray(left.path.read_bytes())
    at = raw.index(png(LEFT)) + len(png(LEFT)) // 2
    raw[at] ^= 1
    left.path.write_bytes(raw)
    with pytest.raises(BundleError, match="was altered"):
        Bundle.open(left.path)


def test_info_says_how_much_is_judged(edgead, left: Bundle, tiny_bundle: Path) -> None:
    assert "8 x 8 cells, 44% of them judged (mask.png)" in edgead("info", left.path)[1]
    assert "judged" not in edgead("info", tiny_bundle)[1]
