"""AST-MFR, edge preset: options that are checked, a training that repeats, losses that fall, a graph that quantizes."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boards
import numpy as np
import onnxruntime as ort
import pytest
import quantized
import torch

from edgead.errors import UsageError
from edgead.ops import to_input
from edgead_tools.export.network import export
from edgead_tools.methods import Trained, create_method
from edgead_tools.methods.ast_mfr.edge import AstMfrEdge
from edgead_tools.training import loop as train
from edgead_tools.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = AstMfrEdge(width=8, batch=4, memory=0)  # the student alone; `test_memory` has what stands beside it
STEPS = 30


def fit(method: AstMfrEdge, folder: Path, **changes: Any) -> Trained:
    return method.train(boards.training_images(6, 2), Run(folder, threads=1, **changes))


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trained, Path]]:
    """Trained with losses logged every ten steps."""
    folder = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "LOG_EVERY", 10)
        yield fit(SMALL, folder, steps=STEPS), folder


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"widht": 64}, "no option 'widht': did you mean 'width'"),
        ({"width": 4}, "width must be at least 8"),
        ({"batch": 1}, "batch at least 2"),
        ({"mask_rate": 1.0}, "mask_rate must lie in"),
        ({"softness": -1}, "softness must be at least 0"),
        ({"top": 0}, "top must lie in"),
        ({"rate": 0}, "rate and passes must be above 0"),
        ({"passes": 0}, "rate and passes must be above 0"),
        ({"rotation": 181}, "rotation in"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_by_name(options: dict[str, object], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        create_method("ast_mfr", "edge", options)


def test_options_come_as_text_from_the_command_line() -> None:
    options = {"flips": "true", "top": "0.02", "mask_rate": "0.5"}
    assert create_method("ast_mfr", "edge", options) == AstMfrEdge(flips=True, top=0.02, mask_rate=0.5)


@pytest.mark.parametrize("loss", ["fine_cos", "fine_l2", "coarse_cos", "coarse_l2"])
def test_every_loss_falls(logged: tuple[Trained, Path], loss: str) -> None:
    lines = [json.loads(line) for line in (logged[1] / "train.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    assert lines[-1][loss] < 0.9 * lines[0][loss]


def test_the_fusion_is_a_mean_of_the_maps(logged: tuple[Trained, Path]) -> None:
    fusion = logged[0].fusion
    assert [(part.name, part.weight) for part in fusion.maps] == [("stacked", 0.5), ("coarse", 0.5)]
    assert (fusion.height, fusion.width, fusion.score.top) == (8, 8, 1)


def test_a_budget_passes_over_few_images_no_more_often_than_said(tmp_path: Path) -> None:
    short = dataclasses.replace(SMALL, passes=4.5)
    assert fit(short, tmp_path, budget=600.0).report["steps"] == math.ceil(4.5 * 6 / 4)


def test_the_same_seed_gives_the_same_network_and_another_another(tmp_path: Path) -> None:
    runs = {"first": 0, "again": 0, "other": 1}
    states = []
    for name, seed in runs.items():
        torch.manual_seed(len(name))  # nothing outside may matter
        states.append(fit(SMALL, tmp_path / name, steps=2, seed=seed).network.state_dict())
    first, again, other = states
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    for name in ("pair.student.stages.0.0.first.conv.weight", "pair.regenerations.1.first.weight", "coarse.usual"):
        assert not torch.equal(first[name], other[name])
    assert all(torch.equal(tensor, other[name]) for name, tensor in first.items() if name.startswith("pair.taps"))


def test_softness_0_learns_directions(tmp_path: Path) -> None:
    pair = fit(dataclasses.replace(SMALL, softness=0.0), tmp_path, steps=2).network.pair
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 0.5
    with torch.no_grad():
        losses = pair.losses(image)
    for level in ("fine", "coarse"):  # squared lengths of one difference of directions, but for the shortest vectors
        assert losses[f"{level}_l2"].item() == pytest.approx(2 * losses[f"{level}_cos"].item(), rel=0.1)


def test_masking_is_what_the_option_says_and_off_at_rest(logged: tuple[Trained, Path]) -> None:
    regenerations = logged[0].network.pair.regenerations
    assert [part.mask_rate for part in regenerations] == [0.3] * 2
    assert not any(part.training for part in regenerations)


@pytest.fixture(scope="module")
def exported(logged: tuple[Trained, Path]) -> Path:
    export(logged[0], logged[1] / "fp32.onnx", boards.boards(1))
    return logged[1]


@pytest.mark.parametrize(
    ("kept", "convolutions", "least"),
    [
        (("trunk",), 10 + 4, 0.95),  # student and regenerations: half of the multiply-adds
        ((), 33 + 10 + 4, 0.5),  # the teacher's rounding is of the size of its differences on good parts
    ],
    ids=["without the trunk", "all but whitening"],
)
def test_an_int8_network_runs_and_orders_cells_alike(
    logged: tuple[Trained, Path], exported: Path, tmp_path: Path, kept: tuple[str, ...], convolutions: int, least: float
) -> None:
    """Whitening stays in FP32: ranges from good images could not hold what a defect makes of a difference."""
    images = [*boards.boards(12, 64, 50), *(boards.board(90 + seed, 64, scratched=True) for seed in range(4))]
    inputs = np.stack([to_input(image, logged[0].input) for image in images])
    exact, coarse = exported / "fp32.onnx", tmp_path / "int8.onnx"
    assert quantized.quantize(exact, coarse, inputs[:8], kept) == convolutions
    for name, correlation in quantized.correlations(exact, coarse, inputs[8:]).items():
        assert correlation > least, name
    session = ort.InferenceSession(tmp_path / "int8.onnx", providers=["CPUExecutionProvider"])
    assert {output.name for output in session.get_outputs()} == {"stacked", "coarse"}
