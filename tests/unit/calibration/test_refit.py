"""Thresholds refitted on site: every network through its own engine, and who did it kept in the bundle."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
import tiny

from edgead import Bundle, Detector
from edgead.bundle.store import write_bundle
from edgead.errors import EngineError
from edgead_calibration.refit import refit_images, refit_rate


def lit(count: int, gain: float, first: int = 0) -> list[np.ndarray]:
    """Good parts in another light."""
    return [np.clip(gain * tiny.good(first + seed), 0, 255).astype(np.uint8) for seed in range(count)]


def test_a_refit_restores_the_false_alarm_rate_in_another_light(tiny_bundle: Path) -> None:
    """New parts in the new light are all refused before, and after it at a rate within the interval it gives."""
    bundle = Bundle.open(tiny_bundle)
    new = lit(200, 3.2, 1000)
    manifest = refit_images(bundle, lit(60, 3.2), 0.05)
    refitted = Bundle(manifest, bundle.members(), bundle.digest, None)
    rates = []
    for each in (bundle, refitted):
        with Detector(each, engine="onnx", threads=1) as detector:
            rates.append(np.mean([detector(image).is_anomalous for image in new]))
    low, high = manifest.artifacts[0].thresholds.interval
    assert rates[0] == 1.0
    assert low - 0.02 <= rates[1] <= high + 0.02  # 200 parts show a rate to about 0.02
    assert manifest.health != bundle.manifest.health


def test_the_history_says_who_when_from_what(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    first = refit_images(bundle, iter(lit(5, 1.0)), 0.2, "ana", "camera:0")
    second = refit_rate(Bundle(first, bundle.members(), bundle.digest, None), 0.3, "ben")
    one, two = second.provenance["thresholds"]
    assert (one["who"], one["source"], one["images"], len(one["digest"])) == ("ana", "camera:0", 5, 64)
    assert one["what"] == "refitted on site for a rate of 0.2"
    assert (two["who"], two["what"]) == ("ben", "rate set to 0.3")
    assert one["when"] <= two["when"]


def test_each_network_is_read_once_through_its_own_engine(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    (exact,) = bundle.manifest.artifacts
    here = msgspec.structs.replace(exact, precision="int8", engine="onnx")
    away = msgspec.structs.replace(exact, precision="fp16", engine="tensorrt")
    three = msgspec.structs.replace(bundle.manifest, artifacts=(here, exact, away))
    manifest = refit_images(Bundle(three, bundle.members(), bundle.digest, None), iter(lit(5, 2.0)), 0.2)
    scores = [len(artifact.good_scores) for artifact in manifest.artifacts]
    assert scores == [5, 5, 2]
    assert manifest.artifacts[2] == away
    assert manifest.provenance["thresholds"][-1]["left"] == ["fp16 for tensorrt"]


def test_without_any_engine_nothing_is_refitted(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    away = msgspec.structs.replace(bundle.manifest.artifacts[0], engine="tensorrt")
    lone = msgspec.structs.replace(bundle.manifest, artifacts=(away,))
    with pytest.raises(EngineError, match="has no network for"):
        refit_images(Bundle(lone, bundle.members(), bundle.digest, None), lit(5, 1.0), 0.2)


def test_calibrate_takes_a_camera_or_a_folder(edgead, tmp_path: Path, tiny_bundle: Path) -> None:
    folder = tmp_path / "good"
    folder.mkdir()
    for index, image in enumerate(lit(6, 2.0)):
        cv2.imwrite(str(folder / f"{index}.png"), image)
    bundle = Bundle.open(tiny_bundle)
    write_bundle(tmp_path / "site.edgead", bundle.manifest, bundle.members())
    code, out, _ = edgead("calibrate", "site.edgead", "--data", folder, "--by", "ana", "--false-alarm-rate", 0.2)
    assert code == 0
    assert "is NG" in out
    changed = Bundle.open(tmp_path / "site.edgead")
    assert changed.manifest.provenance["thresholds"][0]["who"] == "ana"
    assert changed.manifest.artifacts[0].thresholds.images == 6
    code, _, _ = edgead("calibrate", "site.edgead", "--camera", "synthetic:", "--images", 4, "--out", "new.edgead")
    assert code == 0
    assert Bundle.open(tmp_path / "new.edgead").manifest.artifacts[0].thresholds.images == 4
    for wrong in ((), ("--data", folder, "--camera", "0")):
        code, _, err = edgead("calibrate", "site.edgead", *wrong)
        assert (code, "say where good parts" in err) == (2, True)


def test_a_rate_that_good_images_are_too_few_for_is_set_only_where_it_is_extrapolated(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    scores = tuple(np.random.default_rng(0).gamma(9, 0.01, 30).tolist())
    network = msgspec.structs.replace(bundle.manifest.artifacts[0], good_scores=scores, good_maxima=scores)
    known = Bundle(msgspec.structs.replace(bundle.manifest, artifacts=(network,)), bundle.members(), "", None)
    (plain, farther) = (refit_rate(known, 0.01, extrapolate=extrapolate) for extrapolate in (False, True))
    assert plain.artifacts[0].thresholds.aimed_rate == pytest.approx(1 / 31)
    assert farther.artifacts[0].thresholds.aimed_rate == 0.01
    assert farther.artifacts[0].thresholds.image > plain.artifacts[0].thresholds.image
    assert farther.provenance["thresholds"][-1]["what"] == "rate set to 0.01, extrapolated"
