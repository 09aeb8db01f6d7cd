"""AST-MFR as published: the printed costs, the smoothing, options that are checked, a student from scratch."""

from __future__ import annotations

import shutil
from pathlib import Path

import boards
import numpy as np
import published
import pytest
import quantized
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from edgead.bundle import FusionSpec, MapSpec
from edgead.errors import UsageError
from edgead.ops import fuse, to_input
from edgead_tools.backbones.resnet import OUTPUTS, ResNet
from edgead_tools.export.network import export
from edgead_tools.methods import create_method
from edgead_tools.methods.ast_mfr.feature_regeneration import Regeneration, StudentTeacher
from edgead_tools.methods.ast_mfr.paper import SIGMA, STUDENT, TEACHER, AstMfrPaper
from edgead_tools.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def cost(network: nn.Module) -> float:
    """Multiply-adds of convolutions at 256 pixels, in units of 1e9."""
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, 3, 256, 256))
    return counter.get_total_flops() / 2e9


def parameters(*parts: nn.Module) -> int:
    return sum(parameter.numel() for part in parts for parameter in part.parameters())


def test_parameters_and_multiply_adds_are_the_printed_ones() -> None:
    with torch.device("meta"):
        regenerations = [Regeneration(channels, channels, 0.3) for channels in OUTPUTS]
        network = StudentTeacher(ResNet(TEACHER), ResNet(STUDENT), regenerations).eval()
    assert parameters(network.regenerations) == 24_776_192
    assert parameters(network.student, network.regenerations) == 33_211_200  # the paper prints 33.2 M
    assert parameters(network) == 58_073_728
    whole, teacher = cost(network), cost(network.teacher)
    assert whole - teacher == pytest.approx(18.89, abs=0.005)  # the paper prints 18.9 G
    assert whole == pytest.approx(30.89, abs=0.005)


def published_smoothing(stages: list[Tensor]) -> NDArray[np.float32]:
    """Section 7 step by step, for one image, with replicated borders: upsample, add, a Gaussian of 33 taps, a mean."""
    summed = torch.zeros(256, 256)
    for stage in stages:
        summed += functional.interpolate(stage[None, None], (256, 256), mode="bilinear", align_corners=False)[0, 0]
    taps = torch.exp(-0.5 * (torch.arange(-16, 17) / 4.0) ** 2)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2
    smooth = functional.conv2d(functional.pad(summed[None, None], (16,) * 4, mode="replicate"), kernel[None, None])
    return functional.avg_pool2d(functional.pad(smooth, (2,) * 4, mode="replicate"), 5, 1)[0, 0].numpy()


@pytest.mark.parametrize("kind", ["noise", "one cell", "a line"])
def test_one_gaussian_stands_for_both_smoothings(kind: str) -> None:
    random = torch.Generator().manual_seed(0)
    stages = [torch.zeros(side, side) for side in (64, 32, 16)]
    if kind == "noise":
        stages = [torch.rand(stage.shape, generator=random) for stage in stages]
    elif kind == "one cell":
        stages[0][20, 30] = 1.0
    elif kind == "a line":
        for stage in stages:
            stage[len(stage) // 2] = 1.0
    maps = tuple(MapSpec(name=f"stage{n}") for n in (1, 2, 3))
    spec = FusionSpec(maps=maps, height=256, width=256, sigma=SIGMA)
    found = fuse({f"stage{n}": stage.numpy() for n, stage in enumerate(stages, 1)}, spec)
    expected = published_smoothing(stages)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.01 * expected.max())
    assert found.max() == pytest.approx(expected.max(), rel=0.01)


@pytest.mark.parametrize("options", [{"mask_rate": 1.0}, {"mask_rate": -0.1}, {"rate": 0}, {"batch": 0}])
def test_an_option_that_cannot_be_used_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="mask_rate must lie in"):
        create_method("ast_mfr", "paper", options)


def test_the_weights_depend_on_the_student() -> None:
    assert AstMfrPaper().weights == ("wide-resnet50-2", "resnext50-32x4d")
    assert AstMfrPaper(pretrained=False).weights == ("wide-resnet50-2",)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"regenerated": [4]}, "stages 1, 2 and 3 once at most"),
        ({"regenerated": [1, 1]}, "stages 1, 2 and 3 once at most"),
        ({"student": "wide-resnet50-2", "regenerated": []}, "has nothing to learn where nothing is regenerated"),
        ({"student": "resnet50"}, "'student' is one of wide-resnet50-2, resnext50-32x4d"),
    ],
)
def test_an_ablation_that_cannot_be_made_is_refused(options: dict[str, object], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        create_method("ast_mfr", "paper", options)


def test_the_switches_of_the_ablations_change_the_network() -> None:
    method = create_method(
        "ast_mfr", "paper", {"student": "wide-resnet50-2", "pretrained": False, "regenerated": [2], "batch": 1}
    )
    assert method.weights == ("wide-resnet50-2",)
    assert isinstance(method, AstMfrPaper)
    first, second, third = method.regenerations()
    assert isinstance(second, Regeneration)
    assert parameters(first, third) == 0
    symmetric = AstMfrPaper(student="wide-resnet50-2")
    assert symmetric.weights == ("wide-resnet50-2",)
    with torch.device("meta"):
        network = StudentTeacher(ResNet(symmetric.teacher), ResNet(symmetric.student), symmetric.regenerations()).eval()
    assert parameters(network.student, network.regenerations) == 49_638_720  # the paper prints 49.6 M
    assert cost(network) - cost(network.teacher) == pytest.approx(26.49, abs=0.005)


@pytest.mark.slow
def test_a_student_from_scratch_needs_the_teachers_weights_alone(tmp_path: Path) -> None:
    method = AstMfrPaper(pretrained=False, batch=2, mask_rate=0.5)
    published.write_weights(tmp_path, method.weights)
    trained = method.train(boards.training_images(2, 1, 32), Run(tmp_path, steps=1, threads=1, weights=tmp_path))
    assert [entry["name"] for entry in trained.report["weights"]] == ["wide-resnet50-2"]
    network = trained.network
    assert isinstance(network, StudentTeacher)
    assert [part.mask_rate for part in network.regenerations] == [0.5] * 3
    assert parameters(network) == 58_073_728
    (tmp_path / "train.pt").unlink()


@pytest.mark.slow
def test_an_int8_network_runs_and_orders_cells_alike(tmp_path: Path) -> None:
    method, images = AstMfrPaper(batch=2), boards.boards(12, 64, 50)
    published.write_weights(tmp_path, method.weights)
    trained = method.train(boards.training_images(8, 2), Run(tmp_path, steps=10, threads=1, weights=tmp_path))
    export(trained, tmp_path / "fp32.onnx", images[:1])
    inputs = np.stack([to_input(image, trained.input) for image in images])
    exact, coarse = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    assert quantized.quantize(exact, coarse, inputs[:8]) == 43 + 43 + 6
    for name, correlation in quantized.correlations(exact, coarse, inputs[8:]).items():
        assert correlation > 0.9, name
    shutil.rmtree(tmp_path)
