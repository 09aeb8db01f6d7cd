"""A memory that stands alone sees frames at a larger input than students do."""

from __future__ import annotations

from pathlib import Path

import boards
import cv2
import pytest

from edgead import Detector
from edgead.config import BuildConfig
from edgead.images import read_image
from edgead.progress import Reporter
from edgead_tools.methods import joined
from edgead_tools.methods.stlm.edge import StlmEdge
from edgead_tools.pipeline.build import BuildResult, build

pytestmark = pytest.mark.usefixtures("one_thread")

FRAME, SMALL, LARGE = 100, 64, 96


class Said(Reporter):
    """What a build says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Good boards, and sizes that a test has time for."""
    monkeypatch.setattr(StlmEdge, "size", SMALL)
    monkeypatch.setattr(StlmEdge, "memory_size", LARGE)
    folder = tmp_path / "parts" / "train" / "good"
    folder.mkdir(parents=True)
    for index in range(14):
        cv2.imwrite(str(folder / f"{index:02d}.png"), boards.board(index, FRAME))
    return tmp_path / "parts"


def built(parts: Path, said: Reporter, **limits: str | int) -> BuildResult:
    config = BuildConfig(
        data=str(parts), out=str(parts.parent / "part.edgead"), options={"memory": 16}, threads=1, **limits
    )
    return build(config, said)


def test_without_training(parts: Path) -> None:
    spec = built(parts, Said(), budget="0").bundle.manifest.input
    assert (spec.height, spec.width) == (LARGE, LARGE)


@pytest.mark.parametrize(("certain", "side"), [(1e9, LARGE), (-1e9, SMALL)])
def test_after_a_training(parts: Path, monkeypatch: pytest.MonkeyPatch, certain: float, side: int) -> None:
    """Students that are of no help give way to a larger input; those that are keep theirs."""
    monkeypatch.setattr(joined, "CERTAIN", certain)
    monkeypatch.setattr(joined, "gain", lambda after, before: (0.1, 0.01))
    said = Said()
    bundle = built(parts, said, steps=2).bundle
    manifest, training = bundle.manifest, bundle.manifest.provenance["training"]
    assert (manifest.input.height, manifest.fusion.height) == (side, side // 8)
    assert training["steps"] == 2
    assert training["memory"]["students"] is (side == SMALL)
    assert training["memory"]["planted_auroc"]["gain"] == 0.1
    assert sum("students" in one["found"] for one in training["findings"]) == 1
    assert any(f"larger: {LARGE}x{LARGE} pixels" in line for line in said.lines) is (side == LARGE)
    with Detector(bundle, threads=1) as detector:
        score = detector.read(read_image(next((parts / "train" / "good").iterdir()))).score
    assert score < manifest.artifact("fp32").thresholds.image
