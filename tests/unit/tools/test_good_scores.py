"""Scores of good images: corrected where training shaped the maps they come from, and only there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

from edgead.bundle import Bundle
from edgead.reader import Reader
from edgead_tools.data import Checked, Sample, Split
from edgead_tools.methods import Trained
from edgead_tools.pipeline.good_scores import GoodScores, collect_good_scores
from edgead_tools.pipeline.images import BuildImages
from edgead_tools.pipeline.outliers import outlier_records


class Images(BuildImages):
    """Images of a build whose pixels are the same, whichever are asked for."""

    def rows(self, samples: Sequence[Sample]) -> NDArray[np.uint8]:
        random = np.random.default_rng(0)
        return np.clip(random.normal(51, 3, (len(samples), 32, 32, 3)), 0, 255).astype(np.uint8)


def collect(
    bundle: Bundle,
    untrained: frozenset[str],
    known: float,
    each: int = 1,
    strange: frozenset[int] = frozenset(),
    *,
    given: bool = True,
) -> GoodScores:
    """The scores of 60 images trained on, whose maps lie at `known`, and of 20 others at about 0.2. With `each` above 1
    so many in a row show one part, and those held out the parts of the first. Maps out of fold may not be `given`."""
    random = np.random.default_rng(0)
    maps = random.normal(0.2, 0.01, (70, 8, 8)).astype(np.float32)
    maps[:60] += np.float32(known - 0.2)
    samples = tuple(Sample(Path(f"{index}.png"), f"{index}.png") for index in range(80))
    numbers = tuple(index % 70 // each if each > 1 else index for index in range(80))
    checked = Checked(samples, (), "", parts=numbers)
    parts = Split(samples[:60], samples[60:70], samples[70:])
    images = Images(None, checked, parts, None)  # type: ignore[arg-type]
    trained = Trained(
        network=None, input=bundle.manifest.input, fusion=bundle.manifest.fusion, report={},
        out_of_fold={"distance": maps} if given else {}, untrained=untrained, strange=strange,
    )  # type: ignore[arg-type]  # fmt: skip
    with Reader(bundle, "onnx") as reader:
        return collect_good_scores(reader, trained, images, lambda done, total: None)


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


def test_held_out_images_of_parts_that_are_known_do_not_count(bundle: Bundle) -> None:
    found = collect(bundle, frozenset({"distance"}), known=0.2, each=5)
    assert [sample.name for sample in found.samples] == [f"{index}.png" for index in range(70)]
    assert found.parts == tuple(index // 5 for index in range(70))
    limits = found.thresholds(0.1)
    assert (limits.images, limits.parts) == (70, 14)


def test_held_out_images_of_known_parts_count_where_training_is_corrected_by_them(bundle: Bundle) -> None:
    assert len(collect(bundle, frozenset(), known=0.1, each=5).scores) == 80


def test_strange_images_do_not_count_and_are_told(bundle: Bundle) -> None:
    found = collect(bundle, frozenset({"distance"}), known=0.2, strange=frozenset({4, 61}))
    assert len(found.samples) == len(found.scores) == len(found.maxima) == 78
    assert [sample.name for sample, _ in found.strange] == ["4.png", "61.png"]
    assert found.thresholds(0.1).outliers == 2
    assert {record["image"] for record in outlier_records(found)} == {"4.png", "61.png"}


def test_strange_images_are_told_where_a_method_gives_no_scores_out_of_fold(bundle: Bundle) -> None:
    found = collect(bundle, frozenset(), known=0.1, strange=frozenset({4}), given=False)
    assert len(found.samples) == 10
    assert [record["image"] for record in outlier_records(found)] == ["4.png"]
