"""The demonstration: the images are laid out as documented, and the whole of it keeps what the README says."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgead.bundle.store import Bundle
from edgead_tools.data import open_dataset
from edgead_tools.pipeline.demo import lay_out, run_demo
from edgead_tools.training.progress import Reporter


def test_the_solar_cells_are_split_as_the_peers_were_measured(tmp_path: Path) -> None:
    dataset = open_dataset(lay_out(tmp_path / "data"))
    good = sum(sample.is_good for sample in dataset.test)
    assert (len(dataset.train), good, len(dataset.test) - good) == (470, 118, 313)
    names = {sample.path.name for sample in dataset.train}
    assert not names & {sample.path.name for sample in dataset.test}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demonstration_reaches_its_figures(tmp_path: Path) -> None:
    built, page = run_demo(tmp_path, Reporter(), budget="8m")
    assert built.evaluation is not None
    assert built.evaluation.image_auroc is not None
    assert built.evaluation.image_auroc >= 0.90
    assert built.bundle.manifest.provenance["training"]["seconds"] <= 8 * 60 * 1.15
    assert page.read_text().count("data:image/jpeg;base64,") >= 16
    assert Bundle.open(tmp_path / "solar-cells.edgead").digest == built.bundle.digest
