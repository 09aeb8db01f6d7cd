"""The checker of TensorRT's rules, each broken by hand, and the real parser's word on the graphs we write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import twins
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from rtx import parse

from edgead.ops import to_input
from edgead_calibration import networks
from edgead_calibration.ranges import observe, quantize
from edgead_calibration.recipe import Int8
from edgead_calibration.rules import violations

INPUTS = [to_input(image, twins.SPEC)[None] for image in twins.parts(8, 100)]


@pytest.fixture(scope="module")
def network() -> bytes:
    return twins.network()


@pytest.fixture(scope="module")
def good(network: bytes) -> bytes:
    return quantize(observe(network, INPUTS, "minmax"), "tensorrt")


def node_of(model: ModelProto, kind: str, part: str) -> NodeProto:
    return next(node for node in model.graph.node if node.op_type == kind and part in node.input[0])


def replace_constant(model: ModelProto, name: str, values: np.ndarray) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def zero_point(model: ModelProto) -> None:
    replace_constant(model, node_of(model, "QuantizeLinear", "image").input[2], np.array(3, np.int8))


def unsigned(model: ModelProto) -> None:
    replace_constant(model, node_of(model, "QuantizeLinear", "image").input[2], np.array(0, np.uint8))


def negative_scale(model: ModelProto) -> None:
    replace_constant(model, node_of(model, "QuantizeLinear", "image").input[1], np.array(0, np.float32))


def scale_per_channel(model: ModelProto) -> None:
    replace_constant(model, node_of(model, "QuantizeLinear", "image").input[1], np.ones(3, np.float32))


def computed_scale(model: ModelProto) -> None:
    node_of(model, "QuantizeLinear", "image").input[1] = "difference"


def other_domain(model: ModelProto) -> None:
    node_of(model, "QuantizeLinear", "image").domain = "com.microsoft"


def half_scale(model: ModelProto) -> None:
    replace_constant(model, node_of(model, "QuantizeLinear", "image").input[1], np.array(1, np.float16))


def bias(model: ModelProto) -> None:
    node = node_of(model, "DequantizeLinear", "stem.weight")
    replace_constant(model, node.input[0], np.zeros(4, np.int32))


def uint8_weight(model: ModelProto) -> None:
    node = node_of(model, "DequantizeLinear", "stem.weight")
    replace_constant(model, node.input[0], np.zeros((4, 4), np.uint8))


def constant_elsewhere(model: ModelProto) -> None:
    node = node_of(model, "DequantizeLinear", "stem.weight")
    model.graph.node.append(helper.make_node("Relu", [node.output[0]], ["other"], name="reader"))


def wrong_axis(model: ModelProto) -> None:
    node = node_of(model, "DequantizeLinear", "stem.weight")
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("axis", 1))


def constant_quantized(model: ModelProto) -> None:
    node_of(model, "QuantizeLinear", "image").input[0] = "teacher.stem.bias"


def q_without_dq(model: ModelProto) -> None:
    node = node_of(model, "QuantizeLinear", "image")
    model.graph.node.append(helper.make_node("Cast", [node.output[0]], ["other"], name="reader", to=TensorProto.FLOAT))


def dq_without_q(model: ModelProto) -> None:
    node_of(model, "DequantizeLinear", "image").input[0] = "difference"


def before_activation(model: ModelProto) -> None:
    relu = next(node for node in model.graph.node if node.op_type == "Relu" and "stem" in node.input[0])
    scale, zero = node_of(model, "QuantizeLinear", "image").input[1:]
    q = helper.make_node("QuantizeLinear", [relu.input[0], scale, zero], ["early_q"], name="early_q")
    dq = helper.make_node("DequantizeLinear", ["early_q", scale, zero], ["early_dq"], name="early_dq")
    relu.input[0] = "early_dq"
    model.graph.node.extend([q, dq])


BROKEN: dict[Callable[[ModelProto], None], str] = {
    zero_point: "its zero point is not 0",
    unsigned: "uint8 activations",
    negative_scale: "not a positive",
    scale_per_channel: "an activation has a scale per channel",
    computed_scale: "its scale is computed",
    other_domain: "which only ONNX Runtime knows",
    half_scale: "its scale is FP16",
    bias: "a bias is quantized",
    uint8_weight: "a weight is UINT8",
    constant_elsewhere: "no layer's weight is read by reader",
    wrong_axis: "along axis 1, not 0",
    constant_quantized: "a constant is quantized at run time",
    q_without_dq: "read by something else",
    dq_without_q: "dequantizes what no QuantizeLinear made",
    before_activation: "and its activation function, so that they are not fused",
}


@pytest.mark.parametrize("break_it", BROKEN, ids=lambda function: function.__name__)
def test_each_violation_is_named_with_its_node(good: bytes, break_it: Callable[[ModelProto], None]) -> None:
    assert violations(good) == []
    model = onnx.load_from_string(good)
    break_it(model)
    found = violations(model.SerializeToString())
    assert any(BROKEN[break_it] in said for said in found), found
    assert all(": " in said for said in found)


def test_the_cpus_form_is_not_tensorrts(network: bytes) -> None:
    assert violations(quantize(observe(network, INPUTS, "minmax"), "cpu"))


@pytest.mark.parametrize("depthwise", [True, False])
def test_what_passes_the_checker_parses_in_tensorrt_rtx(network: bytes, depthwise: bool) -> None:
    mixed = networks.int8(network, INPUTS, Int8(form="tensorrt", depthwise=depthwise))
    for made in (mixed.make(()), mixed.make(["teacher"]), networks.fp16(network, INPUTS).make(())):
        assert violations(made) == []
        assert parse(made) == []


@pytest.mark.parametrize("break_it", [zero_point, negative_scale], ids=lambda function: function.__name__)
def test_what_the_checker_refuses_tensorrt_rtx_refuses(good: bytes, break_it: Callable[[ModelProto], None]) -> None:
    model = onnx.load_from_string(good)
    break_it(model)
    assert violations(model.SerializeToString())
    assert parse(model.SerializeToString())
