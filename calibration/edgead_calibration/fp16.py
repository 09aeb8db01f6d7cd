"""Converts an ONNX graph to FP16, except for nodes that real images show to need FP32.

FP16 holds magnitudes from 6.1e-5 (below, digits are lost) to 65504 (above is infinity). Such a node is one

- that follows the first comparison of two activations (see edgead_calibration.layers): the distance and the score;
- one of whose values on good images, `HEADROOM` times larger, would overflow: anomalies are stronger than good parts;
- one of whose values is as a rule (root mean square) below the smallest normal number;
- that divides by, or takes the root or logarithm of, a number that may be so small;
- one of whose constants overflows, or becomes zero and was not.

Input and outputs of the graph stay FP32, and so do the scales of quantize and dequantize nodes: TensorRT 10.16 of
JetPack 7.2 does not dequantize by FP16 scales on Orin. What is computed in INT8 has FP32 around it in the graph, with
no cast between the layers that TensorRT fuses.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgead_calibration.activations import Inputs, collect_activations, float_tensors
from edgead_calibration.layers import WEIGHTED, activations_of, after_comparison, named

HEADROOM = 8.0
LARGEST = float(np.finfo(np.float16).max)
SMALLEST = float(np.finfo(np.float16).tiny)
_DIVISORS = {"Div": (1,), "Reciprocal": (0,), "Sqrt": (0,), "Log": (0,), "Pow": (0,)}  # inputs that must not vanish
_PARAMETERS = {
    "Resize": (1, 2, 3),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (0, 1, 2),
}  # inputs that keep their type
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
_OWN_TYPE = ("Cast", "CastLike", "Constant", "ConstantOfShape", "Shape", "Size")  # their output's type is their own


def fp32_nodes(network: bytes, inputs: Inputs) -> dict[str, str]:
    """The nodes that must stay FP32, name -> reason, as the values on good images show."""
    model = named(network)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    watched = [name for name in float_tensors(model) if name not in constants]
    largest = dict.fromkeys(watched, 0.0)
    squares = dict.fromkeys(watched, 0.0)
    least = dict.fromkeys(watched, np.inf)
    for values in collect_activations(model.SerializeToString(), watched, inputs, unoptimized=False):
        for name, value in zip(watched, values, strict=True):
            sizes = np.abs(value.astype(np.float64))
            largest[name] = max(largest[name], float(sizes.max()))
            squares[name] = max(squares[name], float(np.square(sizes).mean()))
            least[name] = min(least[name], float(sizes.min()))
    tail = after_comparison(model.graph)
    found: dict[str, str] = {}
    for node in model.graph.node:
        if node.name in tail:
            found[node.name] = "follows the comparison"
            continue
        for name in (*node.input, *node.output):
            if name in largest and not HEADROOM * largest[name] <= LARGEST:
                found[node.name] = f"overflow: a value of {largest[name]:.3g}"
            elif name in largest and 0 < squares[name] < SMALLEST**2:
                found[node.name] = f"underflow: values of {np.sqrt(squares[name]):.2g} as a rule"
        for position in _DIVISORS.get(node.op_type, ()):
            name = node.input[position]
            if name in least and least[name] < SMALLEST:
                found[node.name] = f"underflow: {node.op_type} of {least[name]:.2g}"
        for name in _constants(node, constants):
            if not _fits(constants[name]):
                found[node.name] = f"constant: {name} does not fit into FP16"
    return found


def to_fp16(network: bytes, fp32: Collection[str]) -> bytes:
    """The network in FP16 but for the nodes in `fp32` and what is computed in INT8, as ONNX bytes."""
    model = named(network)
    kinds = float_tensors(model)
    graph = model.graph
    fp32 = {*fp32, *_quantized(model)}
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    halves: dict[str, TensorProto] = {}
    half: set[str] = set()  # tensors that are FP16 by now
    casts: dict[tuple[str, bool], str] = {}
    nodes: list[NodeProto] = []

    def as_type(name: str, *, is_half: bool) -> str:
        """The name under which a floating-point tensor is found in FP16, or in FP32."""
        if name in constants:
            if is_half:
                half_name = f"{name}_fp16"
                values = numpy_helper.to_array(constants[name])
                with np.errstate(over="ignore"):  # `fp32_nodes` names those that would be infinite
                    halves[half_name] = numpy_helper.from_array(values.astype(np.float16), half_name)
                return half_name
            return name
        if (name in half) == is_half:
            return name
        if (name, is_half) not in casts:
            casts[name, is_half] = f"{name}_{'fp16' if is_half else 'fp32'}"
            kind = TensorProto.FLOAT16 if is_half else TensorProto.FLOAT
            cast = casts[name, is_half]
            nodes.append(helper.make_node("Cast", [name], [cast], name=f"cast_{cast}", to=kind))
        return casts[name, is_half]

    for node in graph.node:
        is_half = node.name not in fp32 and node.op_type not in _OWN_TYPE
        for position, name in enumerate(node.input):
            fixed = _PARAMETERS.get(node.op_type, ())
            if position not in fixed and (name in kinds or name in constants or name == graph.input[0].name):
                node.input[position] = as_type(name, is_half=is_half)
        nodes.append(node)
        if is_half:
            half.update(name for name in node.output if name in kinds)
    _name_outputs(model, nodes, half)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    constant = [tensor for tensor in (*graph.initializer, *halves.values()) if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(constant)
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return bytes(onnx.shape_inference.infer_shapes(model).SerializeToString(deterministic=True))


def in_fp32(network: bytes) -> bytes:
    """The network computed in FP32 with every FP16 tensor rounded to FP16 and back, for runtimes without FP16 kernels.

    ONNX Runtime on a CPU would compute whole chains of FP16 nodes in FP32, so that no overflow shows. A network
    without FP16 is given back as it is.
    """
    model = onnx.load_from_string(network)
    graph = model.graph
    half = {name for name, kind in float_tensors(model).items() if kind == TensorProto.FLOAT16}
    if not half:
        return network
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    nodes: list[NodeProto] = []
    for node in graph.node:
        rounded = [name for name in node.output if name in half]
        if node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT16:
            node.attribute[0].i = TensorProto.FLOAT
        for position, name in enumerate(node.output):
            node.output[position] = f"{name}_exact" if name in half else name
        nodes.append(node)
        for name in rounded:
            nodes.append(helper.make_node("Cast", [f"{name}_exact"], [f"{name}_half"], to=TensorProto.FLOAT16))
            nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return bytes(model.SerializeToString(deterministic=True))


def _name_outputs(model: ModelProto, nodes: list[NodeProto], half: set[str]) -> None:
    """Give every output of the graph in FP32 under its own name."""
    for output in model.graph.output:
        if output.name not in half:
            continue
        inside = f"{output.name}_fp16"
        for node in nodes:
            for names in (node.input, node.output):
                for position, name in enumerate(names):
                    names[position] = inside if name == output.name else name
        nodes.append(
            helper.make_node("Cast", [inside], [output.name], name=f"cast_{output.name}", to=TensorProto.FLOAT)
        )


def _quantized(model: ModelProto) -> set[str]:
    """Quantize and dequantize nodes, and what TensorRT computes in INT8 between them: products and sums of dequantized
    values, and the activation functions after them."""
    graph = model.graph
    found = {node.name for node in graph.node if node.op_type in (QUANTIZE, DEQUANTIZE)}
    values = {name for node in graph.node if node.op_type == DEQUANTIZE for name in node.output}
    layers = {
        node.name for node in graph.node if node.op_type in (*WEIGHTED, "Add") and values.issuperset(node.input[:2])
    }
    return found | layers | set(activations_of(graph, layers))


def _constants(node: NodeProto, constants: dict[str, NDArray[np.generic]]) -> Iterable[str]:
    fixed = _PARAMETERS.get(node.op_type, ())
    return [name for at, name in enumerate(node.input) if name in constants and at not in fixed]


def _fits(values: NDArray[np.generic]) -> bool:
    """Whether constants survive FP16: none overflows, and not all of their size is lost."""
    if values.dtype != np.float32 or values.size == 0:
        return True
    sizes = np.abs(values.astype(np.float64))
    return bool(sizes.max() <= LARGEST and (sizes.max() == 0 or np.sqrt(np.square(sizes).mean()) >= SMALLEST))
