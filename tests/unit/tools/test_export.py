"""Export: one clean graph, the same maps as torch in every batch, the same bytes every time."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional

from edgead.bundle.input_spec import InputSpec
from edgead.bundle.manifest import FusionSpec, MapSpec
from edgead.errors import GateError
from edgead.ops.resize import to_input
from edgead_tools.backbones.efficientnet_lite import OFFSET, SCALE, load_efficientnet_lite
from edgead_tools.backbones.weights import find, load_state
from edgead_tools.export import network as export_module
from edgead_tools.export.graph import FLIP, _scale, check_operators, finish
from edgead_tools.export.network import export, largest_difference
from edgead_tools.methods import Trained

SIZE = 64


class Compared(nn.Module):
    """A trunk whose taps are resized, normalized, compared and segmented: every kind of layer a method uses."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = load_efficientnet_lite(load_state(find("efficientnet-lite0")), taps=(2, 4))
        self.head = nn.Sequential(nn.Conv2d(64, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.last = nn.Conv2d(8, 1, 1)
        self.layer_norm = nn.LayerNorm(24)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        fine, coarse = self.trunk(image).values()
        resized = [functional.interpolate(tap, fine.shape[2:], mode="bilinear") for tap in (fine, coarse)]
        unit = fine * torch.rsqrt(fine.square().sum(1, keepdim=True).clamp_min(1e-6))
        segmented = self.last(self.head(torch.cat(resized, 1)))
        normed = self.layer_norm(fine.permute(0, 2, 3, 1)).square().mean(3)
        return {"segmented": segmented.squeeze(1), "distance": 0.5 * (unit - normed[:, None]).square().sum(1)}


class Plain(nn.Module):
    """The smallest network; `body` is what it does to the image."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        if self.kind == "mean":  # no convolution can take the channel order
            return {"map": (image * torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1)).sum(1)}
        if self.kind == "twice":  # the first weights are read again, in their own order
            return {"map": self.conv(image).sum(1) + functional.conv2d(image.flip(1) * 2.0, self.conv.weight).sum(1)}
        if self.kind == "sorted":
            return {"map": self.conv(image).topk(2, dim=1).values.sum(1)}
        if self.kind == "global":  # a row that depends on the others in its batch
            return {"map": self.conv(image).mean(1) - image.mean()}
        if self.kind == "nan":
            return {"map": torch.log(-self.conv(image).square().sum(1) - 1)}
        return {"map": self.conv(image).sum(1)}


def trained(network: nn.Module, *names: str) -> Trained:
    scale = (SCALE, 2 * SCALE, 3 * SCALE) if isinstance(network, Plain) else (SCALE,) * 3  # B, G, R differ
    spec = InputSpec(height=SIZE, width=SIZE, scale=scale, offset=(OFFSET,) * 3)
    fusion = FusionSpec(maps=tuple(MapSpec(name=name) for name in names), height=16, width=16)
    return Trained(network.eval(), spec, fusion, {})


def pictures(count: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[export_module.ExportReport, onnx.ModelProto]:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    report = export(trained(Compared(), "distance", "segmented"), path, pictures())
    return report, onnx.load(path)


def test_the_graph_keeps_the_contract(exported: tuple[export_module.ExportReport, onnx.ModelProto]) -> None:
    report, model = exported
    (image,) = model.graph.input
    dims = [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim]
    assert (image.name, dims) == ("image", ["batch", 3, SIZE, SIZE])
    assert report.outputs == {"distance": (16, 16), "segmented": (16, 16)}
    for output in model.graph.output:
        dims = [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim]
        assert (output.type.tensor_type.elem_type, dims) == (TensorProto.FLOAT, ["batch", 16, 16])
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert report.sha256 == hashlib.sha256(report.path.read_bytes()).hexdigest()
    assert max(report.errors.values()) < 1e-4
    assert json.loads(json.dumps(report.provenance()))["outputs"]["distance"] == [16, 16]


def test_the_graph_is_lean(exported: tuple[export_module.ExportReport, onnx.ModelProto]) -> None:
    kinds = [node.op_type for node in exported[1].graph.node]
    for folded in ("BatchNormalization", "Pad", "Gather", "Shape", "Identity", "Cast"):
        assert folded not in kinds
    assert kinds.count("Resize") == 1  # the resize to its own size is gone
    assert kinds.count("LayerNormalization") == 1
    stem = next(node for node in exported[1].graph.node if "image" in node.input)
    assert next(list(entry.ints) for entry in stem.attribute if entry.name == "pads") == [0, 0, 1, 1]


def test_nothing_of_this_machine_is_left(exported: tuple[export_module.ExportReport, onnx.ModelProto]) -> None:
    content = exported[0].path.read_bytes()
    for trace in (
        b"/tmp",
        b"/home",
        b".py",
        b"site-packages",
        b"edgead_tools",
        b"fx_node",
        b"stack_trace",
        b"Compared",
    ):
        assert trace not in content


def test_two_exports_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(trained(Plain("conv"), "map"), tmp_path / name, pictures())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("kind", ["conv", "mean", "twice"])
def test_a_bgr_frame_gives_what_torch_gives_for_rgb(tmp_path: Path, kind: str) -> None:
    given = trained(Plain(kind), "map")
    export(given, tmp_path / "model.onnx", pictures())
    frame = pictures(1)[0]
    bgr = to_input(frame, given.input)[None]
    session = ort.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["map"], {"image": bgr})
    with torch.inference_mode():
        expected = given.network(torch.from_numpy(bgr[:, ::-1].copy()))["map"].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    kinds = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert (FLIP in {node.name for node in onnx.load(tmp_path / "model.onnx").graph.node}) == (kind != "conv")
    if kind != "twice":  # which reverses channels itself
        assert not {"Gather", "Slice", "Split"} & set(kinds)


def test_a_sort_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"TopK \(node_topk"):
        export(trained(Plain("sorted"), "map"), tmp_path / "model.onnx", pictures())
    assert list(tmp_path.iterdir()) == []


def test_rows_that_depend_on_their_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="in a batch of 2"):
        export(trained(Plain("global"), "map"), tmp_path / "model.onnx", pictures())


def test_a_network_that_breaks_its_promise_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    training = trained(Plain("conv"), "map")
    training.network.train()
    with pytest.raises(GateError, match="eval mode"):
        export(training, path, pictures())
    with pytest.raises(GateError, match="FP32"):
        export(trained(Plain("conv").double(), "map"), path, pictures())
    with pytest.raises(GateError, match="does not give: other"):
        export(trained(Plain("conv"), "map", "other"), path, pictures())
    with pytest.raises(GateError, match="finite"):
        export(trained(Plain("nan"), "map"), path, pictures())
    with pytest.raises(GateError, match="examples"):
        export(trained(Plain("conv"), "map"), path, pictures()[:, :32])


def test_weights_read_in_both_orders_are_copied() -> None:
    kernel = np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "kernel"], ["first"], doc_string="/home/me/net.py"),
            helper.make_node("Conv", ["other", "kernel"], ["second"]),
            helper.make_node("Add", ["first", "second"], ["map"]),
            helper.make_node("Relu", ["first"], ["unused"]),
        ],
        "made",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 2, 2])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, ["batch", 1, 2, 2])],
        [
            onnx.numpy_helper.from_array(kernel, "kernel"),
            onnx.numpy_helper.from_array(np.ones((1, 3, 2, 2), "f"), "other"),
        ],
    )
    model = finish(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    assert [node.op_type for node in model.graph.node] == ["Conv", "Conv", "Add"]
    assert b"/home" not in model.SerializeToString()
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": image})
    np.testing.assert_allclose(found, (kernel * image[:, ::-1]).sum(1, keepdims=True) + 3.0)


def test_operators_outside_onnx_are_refused() -> None:
    node = helper.make_node("FusedMatMul", ["image", "image"], ["map"], "fused", domain="com.microsoft")
    value = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1])
    with pytest.raises(GateError, match=r"FusedMatMul \(fused\)"):
        check_operators(helper.make_model(helper.make_graph([node], "made", [value], [value])))


@pytest.mark.parametrize("before", [1, 9, 16, 33, 64, 100])
def test_a_resizes_scale_gives_its_size_however_it_is_multiplied(before: int) -> None:
    """9 to 15 was exported with a scale of which shape inference made 14."""
    for after in range(1, 200):
        scale = _scale(before, after)
        assert int(before * float(scale)) == int(np.float32(before) * scale) == after


@pytest.mark.parametrize("name", ["memory", "surroundings", "whole"])
def test_a_map_in_units_of_a_tiny_spread_may_differ_as_far_as_that_magnifies(name: str) -> None:
    """Forty frames of one still part: the exact network differed by 1.53e-3 on a map up to 3.3."""
    assert largest_difference(name, np.full((1, 4, 4), 3.3, np.float32)) > 1.6e-3
    assert largest_difference("coarse", np.full((1, 4, 4), 1.0, np.float32)) == pytest.approx(1e-4)
