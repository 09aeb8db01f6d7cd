"""The demonstration: the images are laid out as documented, and the whole of it keeps what the README says."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgead.bundle.store import Bundle
from edgead.progress import Reporter
from edgead_tools.data import open_dataset
from edgead_tools.pipeline.demo import _what_is_left, lay_out, run_demo


def test_the_solar_cells_are_split_as_the_peers_were_measured(tmp_path: Path) -> None:
    dataset = open_dataset(lay_out(tmp_path / "data"))
    good = sum(sample.is_good for sample in dataset.test)
    assert (len(dataset.train), good, len(dataset.test) - good) == (470, 118, 313)
    names = {sample.path.name for sample in dataset.train}
    assert not names & {sample.path.name for sample in dataset.test}


def test_the_training_gets_what_is_left_of_two_minutes() -> None:
    assert _what_is_left(25.0) == "32s"
    assert _what_is_left(40.0) == ""  # not worth it


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demonstration_reaches_its_figures(tmp_path: Path) -> None:
    shown = run_demo(tmp_path, Reporter(), steps=20)
    memory, trained = shown.memory, shown.built
    assert memory.evaluation is not None
    assert memory.evaluation.image_auroc is not None
    assert memory.evaluation.image_auroc >= 0.955
    assert memory.bundle.manifest.provenance["training"]["steps"] == 0
    assert trained.evaluation is not None
    assert trained.evaluation.image_auroc is not None
    assert trained.evaluation.image_auroc >= 0.95
    assert shown.page.read_text().count("data:image/jpeg;base64,") >= 16
    assert Bundle.open(tmp_path / "solar-cells.edgead").digest == trained.bundle.digest
    assert Bundle.open(tmp_path / "solar-cells-memory.edgead").digest == memory.bundle.digest
