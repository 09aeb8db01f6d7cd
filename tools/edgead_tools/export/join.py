"""Joins two networks of the same input to one graph; what both compute alike is computed once."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from edgead.errors import GateError
from edgead_tools.export.graph import prune

PREFIX = "joined."  # of every name inside the second graph


def join(model: ModelProto, other: bytes, outputs: Sequence[str]) -> ModelProto:
    """The graph with some outputs of another network beside its own.

    Both take `image`, normalized alike. Raises GateError where an output is not there or both have it, or where the
    graphs are of other operator sets.
    """
    second = onnx.load_model_from_string(other)
    versions = [{one.domain: one.version for one in each.opset_import} for each in (model, second)]
    have = {output.name: output for output in second.graph.output}
    lacking = [name for name in outputs if name not in have]
    if lacking or versions[0].get("") != versions[1].get(""):
        raise GateError(
            f"the network to join lacks {', '.join(lacking) or 'this operator set'}: build its bundle again"
        )
    if taken := {output.name for output in model.graph.output} & set(outputs):
        raise GateError(f"both networks have an output '{', '.join(sorted(taken))}'")
    joined = ModelProto()
    joined.CopyFrom(model)
    _append(joined.graph, second.graph, [have[name] for name in outputs])
    _share_initializers(joined.graph)
    _share_nodes(joined.graph)
    prune(joined.graph)
    del joined.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(joined, check_type=True, strict_mode=True)


def _append(graph: GraphProto, other: GraphProto, outputs: Sequence[onnx.ValueInfoProto]) -> None:
    """Add the nodes that these outputs depend on, under names of their own."""
    del other.output[:]
    other.output.extend(outputs)
    prune(other)
    (image,), (its,) = graph.input, other.input
    kept = {its.name: image.name, "": ""} | {output.name: output.name for output in outputs}
    for node in other.node:
        added = graph.node.add()
        added.CopyFrom(node)
        added.name = node.name and PREFIX + node.name  # a graph may have nodes without names, and no two of one
        for names in (added.input, added.output):
            names[:] = [kept.get(name, PREFIX + name) for name in names]
    for tensor in other.initializer:
        added_tensor = graph.initializer.add()
        added_tensor.CopyFrom(tensor)
        added_tensor.name = PREFIX + tensor.name
    graph.output.extend(outputs)


def _share_initializers(graph: GraphProto) -> None:
    seen: dict[object, str] = {}
    same = {tensor.name: seen.setdefault(_content(tensor), tensor.name) for tensor in graph.initializer}
    for node in graph.node:
        node.input[:] = [same.get(name, name) for name in node.input]


def _share_nodes(graph: GraphProto) -> None:
    """Read the results of the first of several nodes that do the same with the same; the others die unread."""
    outputs = {output.name for output in graph.output}
    seen: dict[object, list[str]] = {}
    same: dict[str, str] = {}
    for node in graph.node:  # in topological order, the first graph's before the second's
        node.input[:] = [same.get(name, name) for name in node.input]
        first = seen.setdefault(_deed(node), list(node.output))
        if not outputs & set(node.output):
            same |= dict(zip(node.output, first, strict=True))


def _content(tensor: TensorProto) -> object:
    values = numpy_helper.to_array(tensor)
    return tensor.data_type, values.shape, values.tobytes()


def _deed(node: NodeProto) -> object:
    attributes = sorted(one.SerializeToString(deterministic=True) for one in node.attribute)
    return node.op_type, node.domain, tuple(node.input), tuple(attributes), len(node.output)
