"""Scores of good images: corrected where training shaped the maps they come from, and only there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny

from edgead.bundle import Bundle
from edgead.reader import Reader
from edgead_tools.methods import Trained
from edgead_tools.pipeline.good_scores import GoodScores, collect_good_scores


def collect(bundle: Bundle, untrained: frozenset[str], known: float) -> GoodScores:
    """The scores of 60 images trained on, whose maps lie at `known`, and of 20 others at about 0.2."""
    random = np.random.default_rng(0)
    maps = random.normal(0.2, 0.01, (70, 8, 8)).astype(np.float32)
    maps[:60] += np.float32(known - 0.2)
    held = [np.clip(random.normal(51, 3, (32, 32, 3)), 0, 255).astype(np.uint8) for _ in range(10)]
    parts = SimpleNamespace(train=tuple(range(60)), calibration=tuple(range(10)), held_out=tuple(range(10)))
    images = SimpleNamespace(parts=parts, rows=lambda _: held)
    trained = Trained(
        network=None, input=bundle.manifest.input, fusion=bundle.manifest.fusion, report={},
        out_of_fold={"distance": maps}, untrained=untrained,
    )  # type: ignore[arg-type]  # fmt: skip
    with Reader(bundle, "onnx") as reader:
        return collect_good_scores(reader, trained, images, lambda done, total: None)  # type: ignore[arg-type]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return tiny.write_tiny(tmp_path / "part.edgead")


def test_images_that_training_has_seen_are_corrected(bundle: Bundle) -> None:
    found = collect(bundle, frozenset(), known=0.1)
    assert len(found.scores) == 80
    assert np.median(found.scores[:60]) == pytest.approx(np.median(found.scores[60:]), abs=0.01)
    assert found.margin[0] > 0


def test_maps_that_no_training_shaped_are_taken_as_they_are(bundle: Bundle) -> None:
    found = collect(bundle, frozenset({"distance"}), known=0.1)
    assert np.median(found.scores[:60]) == pytest.approx(0.12, abs=0.01)  # the largest of 64 cells
    assert found.margin == (0.0, 0.0)
