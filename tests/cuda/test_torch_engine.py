"""The torch module that stands in TensorRT's place on a GPU without it: it computes what the ONNX graph says."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_in_torch
import onnxruntime as ort
import pytest
import tiny
import torch
import twins
from onnx import TensorProto, helper

from edgead.ops import to_input
from edgead_calibration.fp16 import fp32_nodes, to_fp16

IMAGES = np.stack([to_input(image, twins.SPEC) for image in twins.parts(3, 5)])


def run(network: bytes, image: np.ndarray) -> list[np.ndarray]:
    with torch.inference_mode():
        return [value.numpy() for value in onnx_in_torch.OnnxModule(network).eval()(torch.from_numpy(image))]


def expected(network: bytes, image: np.ndarray) -> list[np.ndarray]:
    session = ort.InferenceSession(network, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})


def test_a_network_of_two_streams_gives_what_onnx_runtime_gives() -> None:
    network = twins.network()
    for found, right in zip(run(network, IMAGES), expected(network, IMAGES), strict=True):
        np.testing.assert_allclose(found, right, atol=1e-4 * np.abs(right).max())


def test_in_halves_it_stays_near(one_thread: None) -> None:
    network = twins.network()
    halves = to_fp16(network, fp32_nodes(network, list(IMAGES[:, None])))
    (found, *_), (right, *_) = run(halves, IMAGES), expected(network, IMAGES)
    assert 0 < np.abs(found - right).max() < 0.1 * np.abs(right).max()


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes"),
    [
        ("Resize", ["image", "", "", "sizes"], {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}),
        ("Resize", ["image", "", "scales"], {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}),
        ("AveragePool", ["image"], {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]}),
        ("Clip", ["image", "low", "high"], {}),
        ("ReduceMin", ["image"], {"axes": [1], "keepdims": 0}),
        ("ReduceSum", ["image", "axis"], {"keepdims": 1}),
        ("Gather", ["image", "index"], {"axis": 1}),
        ("Reshape", ["image", "shape"], {}),
        ("Transpose", ["image"], {"perm": [0, 2, 3, 1]}),
        ("Squeeze", ["image", "first"], {}),
        ("Unsqueeze", ["image", "axis"], {}),
        ("Softmax", ["image"], {"axis": 1}),
        ("Expand", ["image", "wider"], {}),
        ("Concat", ["image", "image"], {"axis": 2}),
    ],
)
def test_each_operator_is_that_of_onnx(kind: str, inputs: list[str], attributes: dict[str, object]) -> None:
    constants = {
        "sizes": np.array([1, 3, 9, 14], np.int64),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "low": np.float32(-0.5),
        "high": np.float32(0.25),
        "axis": np.array([1], np.int64),
        "first": np.array([0], np.int64),
        "index": np.array([[2, 0]], np.int64),
        "shape": np.array([0, -1, 4], np.int64),
        "wider": np.array([2, 3, 6, 8], np.int64),
    }
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, ["out"], **attributes)],
        "one",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 6, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.array(constants[name]), name) for name in inputs if name in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    image = np.random.default_rng(0).standard_normal((1, 3, 6, 8)).astype(np.float32)
    (found,), (right,) = (one(model.SerializeToString(), image) for one in (run, expected))
    assert found.shape == right.shape
    np.testing.assert_allclose(found, right, atol=1e-5)


def test_an_operator_that_it_lacks_is_named() -> None:
    model = onnx.load_from_string(tiny.graph())
    model.graph.node[0].op_type = "Mod"
    with pytest.raises(NotImplementedError, match="Mod"):
        onnx_in_torch.OnnxModule(model.SerializeToString())
