"""STLM as published: options, what each stream is taught, how its parts learn, and the whole at a small size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import boards
import numpy as np
import published
import pytest
import sam_layouts
import torch
from torch import Tensor
from torch.nn import functional

from edgead.errors import UsageError, WeightsError
from edgead.ops import fuse, image_score, to_input
from edgead_tools.backbones.sam import load_mobile_sam, load_sam_vit_h, tensor_from
from edgead_tools.backbones.sam_vit import SamVit
from edgead_tools.backbones.weights import WEIGHTS, find, load_state
from edgead_tools.data.anomalies import Anomalies, ProceduralTextures
from edgead_tools.methods import Trained, create_method
from edgead_tools.methods.stlm import paper as stlm_paper
from edgead_tools.methods.stlm.paper import StlmPaper
from edgead_tools.methods.stlm.sam_streams import SamStreams
from edgead_tools.training.loop import Optimizer, TrainReport
from edgead_tools.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread", "shallow")

VIT = {"channels": 32, "depth": 2, "heads": 2, "every": 2}


@pytest.fixture(scope="module")
def shallow() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        published.make_shallow(patch)
        yield


@pytest.fixture(scope="module")
def weights(shallow: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a MobileSAM and a SAM, both small, under their published names."""
    folder = tmp_path_factory.mktemp("weights")
    published.write_weights(folder, ["mobile-sam"])
    torch.save(sam_layouts.filled(sam_layouts.sam_vit_shapes(**VIT)), folder / WEIGHTS["sam-vit-h"].file)
    return folder


def train(method: StlmPaper, folder: Path, weights: Path, **changes: Any) -> Trained:
    run = Run(folder, threads=1, weights=weights, **({"steps": 2} | changes))
    return method.train(boards.training_images(6, 2), run)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"teecher": "sam-vit-h"}, "did you mean 'teacher'"),
        ({"teacher": "sam"}, "an option of method 'stlm', preset 'paper', cannot be used"),
        ({"encoders": "sam-vit-h"}, "cannot be used"),
        ({"augmentation": "strong"}, "cannot be used"),
        ({"batch": 1}, "batch must be at least 2"),
        ({"rate": 0}, "must be above 0"),
        ({"residual_rate": math.inf}, "must be above 0"),
        ({"segment_rate": -0.1}, "must be above 0"),
        ({"last": 0}, "last must be in"),
        ({"anomaly_rate": 1.5}, "anomaly_rate in"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_by_name(options: dict[str, object], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        create_method("stlm", "paper", options)


def test_its_weights_depend_on_its_teacher() -> None:
    assert create_method("stlm", "paper", {}).weights == ("mobile-sam",)
    assert create_method("stlm", "paper", {"teacher": "sam-vit-h"}).weights == ("mobile-sam", "sam-vit-h")
    assert create_method("stlm", "paper", {"encoders": "random"}).weights == ("mobile-sam",)


def test_its_defaults_are_the_published_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Path
) -> None:
    seen: dict[str, Any] = {}

    def no_fit(parts: Any, step: Any, optimizers: Any, run: Run, **rest: Any) -> TrainReport:
        seen.update(parts=parts, optimizers=optimizers, **rest)
        return TrainReport("streams", 1, 1, 1.0)

    monkeypatch.setattr(stlm_paper, "fit", no_fit)
    trained = train(StlmPaper(), tmp_path, weights)
    adam = Optimizer(5e-4, "adam", weight_decay=0.0, betas=(0.5, 0.999), last=1.0)
    sgd = Optimizer(0.1, "sgd", weight_decay=1e-4, momentum=0.9, last=1.0)
    expected = dict.fromkeys(("plain", "denoising", "decoder"), adam)
    assert seen["optimizers"] == expected | {"residual": sgd, "segment": replace(sgd, rate=0.01)}
    assert seen["steps_per_epoch"] == 3
    trainable = {id(p) for part in seen["parts"].values() for p in part.parameters() if p.requires_grad}
    assert trainable == {id(p) for p in trained.network.parameters()}
    anomalies = Anomalies(ProceduralTextures())
    assert (anomalies.probability, anomalies.beta, anomalies.kinds) == (
        StlmPaper().anomaly_rate,
        (0.0, 0.8),
        ("perlin",),
    )
    assert stlm_paper.TURNS == {"none": (False, 0.0), "slight": (False, 5.0), "rotation": (True, 5.0)}


def test_plain_learns_the_damaged_image_and_denoising_the_whole_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Path
) -> None:
    clean, damaged = boards.boards(4), boards.boards(4)
    masks = np.zeros((4, 64, 64), np.bool_)
    for index in (1, 3):
        masks[index, 16:48, 16:40] = True
        damaged[index][masks[index]] = 255
    monkeypatch.setattr(StlmPaper, "_draw", lambda self, images, anomalies, random: (clean, damaged, masks))
    given: dict[str, Any] = {}
    real = SamStreams.losses

    def losses(self: SamStreams, image: Tensor, plain: Any, denoising: Any, target: Tensor) -> dict[str, Tensor]:
        given.update(image=image, plain=plain, denoising=denoising, target=target)
        return real(self, image, plain, denoising, target)

    monkeypatch.setattr(SamStreams, "losses", losses)
    train(StlmPaper(batch=4), tmp_path, weights, steps=1)
    teacher, _ = load_mobile_sam(load_state(find("mobile-sam", weights)))
    with torch.no_grad():
        of_damaged, of_clean = (teacher(tensor_from(torch.from_numpy(images))) for images in (damaged, clean))
    torch.testing.assert_close(given["image"].contiguous(), tensor_from(torch.from_numpy(damaged)).contiguous())
    for level in range(2):
        torch.testing.assert_close(given["plain"][level], of_damaged[level], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(given["denoising"][level], of_clean[level], rtol=1e-3, atol=1e-4)
        assert not any(given[name][level].requires_grad for name in ("plain", "denoising"))
    assert given["target"].sum((1, 2)).tolist() == [0, 4, 0, 4]


@pytest.mark.parametrize("teacher", ["mobile-sam", "sam-vit-h"])
def test_a_training_without_a_head_gives_the_distance(
    teacher: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Path
) -> None:
    monkeypatch.setattr(stlm_paper, "load_sam_vit_h", partial(load_sam_vit_h, encoder=SamVit(**VIT)))
    trained = train(StlmPaper(teacher=teacher, head=False, encoders="random"), tmp_path, weights)
    assert [part.name for part in trained.fusion.maps] == ["distance"]
    assert set(trained.report["stages"][0]["losses"]) == {"plain", "denoising"}
    names = [entry["name"] for entry in trained.report["weights"]]
    assert names == list(dict.fromkeys(["mobile-sam", teacher]))
    for entry in trained.report["weights"]:
        assert entry["tensors"] > 0
        assert entry["unused"] > 0
    with torch.inference_mode():
        assert trained.network(torch.zeros(1, 3, 64, 64))["distance"].shape == (1, 4, 4)


def test_a_teacher_that_is_not_there_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Path
) -> None:
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="edgead weights get mobile-sam"):
        train(StlmPaper(), tmp_path, tmp_path)


def test_the_same_seed_gives_the_same_network(tmp_path: Path, weights: Path) -> None:
    one, again, other = (
        train(StlmPaper(), tmp_path / str(index), weights, seed=seed).network.state_dict()
        for index, seed in enumerate((0, 0, 1))
    )
    assert all(torch.equal(one[name], again[name]) for name in one)
    for name in ("plain.neck.0.weight", "denoising.neck.0.weight", "decoder.no_mask", "head.segment.5.bias"):
        assert not torch.equal(one[name], other[name])
    assert not torch.equal(one["plain.neck.0.weight"], one["denoising.neck.0.weight"])


def test_the_score_is_the_mean_of_the_hundred_largest_pixels() -> None:
    spec = StlmPaper()._fusion(64, 96)
    small = np.random.default_rng(0).random((4, 6)).astype(np.float32)
    large = functional.interpolate(torch.from_numpy(small)[None, None], (64, 96), mode="bilinear")[0, 0]
    expected = sorted(large.flatten().tolist())[-100:]
    fused = fuse({"segmentation": small}, spec)
    np.testing.assert_allclose(fused, large.numpy(), atol=1e-5)
    assert image_score(fused, spec) == pytest.approx(sum(expected) / 100, abs=1e-5)


def test_the_manifests_input_is_what_the_network_was_trained_on(tmp_path: Path, weights: Path) -> None:
    trained = train(StlmPaper(head=False), tmp_path, weights, steps=1)
    image = boards.board(3)
    found = to_input(image, trained.input)[::-1]  # the graph's BGR
    np.testing.assert_allclose(found, tensor_from(torch.from_numpy(image[None]))[0].numpy(), atol=1e-5)
