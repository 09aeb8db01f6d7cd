"""Quantizes searches for the nearest patch: the product with the patches in 8 bits, everything around it in FP32.

The squared distance |q - b|^2 = |q|^2 + min_k(|b_k|^2 - 2 q b_k) is a small difference of large numbers, so that only
the products 2 q b_k may be rounded: 8-bit values whose sums are exact. |b_k|^2 is the product with a component of q
that is constant, far larger than the others; it is added in FP32. What lies beyond the range of good images is clipped
in the product and not in |q|^2, which makes it no less strange.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

MOVING = ("Reshape", "Transpose")  # between the projection and the product
Array = NDArray[np.float32]
Ends = Callable[[str], tuple[float, float]]


def quantize_searches(model: ModelProto, names: Collection[str], ends: Ends, *, reduce_range: bool) -> None:
    """Replace the products of those names by products of 8-bit values, uint8 and int8; `reduce_range` keeps patches to
    7 bits. `ends` are the lowest and the highest value of a tensor in good images."""
    graph = model.graph
    for node in [one for one in graph.node if one.name in names]:
        _quantize(graph, node, ends(node.input[0]), 63 if reduce_range else 127)


def _quantize(graph: GraphProto, node: NodeProto, ends: tuple[float, float], largest: int) -> None:
    query, name = node.input[0], node.name
    constants = {tensor.name: tensor for tensor in graph.initializer}
    patches = numpy_helper.to_array(constants[node.input[1]]).astype(np.float32)  # (..., D, K)
    fixed = _constant_components(graph, query, patches.shape[-2])
    added = np.asarray(np.einsum("d,...dk->...k", fixed, patches)[..., None, :], np.float32)
    varying = np.where(fixed[:, None] != 0, np.float32(0), patches)
    lowest, highest = min(ends[0], 0.0), max(ends[1], 0.0)
    scale = max((highest - lowest) / 255, 1e-12)
    unit = max(float(np.abs(varying).max()) / largest, 1e-12)
    values: dict[str, NDArray[np.generic]] = {
        "scale": np.array(scale, np.float32),
        "zero": np.array(round(-lowest / scale), np.uint8),
        "unit": np.array(unit, np.float32),
        "middle": np.array(0, np.int8),
        "patches": np.rint(varying / unit).astype(np.int8),
        "added": added,
    }
    graph.initializer.extend(numpy_helper.from_array(value, f"{name}.{key}") for key, value in values.items())
    scales, units = ([f"{name}.{key}" for key in pair] for pair in (("scale", "zero"), ("unit", "middle")))
    made = [
        helper.make_node("QuantizeLinear", [query, *scales], [f"{name}.q"], name=f"{name}.quantize"),
        helper.make_node("DequantizeLinear", [f"{name}.q", *scales], [f"{name}.x"], name=f"{name}.dequantize"),
        helper.make_node("DequantizeLinear", [f"{name}.patches", *units], [f"{name}.b"], name=f"{name}.unpack"),
        helper.make_node("MatMul", [f"{name}.x", f"{name}.b"], [f"{name}.xb"], name=name),
        helper.make_node("Add", [f"{name}.xb", f"{name}.added"], [node.output[0]], name=f"{name}.add"),
    ]
    place = list(graph.node).index(node)
    graph.node.remove(node)
    for offset, one in enumerate(made):
        graph.node.insert(place + offset, one)
    graph.initializer.remove(constants[node.input[1]])


def _constant_components(graph: GraphProto, query: str, width: int) -> Array:
    """The value of every component of the query that is the same for all cells, and 0 for the others, (width,).

    They are channels of the projection before it that have a bias and no weights.
    """
    producers = {output: node for node in graph.node for output in node.output}
    node = producers.get(query)
    while node is not None and node.op_type in MOVING:
        node = producers.get(node.input[0])
    constants = {tensor.name: tensor for tensor in graph.initializer}
    if node is None or node.op_type != "Conv" or len(node.input) < 3 or not {*node.input[1:]} <= constants.keys():
        return np.zeros(width, np.float32)
    weight, bias = (numpy_helper.to_array(constants[name]) for name in node.input[1:])
    alone = ~weight.reshape(len(weight), -1).any(1)
    return np.asarray(np.where(alone, bias, 0), np.float32) if len(bias) == width else np.zeros(width, np.float32)
