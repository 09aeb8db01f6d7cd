"""A bundle as a teacher: its maps in its own calibration, and a head that learns them."""

from __future__ import annotations

import json
from pathlib import Path

import boards
import cv2
import numpy as np
import pytest
import tiny

from edgead import Detector
from edgead_tools.methods import TrainingImages
from edgead_tools.methods.stlm.edge import StlmEdge
from edgead_tools.training import loop as train
from edgead_tools.training.distillation import MapTeacher
from edgead_tools.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

STUDENT = StlmEdge(width=16, code=4, batch=4, head_share=0.5)


def test_maps_are_what_the_detector_would_show(tiny_bundle: Path) -> None:
    images = np.stack([tiny.bad(seed, tiny.SIZE, tiny.SIZE) for seed in range(3)])
    with MapTeacher(tiny_bundle) as teacher, Detector(tiny_bundle) as detector:
        assert teacher.size == (tiny.SIZE, tiny.SIZE)
        maps = teacher.maps(images, tiny.GRID, tiny.GRID)
        assert maps.dtype == np.float32
        for image, found in zip(images, maps, strict=True):
            np.testing.assert_allclose(found, detector(image).grid_map, atol=1e-6)
        halves = teacher.maps(images, tiny.GRID // 2, tiny.GRID // 2)
        expected = maps.reshape(3, tiny.GRID // 2, 2, tiny.GRID // 2, 2).mean((2, 4))
        np.testing.assert_allclose(halves, expected, atol=1e-6)


def test_a_head_learns_the_bundles_map(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "LOG_EVERY", 4)
    small = boards.training_images(6, 2)
    large = np.stack([cv2.resize(image, (96, 96)) for image in small.train])
    images = TrainingImages(small.train, small.calibration, large)
    trained = STUDENT.train(images, Run(tmp_path, steps=40, threads=1, distill_from=tiny_bundle))
    lines = [json.loads(line) for line in (tmp_path / "head.jsonl").read_text().splitlines()]
    assert set(lines[0]) == {"step", "planned", "seconds", "map"}
    assert lines[-1]["map"] < lines[0]["map"]
    with MapTeacher(tiny_bundle) as teacher:
        assert trained.report["distilled_from"] == teacher.provenance()
    assert len(trained.report["distilled_from"]["sha256"]) == 64
