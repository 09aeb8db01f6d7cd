"""From a folder with a few hand-drawn label maps to a bundle that tells components; and the page of those it found."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import trays

from edgead import Detector
from edgead.config import BuildConfig
from edgead.errors import UsageError
from edgead.progress import ConsoleReporter
from edgead_tools.commands import components
from edgead_tools.methods import create_method
from edgead_tools.pipeline.build import build

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 128
NAMES = tuple(trays.DRAW)


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen good trays, five of them with label maps."""
    folder = tmp_path_factory.mktemp("kits")
    random = np.random.default_rng(0)
    (folder / "components").mkdir()
    for index in range(16):
        items = trays.good(random)
        cv2.imwrite(str(folder / f"{index:02d}.png"), trays.draw(items, random, SIDE))
        if index < 5:
            cv2.imwrite(str(folder / f"components/{index:02d}.png"), trays.labels(items, SIDE))
    (folder / "components/names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    return folder


def test_drawn_components_become_a_bundle_that_tells_them(kits: Path, tmp_path: Path) -> None:
    config = BuildConfig(method="csad", data=str(kits), size=64, steps=7, threads=1, out=str(tmp_path / "kits.edgead"))
    built = build(config, ConsoleReporter())
    card = built.bundle.manifest.provenance["training"]
    assert card["steps"] == 7
    assert 1 <= card["components"]["labeled"] <= 5
    spec = built.bundle.manifest.fusion.components
    assert spec is not None
    assert spec.names == ("background", *NAMES)
    with Detector(tmp_path / "kits.edgead", threads=1) as detector:
        result = detector(trays.draw(trays.missing(np.random.default_rng(5)), np.random.default_rng(6), SIDE))
    assert result.branches is not None
    assert result.raw_score == pytest.approx(result.branches.logical + result.branches.structural)
    assert result.branches.labels.shape == (32, 32)
    assert {one.component for one in result.branches.deviations} <= set(NAMES)


def test_a_mask_cannot_be_given_too(kits: Path, tmp_path: Path) -> None:
    config = BuildConfig(method="csad", data=str(kits), mask="mask.png", out=str(tmp_path / "kits.edgead"))
    with pytest.raises(UsageError, match="takes no mask"):
        build(config, ConsoleReporter())


def test_the_page_shows_what_was_drawn(kits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    components(kits, tmp_path / "page.html", size="64")
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == ["background", *NAMES, "page:"]
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert all(f"<td>{name}</td>" in page for name in NAMES)
    assert page.count("<img") > 5
    assert "default-src 'none'" in page  # it asks nobody for anything
    assert "://" not in page


def test_the_page_is_refused_where_it_would_overwrite(kits: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    with pytest.raises(UsageError, match=r"ends in \.html"):
        components(kits, notes)
    assert notes.read_text() == "mine"
    with pytest.raises(UsageError, match="multiple of 32"):
        components(kits, tmp_path / "page.html", size="65")


@pytest.mark.parametrize(
    ("preset", "options"),
    [("edge", {"width": 4}), ("edge", {"top": 0}), ("edge", {"rotation": 200}), ("paper", {"batch": 0})],
)
def test_impossible_options_are_refused(preset: str, options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        create_method("csad", preset, options)
