"""Two networks as one graph: the outputs of both, and what both compute alike computed once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from edgead.bundle.input_spec import InputSpec
from edgead.bundle.manifest import FusionSpec, MapSpec
from edgead.errors import GateError
from edgead_tools.export.join import join
from edgead_tools.export.network import export
from edgead_tools.methods import Beside, Trained

SIZE = 64
INPUT = InputSpec(height=SIZE, width=SIZE, scale=(1 / 64,) * 3, offset=(-2.0,) * 3)


class Head(nn.Module):
    """A trunk that all have alike, and one map of it under a name."""

    def __init__(self, name: str, seed: int) -> None:
        super().__init__()
        self.name = name
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.trunk = nn.Sequential(
                nn.Conv2d(3, 24, 4, 4), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 24, 3, 1, 1)
            )
            torch.manual_seed(seed)
            self.head = nn.Conv2d(24, 1, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {self.name: self.head(self.trunk(image)).squeeze(1)}


def trained(name: str, seed: int, beside: Beside | None = None) -> Trained:
    maps = tuple(MapSpec(one) for one in (name, *(beside.outputs if beside else ())))
    fusion = FusionSpec(maps=maps, height=16, width=16)
    return Trained(network=Head(name, seed).eval(), input=INPUT, fusion=fusion, beside=beside, report={})


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)


def run(content: bytes, tensor: np.ndarray) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": tensor}), strict=True))


def operators(content: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_model_from_string(content).graph.node)


def test_both_networks_give_what_they_gave_alone_and_the_trunk_runs_once(images: np.ndarray, tmp_path: Path) -> None:
    other = export(trained("other", 2), tmp_path / "other.onnx", images).path.read_bytes()
    alone = export(trained("own", 1), tmp_path / "own.onnx", images).path.read_bytes()
    report = export(trained("own", 1, Beside(other, ("other",))), tmp_path / "both.onnx", images)
    both = report.path.read_bytes()
    assert report.outputs == {"own": (16, 16), "other": (16, 16)}
    assert report.errors.keys() == {"own", "other"}
    tensor = np.random.default_rng(1).normal(size=(3, 3, SIZE, SIZE)).astype(np.float32)
    found = run(both, tensor)
    np.testing.assert_allclose(found["own"], run(alone, tensor)["own"], atol=1e-5)
    np.testing.assert_allclose(found["other"], run(other, tensor)["other"], atol=1e-5)
    assert np.abs(found["own"] - found["other"]).max() > 0.01
    assert operators(both)["Conv"] == operators(alone)["Conv"] + 1
    assert len(both) < len(alone) + 0.5 * len(other)


def test_what_cannot_be_joined_is_said(images: np.ndarray, tmp_path: Path) -> None:
    other = export(trained("other", 2), tmp_path / "other.onnx", images).path.read_bytes()
    model = onnx.load_model_from_string(other)
    with pytest.raises(GateError, match="the network to join lacks absent"):
        join(model, other, ["absent"])
    with pytest.raises(GateError, match="both networks have an output 'other'"):
        join(model, other, ["other"])
    model.opset_import[0].version = 17
    with pytest.raises(GateError, match="lacks this operator set"):
        join(model, other, ["other"])
