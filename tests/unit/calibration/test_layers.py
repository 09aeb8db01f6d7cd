"""What follows a search for the nearest patch, or a sum of squares, is told apart from what may be quantized."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgead_calibration.layers import after_comparison, blocks, named


def constant(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def network(*nodes: onnx.NodeProto) -> bytes:
    """A convolution `trunk` and then the nodes, which read `features` (B, 4, 8, 8) and give `map`."""
    first = helper.make_node("Conv", ["image", "trunk.weight"], ["features"], name="trunk")
    constants = [
        constant("trunk.weight", 4, 3, 1, 1),
        constant("project.weight", 5, 4, 1, 1),
        constant("patches", 5, 9),
    ]
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    shape = numpy_helper.from_array(np.array([-1, 5], np.int64), "rows")
    graph = helper.make_graph(
        [first, *nodes],
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", 3, 8, 8])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, None)],
        [*constants, axes, shape],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())


SEARCH = (
    helper.make_node("Conv", ["features", "project.weight"], ["query"], name="project"),
    helper.make_node("Transpose", ["query"], ["last"], name="turn", perm=[0, 2, 3, 1]),
    helper.make_node("Reshape", ["last", "rows"], ["flat"], name="flatten"),
    helper.make_node("MatMul", ["flat", "patches"], ["products"], name="product"),
    helper.make_node("ReduceMin", ["products", "axes"], ["map"], name="minimum"),
)
SQUARES = (
    helper.make_node("Mul", ["features", "features"], ["squares"], name="square"),
    helper.make_node("ReduceMean", ["squares", "axes"], ["mean"], name="mean", keepdims=1),
    helper.make_node("Conv", ["mean", "one"], ["map"], name="whiten"),
)


def test_a_search_is_kept_from_its_projection_on() -> None:
    model = named(network(*SEARCH))
    assert after_comparison(model.graph) == {"project", "turn", "flatten", "product", "minimum"}
    assert [layer.name for block in blocks(model) for layer in block.layers] == ["trunk"]


@pytest.mark.parametrize("summed", [True, False])
def test_squares_are_kept_where_they_are_summed(summed: bool) -> None:
    nodes = SQUARES if summed else (helper.make_node("Mul", ["features", "features"], ["map"], name="square"),)
    kept = after_comparison(named(network(*nodes)).graph)
    assert kept == ({"square", "mean", "whiten"} if summed else set())
