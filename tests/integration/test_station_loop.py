"""Once around the loop at a station, from a saved frame to a promoted bundle and back: `benchmarks/station_loop.py`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import tiny

from edgead import BuildConfig

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "tiny_method")]
SIDE = 96


def load() -> ModuleType:
    """The benchmark as a module: it is a script, in no package."""
    path = Path(__file__).parents[2] / "benchmarks/station_loop.py"
    spec = importlib.util.spec_from_file_location("benchmark_station_loop", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def draw(folder: Path) -> Path:
    """A data set: a third of the good parts are light ones, of which few are among the first."""
    for place, make, count in (("train/good", tiny.good, 80), ("test/spot", tiny.bad, 20)):
        (folder / place).mkdir(parents=True)
        for number in range(count):
            image = make(number, SIDE, SIDE)
            if number % 3 == 0:
                image = np.asarray(np.minimum(image.astype(int) + 25, 255), np.uint8)
            cv2.imwrite(str(folder / place / f"{number}.png"), image)
    return folder


def test_once_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    module = load()
    folder = tmp_path / "loop"
    folder.mkdir()
    settings = BuildConfig(method="tiny", steps=2, size=SIDE, seed=1)
    told = module.measure(draw(tmp_path / "data"), settings, folder)
    assert told["review"]["labels"] == 20 + 10
    rows = {row[0]: row[1:] for row in told["rebuild"]}
    assert set(rows) == {"false alarms", "found: defect"}
    assert rows["found: defect"][1] == "10 of 10"
    old, new = told["unseen"]["old"], told["unseen"]["new"]
    assert (new["good"], new["defective"], new["found"]) == (20, 10, 10)
    assert new["false_alarms"] <= old["false_alarms"]
    assert told["shadow"]["judged"] == 30
    assert told["shadow"]["left_out"] == 0
    assert 0 <= told["shadow"]["agreed"] <= 30
    assert told["station"]["frames_missed"] == 0
    assert told["station"]["verdicts"] > 2
