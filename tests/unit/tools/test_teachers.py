"""Teachers that are not the trunk: what they hand over, and the streams that learn it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import boards
import pytest
import torch
from published import LAYOUTS, write_weights
from torch import Tensor

from edgead.errors import UsageError
from edgead_tools.backbones import sam
from edgead_tools.backbones.efficientnet_lite import tensor_from
from edgead_tools.backbones.teachers import TEACHERS, _renormalized, load_teacher
from edgead_tools.backbones.weights import WEIGHTS, find, load_state
from edgead_tools.export.network import export
from edgead_tools.layers.standardized import standardize
from edgead_tools.methods import create_method, joined
from edgead_tools.methods.stlm.edge import StlmEdge
from edgead_tools.training import loop as train
from edgead_tools.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")

TAUGHT = StlmEdge(teacher="efficientnet-lite2", width=16, code=4, batch=2)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return tensor_from(torch.from_numpy(boards.boards(8)))


def test_every_teacher_has_its_weights_in_the_table() -> None:
    assert set(TEACHERS) <= set(WEIGHTS)


def test_a_teachers_features_are_of_the_trunks_width_and_keep_distances(images: Tensor) -> None:
    state = load_state(find("efficientnet-lite2"))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        wide = load_teacher("efficientnet-lite2", state, lambda: [images], (64, 160), "cpu")
        narrow = load_teacher("efficientnet-lite2", state, lambda: [images], (40, 112), "cpu")
    raw = TEACHERS["efficientnet-lite2"](state, "cpu")(images)
    standard, _ = standardize(lambda: [raw])
    for level, (own, same, fewer) in enumerate(zip(standard(raw), wide(images), narrow(images), strict=True)):
        assert fewer.shape[1] == (40, 112)[level]
        assert own.shape[2:] == same.shape[2:] == fewer.shape[2:]
        torch.testing.assert_close(same.square().sum(1), own.square().sum(1), rtol=1e-3, atol=1e-3)
        assert (fewer.square().sum(1) <= own.square().sum(1) + 1e-3).all()


def test_standardized_features_have_mean_0_and_deviation_1(images: Tensor) -> None:
    pair = images[:, :2] * 3 + 1, images[:, :1, ::2, ::2]
    standard, means = standardize(lambda: [pair])
    for level, mean in zip(standard(pair), means, strict=True):
        torch.testing.assert_close(level.mean((0, 2, 3)), torch.zeros(level.shape[1]), rtol=0, atol=1e-4)
        torch.testing.assert_close(level.std((0, 2, 3), correction=0), torch.ones(level.shape[1]), rtol=1e-3, atol=0)
        torch.testing.assert_close(level.mean(0, keepdim=True), mean, rtol=0, atol=1e-4)


def test_a_student_of_another_teacher_learns_both_streams_and_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "LOG_EVERY", 4)
    monkeypatch.setattr(joined, "gain", lambda after, before: (0.1, 0.01))  # students stay
    data = boards.training_images(6, 2)
    trained = TAUGHT.train(data, Run(tmp_path, steps=31, threads=1))
    assert [entry["name"] for entry in trained.report["weights"]] == ["efficientnet-lite0", "efficientnet-lite2"]
    lines = [json.loads(line) for line in (tmp_path / "denoising.jsonl").read_text().splitlines()]
    for loss in ("plain_fine", "plain_coarse"):
        assert lines[-1][loss] < lines[0][loss]
    names = list(trained.network.state_dict())
    assert any(name.startswith("streams.student") for name in names)
    assert not any("teacher" in name for name in names)
    assert max(export(trained, tmp_path / "model.onnx", data.calibration).errors.values()) <= 1e-4


def test_another_trunk_is_trained_alone(tmp_path: Path) -> None:
    method = replace(TAUGHT, trunk="efficientnet-lite2")  # its own teacher: no student
    assert method.weights == ("efficientnet-lite2",)
    trained = method.train(boards.training_images(6, 2), Run(tmp_path, steps=3, threads=1))
    assert not any("student" in name for name in trained.network.state_dict())


def test_unknown_teachers_and_trunks_are_refused() -> None:
    with pytest.raises(UsageError, match="no teacher is called 'efficientnet-lite3': did you mean"):
        create_method("stlm", "edge", {"teacher": "efficientnet-lite3"})
    with pytest.raises(UsageError, match="trunk"):
        create_method("stlm", "edge", {"trunk": "resnet"})


@pytest.mark.parametrize("teacher", [name for name in TEACHERS if name in LAYOUTS])
def test_a_published_teacher_is_taught_at_an_eighth_and_a_sixteenth(teacher: str, tmp_path: Path) -> None:
    write_weights(tmp_path, [teacher])
    method = replace(TAUGHT, teacher=teacher, head=0.0, memory=0)
    trained = method.train(boards.training_images(3, 1), Run(tmp_path, steps=1, threads=1, weights=tmp_path))
    with torch.inference_mode():
        maps = trained.network(torch.zeros(1, 3, 64, 64))
    assert {name: tuple(tensor.shape) for name, tensor in maps.items()} == {"stacked": (1, 8, 8), "coarse": (1, 4, 4)}


def test_a_teacher_sees_the_image_as_it_wants_it() -> None:
    pixels = torch.randint(0, 256, (1, 4, 4, 3), dtype=torch.uint8)
    found = _renormalized(tensor_from(pixels), sam.SCALE, sam.OFFSET)
    torch.testing.assert_close(found, sam.tensor_from(pixels), rtol=1e-4, atol=1e-4)
