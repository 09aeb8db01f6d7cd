"""What can never say NG is refused when it is opened, and a planted anomaly proves that a bundle can."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import tiny

from edgead import Bundle, Detector
from edgead.bundle import FusionSpec, Manifest, MapSpec
from edgead.bundle.store import write_bundle
from edgead.engines.base import Engine
from edgead.errors import BundleError, GateError, UsageError
from edgead.ops import Rules
from edgead.types import Reading
from edgead.verify import verify
from edgead_tools.pipeline import golden

replace = msgspec.structs.replace


def _thresholds(**changes: float) -> Callable[[Manifest], Manifest]:
    def change(manifest: Manifest) -> Manifest:
        (artifact,) = manifest.artifacts
        return replace(manifest, artifacts=(replace(artifact, thresholds=replace(artifact.thresholds, **changes)),))

    return change


def _input(**changes: tuple[float, ...]) -> Callable[[Manifest], Manifest]:
    return lambda manifest: replace(manifest, input=replace(manifest.input, **changes))


def _map(**changes: float) -> Callable[[Manifest], Manifest]:
    fusion = FusionSpec(maps=(MapSpec(name="distance", **changes),), height=tiny.GRID, width=tiny.GRID)
    return lambda manifest: replace(manifest, fusion=fusion)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_thresholds(image=1e308), "image threshold is 1e.308"),
        (_thresholds(pixel=1e308), "pixel threshold is 1e.308"),
        (_thresholds(image=1e308, image_center=-1e308), "image threshold"),
        (_thresholds(image=500.0), "image threshold is 500 and good images had 0.21"),
        (_thresholds(pixel=500.0), "pixel threshold is 500 and good images had 0.21"),
        (_input(scale=(0.0, 0.0, 0.0)), "input's scale is 0"),
        (_input(scale=(1 / 255, 1 / 255, 0.0)), "input's scale is 0"),
        (_input(scale=(1e-300,) * 3), "input's scale is 1e-300"),
        (_input(scale=(1e300,) * 3), "input's scale is 1e.300"),
        (_input(offset=(1e300,) * 3), "its offset is 1e.300"),
        (_map(weight=0.0), "map 'distance' counts 0 times"),
        (_map(scale=0.0), "map 'distance' counts 0 times"),
        (_map(scale=1e300, weight=1e300), "map 'distance' counts inf times"),
        (_map(offset=-1e300), "offset of map 'distance'"),
    ],
)
def test_what_can_never_say_ng_is_refused_when_it_is_opened(
    tiny_bundle: Path, tmp_path: Path, change: Callable[[Manifest], Manifest], match: str
) -> None:
    bundle = Bundle.open(tiny_bundle)
    blind = change(bundle.manifest)
    with pytest.raises(BundleError, match=f"it could pass bad parts: .*{match}"):
        write_bundle(tmp_path / "blind.edgead", blind, bundle.members())
    assert not (tmp_path / "blind.edgead").exists()


def test_a_mask_that_is_black_everywhere_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    members = bundle.members() | {"mask.png": cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes()}
    fusion = replace(bundle.manifest.fusion, mask="mask.png")
    listed = dict.fromkeys(members, bundle.manifest.members["fp32.onnx"])
    write_bundle(tmp_path / "black.edgead", replace(bundle.manifest, fusion=fusion, members=listed), members)
    with pytest.raises(BundleError, match=r"mask 'mask.png' is black everywhere"):
        Detector(tmp_path / "black.edgead")


@pytest.mark.parametrize("rules", [{"threshold": 1e308}, {"threshold": 1001.0}, {"min_area": 1e308}], ids=str)
def test_rules_with_which_no_part_is_ng_are_refused(rules: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Rules(**rules)


def proven(bundle: Bundle, **thresholds: float) -> Manifest:
    """The manifest of `tiny`, of which the second golden frame is a planted anomaly."""
    (artifact,) = bundle.manifest.artifacts
    with Detector(bundle, engine="onnx", threads=1) as detector:
        scores = tuple(detector.read(image).score for image in (tiny.good(1), tiny.bad(1)))
    changed = replace(artifact, golden_scores=scores, thresholds=replace(artifact.thresholds, **thresholds))
    return replace(bundle.manifest, artifacts=(changed,), golden_anomalies=("golden/1.png",))


def test_a_planted_anomaly_must_be_ng(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    written = write_bundle(tmp_path / "proven.edgead", proven(bundle), bundle.members())
    with Detector(written, engine="onnx", threads=1) as detector:
        assert [check.passed for check in verify(written, detector)] == [True, True]
    with pytest.raises(BundleError, match=r"planted anomaly 'golden/1.png' is not NG"):
        write_bundle(tmp_path / "refitted.edgead", proven(bundle, image=2.0), bundle.members())
    with pytest.raises(ValueError, match="is no golden frame"):
        replace(bundle.manifest, golden_anomalies=("golden/7.png",)).__post_init__()


def test_verify_holds_an_engine_to_the_planted_anomaly(tiny_bundle: Path) -> None:
    """An engine within a wide tolerance that no longer calls the anomaly NG fails."""
    bundle = Bundle.open(tiny_bundle)
    manifest = proven(bundle)
    wide = replace(manifest.artifacts[0], tolerance=10.0, score_tolerance=10.0)
    bundle = Bundle(replace(manifest, artifacts=(wide,)), bundle.members(), "0" * 64, None)
    with Detector(bundle, engine="onnx", threads=1) as detector:
        assert [check.passed for check in verify(bundle, detector)] == [True, True]
        blind = Detector(bundle, engine=_Blind(detector))
        assert [check.passed for check in verify(bundle, blind)] == [True, False]


class _Blind(Engine):
    """An engine that shows a hundredth of what is there."""

    name, precision = "onnx", "fp32"

    def __init__(self, detector: Detector) -> None:
        self._engine = detector.engine

    def infer(self, images: list[np.ndarray]) -> list[Reading]:
        return [dataclasses.replace(one, score=0.01 * one.score) for one in self._engine.infer(images)]

    def close(self) -> None:
        pass


def test_a_build_plants_the_least_anomaly_that_is_clearly_ng(tiny_bundle: Path) -> None:
    with Detector(tiny_bundle, engine="onnx", threads=1) as detector:
        thresholds = detector.artifact.thresholds
        planted = golden._planted(detector, tiny.good(), thresholds)
        assert np.array_equal(planted, golden._checkered(tiny.good()))  # a dark bar is no anomaly to this network
        high = replace(thresholds, image=0.98)
        assert np.array_equal(golden._planted(detector, tiny.good(), high), golden._checkered(tiny.good()))  # the most
        with pytest.raises(GateError, match="tells no anomaly from good parts"):
            golden._planted(detector, tiny.good(), replace(thresholds, image=1.5))
