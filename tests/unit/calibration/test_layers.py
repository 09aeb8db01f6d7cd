"""What follows a search for the nearest patch, or a sum of squares, is told apart from what may be quantized."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgead_calibration.layers import after_comparison, blocks, named, searches
from edgead_calibration.ranges import observe, quantize
from edgead_calibration.statistics import FeatureStatistics


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
    assert blocks(model)[0].reads_image
    assert [(block.name, block.layers[0].name, block.weights) for block in searches(model)] == [
        ("patches search", "product", 4 * 5 * 9)
    ]


@pytest.mark.parametrize("summed", [True, False])
def test_squares_are_kept_where_they_are_summed(summed: bool) -> None:
    nodes = SQUARES if summed else (helper.make_node("Mul", ["features", "features"], ["map"], name="square"),)
    kept = after_comparison(named(network(*nodes)).graph)
    assert kept == ({"square", "mean", "whiten"} if summed else set())


def judged(scale: float, *, weighted: bool) -> bytes:
    """A search whose map is standardized, and cells weighted; the features of the trunk are `scale` as large."""
    model = onnx.load_from_string(network(*SEARCH))
    model.graph.node[-1].output[0] = "distance"
    model.graph.node.append(helper.make_node("Sub", ["distance", "usual"], ["above"], name="usual"))
    model.graph.node.append(
        helper.make_node("Div", ["above", "spread"], ["rated" if weighted else "map"], name="spread")
    )
    if weighted:
        model.graph.node.append(helper.make_node("Sigmoid", ["above"], ["share"], name="share"))
        model.graph.node.append(helper.make_node("Mul", ["share", "rated"], ["map"], name="weighted"))
    model.graph.initializer.extend([constant("usual", 1), constant("spread", 1)])
    weight = next(one for one in model.graph.initializer if one.name == "trunk.weight")
    weight.CopyFrom(numpy_helper.from_array(np.full((4, 3, 1, 1), scale, np.float32), "trunk.weight"))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("weighted", [False, True])
def test_a_memory_is_moved_by_what_quantization_adds_and_keeps_its_spread(weighted: bool) -> None:
    inputs = [np.random.default_rng(seed).random((1, 3, 8, 8)).astype(np.float32) for seed in range(3)]
    before, after = (judged(scale, weighted=weighted) for scale in (1.0, 1.5))
    refitted = onnx.load_from_string(FeatureStatistics(before, inputs, unoptimized=False).refit(after))
    values = {one.name: numpy_helper.to_array(one) for one in refitted.graph.initializer}
    mean = np.mean([4 * 5 * one.sum(1) for one in inputs])  # all weights are ones
    assert values["usual"].mean() == pytest.approx(1 + 0.5 * mean, rel=1e-4)
    assert values["spread"] == pytest.approx(1.0)


@pytest.mark.parametrize("pads", [[1, 1, 1, 1], [0, 0, 0, 0]])
def test_average_pooling_that_pads_reads_what_was_not_quantized(pads: list[int]) -> None:
    pool = helper.make_node("AveragePool", ["features"], ["pooled"], name="pool", kernel_shape=[3, 3], pads=pads)
    raw = network(pool, helper.make_node("Conv", ["features", "project.weight"], ["other"], name="other"),
                  helper.make_node("Relu", ["pooled"], ["map"], name="end"))  # fmt: skip
    inputs = [np.random.default_rng(seed).normal(size=(1, 3, 8, 8)).astype(np.float32) for seed in range(3)]
    graph = onnx.load_from_string(quantize(observe(raw, inputs, "minmax"), "cpu")).graph
    producers = {output: node.op_type for node in graph.node for output in node.output}
    read = next(node.input[0] for node in graph.node if node.name == "pool")
    assert producers[read] == ("Conv" if any(pads) else "DequantizeLinear")
