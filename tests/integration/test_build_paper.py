"""The published STLM end to end at a small size: from a folder of parts and a folder of weights to a verdict."""

from __future__ import annotations

from pathlib import Path

import boards
import cv2
import published
import pytest

from edgead import Bundle, Detector
from edgead.config import BuildConfig
from edgead.progress import Reporter
from edgead.verify import verify
from edgead_tools.pipeline.build import build

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 64


def test_a_build_writes_a_bundle_that_judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published.make_shallow(monkeypatch)
    data, weights = tmp_path / "parts", tmp_path / "weights"
    for folder in (data, weights):
        folder.mkdir()
    for index in range(12):
        cv2.imwrite(str(data / f"{index}.png"), boards.board(index, 96))
    published.write_weights(weights, ["mobile-sam"])
    config = BuildConfig(
        preset="paper",
        data=str(data),
        out=str(tmp_path / "parts.edgead"),
        steps=12,
        size=SIZE,
        threads=1,
        options={"head": False, "anomaly_rate": 1.0},  # tests/contract exports one with a head
        weights=str(weights),
    )
    bundle = Bundle.open(build(config, Reporter()).bundle.path)
    with Detector(bundle) as detector:
        assert all(check.passed for check in verify(bundle, detector))
        result = detector(boards.board(99, 96, scratched=True))
    assert result.raw_score > 0  # the streams, which start alike, were taught different things
    assert result.anomaly_map.shape == (96, 96)
    manifest = bundle.manifest
    assert (manifest.fusion.height, manifest.fusion.width, manifest.fusion.score.top) == (SIZE, SIZE, 100)
    assert manifest.provenance["export"]["max_error"] <= 1e-4
    assert manifest.provenance["export"]["outputs"] == {"distance": [4, 4]}
    (entry,) = manifest.provenance["training"]["weights"]
    assert (entry["name"], entry["file"], entry["published"]) == ("mobile-sam", "mobile_sam.pt", False)
    assert entry["tensors"] > 0
