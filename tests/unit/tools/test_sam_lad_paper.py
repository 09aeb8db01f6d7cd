"""The published form: objects are a foundation model's masks, which a workstation lends and a device lacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import object_scenes
import published
import pytest
from object_scenes import SIDE, draw, good, usual

from edgead.bundle import ProposalSpec
from edgead.bundle.draft import BundleDraft, DraftNetwork, DraftSpec
from edgead.engines.onnx import OnnxEngine
from edgead.errors import EngineError, UsageError, WeightsError
from edgead.ops.everything import Finder, find_finder, lend
from edgead.ops.proposals import find_pieces
from edgead.types import ImageU8, Mask
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.components.lent_sam import sam_lender
from edgead_tools.export.network import export
from edgead_tools.methods import Trained, TrainingImages, create_method
from edgead_tools.methods.sam_lad import paper
from edgead_tools.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def bright_pieces(spec: ProposalSpec) -> Finder:
    """What stands in for SAM: everything that is bright, and each shape twice."""

    def found(image: ImageU8) -> list[Mask]:
        pieces = find_pieces([np.asarray(image).max(axis=2) > 50], 0.001)
        return [*pieces, *pieces, np.ones(image.shape[:2], np.bool_)]

    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trained, Path]]:
    folder = tmp_path_factory.mktemp("published")
    images = np.stack([good(seed) for seed in range(12)])
    method = create_method("sam_lad", "paper", {"bank_cells": 18, "box": 3, "upsample": 2})  # 8 takes a CPU longer
    with pytest.MonkeyPatch.context() as patch:
        published.make_shallow(patch)
        published.write_weights(folder, method.weights)
        patch.setattr(paper, "sam_lender", lambda *_: bright_pieces)
        made = method.train(TrainingImages(images[:9], images[9:]), Run(folder, budget=0, threads=1, weights=folder))
        yield made, export(made, folder / "model.onnx", images[:2]).path


def test_it_is_the_published_forms_choices(trained: tuple[Trained, Path]) -> None:
    made, _ = trained
    spec = made.fusion.matching
    assert spec is not None
    assert (spec.neighbors, spec.measure, spec.match, spec.descriptor) == (2, "literal", "sinkhorn", "gated")
    assert (spec.proposals.source, spec.proposals.points) == ("mobile-sam", 32)
    assert spec.proposals.count == 5  # the four shapes and, as in the paper, what they lie on
    assert (spec.height, spec.width) == (2 * (SIDE // 14), 2 * (SIDE // 14))
    assert create_method("sam_lad", "paper", {}).upsample == 8  # type: ignore[attr-defined]
    assert spec.sigma == pytest.approx(4 * SIDE / 224 / 2)
    assert made.fusion.score.top == 1
    assert {one["name"] for one in made.report["weights"]} == {"dinov2-vits14", "featup-dinov2", "mobile-sam"}


def test_a_workstation_names_what_is_wrong_and_a_device_refuses(trained: tuple[Trained, Path]) -> None:
    made, path = trained
    draft = DraftSpec("scenes", "sam_lad", made.input, made.fusion, DraftNetwork("model.onnx"))
    bundle = BundleDraft(draft, {"model.onnx": path.read_bytes(), **made.members}, {})
    with pytest.raises(EngineError, match=r"masks of mobile-sam, which a workstation alone can find.*--preset edge"):
        OnnxEngine(bundle, threads=1)
    random = np.random.default_rng(60)
    lacking = [shape for shape in usual(random) if shape[0] != "blue"]
    with lend(bright_pieces):
        engine = OnnxEngine(bundle, threads=1)
    said, maps = [], []
    for shapes in (usual(random), lacking):
        (reading,) = engine.infer([draw(shapes, random)])
        assert reading.branches is not None
        said.append({found.change for found in reading.branches.objects})
        maps.append(reading.anomaly_map)
    assert said[0] == set()
    assert "missing" in said[1]  # and what all lies on may have changed
    x, y = object_scenes.PLACES["blue"]
    there = [one[y // 2 - 6 : y // 2 + 7, x // 2 - 6 : x // 2 + 7].max() for one in maps]
    assert there[1] > 0.95 * maps[1].max()  # what all lies on may be as strange
    assert there[1] > 2 * there[0]


def test_outside_of_the_loan_nothing_is_lent() -> None:
    spec = ProposalSpec(source="sam-vit-h", count=1, smallest=0.0, largest=1.0)
    with lend(bright_pieces):
        pass
    with pytest.raises(EngineError, match="masks of sam-vit-h"):
        find_finder(spec)


def test_the_workstations_sam_is_loaded_once_and_asked_as_the_bundle_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.make_shallow(monkeypatch)
    published.write_weights(tmp_path, ("mobile-sam",))
    loaded = []
    monkeypatch.setattr(
        "edgead_tools.components.lent_sam.load_state", lambda file: loaded.append(file.name) or load_state(file)
    )
    lender = sam_lender(tmp_path)
    every = ProposalSpec(
        source="mobile-sam", count=1, smallest=0.0, largest=1.0, points=2, side=64, rated=-1e9, stable=0.0
    )
    surest = ProposalSpec(source="mobile-sam", count=1, smallest=0.0, largest=1.0, points=2, side=64, rated=1e9)
    image = good(0)
    masks = lender(every)(image)
    assert masks
    assert {mask.shape for mask in masks} == {(SIDE, SIDE)}
    assert lender(surest)(image) == []
    assert loaded == ["mobile-sam"]


def test_options_and_weights_that_cannot_be_used_are_said(tmp_path: Path) -> None:
    for options, sentence in (
        ({"points": 0}, "0 points at 1024 pixels lie outside"),
        ({"bank_cells": 0}, "bank_cells is a number of cells"),
        ({"masks": "sam"}, "'masks' is one of mobile-sam, sam-vit-h, not 'sam'"),
    ):
        with pytest.raises(UsageError, match=sentence):
            create_method("sam_lad", "paper", options)
    with pytest.raises(WeightsError, match="edgead weights get dinov2-vits14"):
        find("dinov2-vits14", tmp_path)
