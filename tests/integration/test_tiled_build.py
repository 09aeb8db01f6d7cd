"""A build of large frames with small defects: which input is found out, and the bundle judges frames in tiles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from surfaces import draw_surface, write_surfaces

from edgead import Bundle, Detector
from edgead.config import BuildConfig
from edgead.errors import UsageError
from edgead.progress import OnProgress, Reporter
from edgead.verify import verify
from edgead_calibration.refit import refit_rate
from edgead_tools.data.defects import plant_defect
from edgead_tools.pipeline.build import build

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = (300, 400)
PIXELS = 12.0  # a defect's size


class Said(Reporter):
    """Keeps what a build says, and its stages."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    @contextmanager
    def stage(self, name: str) -> Iterator[OnProgress]:
        self.lines.append(name)
        yield lambda done, total: None


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("surfaces")
    write_surfaces(root, {"train": 24}, SIZE)
    return root


def config(data: Path, out: Path, **changes: object) -> BuildConfig:
    values = {"data": str(data), "out": str(out), "budget": "0", "size": 64, "threads": 1} | changes
    return BuildConfig(**values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def said() -> Said:
    return Said()


@pytest.fixture(scope="module")
def tiled(data: Path, said: Said, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    out = tmp_path_factory.mktemp("tiled") / "tiled.edgead"
    return build(config(data, out, tiles="auto", options={"memory": 256}), said).bundle


def test_a_survey_chooses_tiles_and_says_what_each_input_finds(tiled: Bundle, said: Said) -> None:
    tiles, survey = tiled.manifest.input.tiles, tiled.manifest.provenance["survey"]
    assert tiles is not None
    assert survey["chosen"] == [tiles.rows, tiles.columns]
    found = {one["columns"] * one["rows"]: one for one in survey["inputs"]}
    assert found[tiles.count]["found"] > found[1]["found"]
    assert "fitting the memory of stlm" in said.lines  # without a budget nothing is trained
    assert any(line.startswith("whole frames, shrunk 6.2-fold: ") for line in said.lines)
    assert any(f"{tiles.columns}x{tiles.rows} tiles, shrunk" in line for line in said.lines)


def test_the_bundle_finds_small_defects_and_draws_them_where_they_are(tiled: Bundle) -> None:
    random, found = np.random.default_rng(5), 0
    with Detector(tiled, engine="onnx") as detector:
        for _ in range(8):
            good = draw_surface(random, *SIZE)
            spoiled, _ = plant_defect(good, "spot", PIXELS, 70.0, random)
            place = np.argwhere(np.abs(spoiled.astype(int) - good).max(2) > 20).mean(0)
            result = detector(spoiled)
            boxes = [(r.y, r.x, r.y + r.height, r.x + r.width) for r in result.regions]
            inside = any(t <= place[0] <= b and le <= place[1] <= r for t, le, b, r in boxes)
            found += result.is_anomalous and inside
        assert all(check.passed for check in verify(tiled, detector))
    assert found >= 6


def test_thresholds_rest_on_all_frames_and_can_be_refitted(tiled: Bundle) -> None:
    artifact = tiled.manifest.artifact("fp32")
    assert len(artifact.good_scores) == 24
    assert refit_rate(tiled, 0.2).artifact("fp32").thresholds.image < artifact.thresholds.image
    detection = tiled.manifest.detection
    assert detection is not None
    assert min(one.size for one in detection.planted) < 0.008  # of the frame: tiles find smaller ones


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "csad", "tiles": "2x2"}, "counts the components of whole frames"),
        ({"tiles": "auto", "options": {"memory": 0}, "budget": "", "steps": 4}, "give a grid"),
        ({"tiles": "3x3", "tile_overlap": 64}, "at most half of a tile"),
    ],
)
def test_what_goes_with_no_tiles_is_said_at_once(
    changes: dict[str, object], words: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=words):
        build(config(data, tmp_path / "none.edgead", **changes), Reporter())
