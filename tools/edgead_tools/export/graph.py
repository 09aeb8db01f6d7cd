"""Finishes an exported ONNX graph: operators every engine can run, and nothing of this machine in it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edgead.errors import GateError

IR_VERSION = 8  # the one that belongs to opset 18: older runtimes refuse newer numbers, and nothing here needs them
FLIP = "edgead_bgr_to_rgb"  # the 1x1 convolution where no first convolution can take the channel order
# Data-dependent shapes and control flow stall a GPU or cannot be captured in a CUDA graph; sorts are the runtime's
# business (quantiles and top-k become them). Random and training ops have no place in a judge.
FORBIDDEN = {
    *("If", "Loop", "Scan", "SequenceMap", "NonZero", "TopK", "Unique", "NonMaxSuppression", "Compress"),
    *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout"),
    *("BatchNormalization",),  # must have been folded, or INT8 ranges are taken at the wrong place
}


def finish(model: ModelProto) -> ModelProto:
    """A clean copy: static resizes, RGB order folded in, dead nodes and this machine's traces gone, shapes inferred."""
    finished = ModelProto()
    finished.CopyFrom(model)
    _fix_resizes(finished.graph)
    _fold_channel_order(finished.graph)
    prune(finished.graph)
    _strip(finished)
    del finished.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(finished, check_type=True, strict_mode=True)


def check_operators(model: ModelProto) -> None:
    """Raise GateError naming the nodes of operators that may not be in a bundle."""
    bad = [f"{node.op_type} ({node.name})" for node in model.graph.node if node.op_type in FORBIDDEN or node.domain]
    bad += [f"function {function.name}" for function in model.functions]
    if bad:
        raise GateError(f"the exported graph may not contain {', '.join(bad)}: change the method's forward")


def _fix_resizes(graph: GraphProto) -> None:
    """Give resizes constant scales. Exported sizes are computed from the batch size, which TensorRT has to do on the
    host; a resize to its own size is left out."""
    shapes = {value.name: _dims(value) for value in (*graph.value_info, *graph.input, *graph.output)}
    for node in [node for node in graph.node if node.op_type == "Resize" and len(node.input) == 4]:
        before, after = shapes.get(node.input[0], []), shapes.get(node.output[0], [])
        if len(before) != 4 or len(after) != 4 or not all(before[2:]) or not all(after[2:]):
            continue
        if before[2:] == after[2:]:
            _replace(graph, node.output[0], node.input[0])
            continue
        sides = [_scale(*pair) for pair in zip(before[2:], after[2:], strict=True)]
        scales = np.array([1, 1, *sides], np.float32)
        name = f"{node.output[0]}_scales"
        graph.initializer.append(numpy_helper.from_array(scales, name))
        source = node.input[0]
        del node.input[:]
        node.input.extend([source, "", name])


def _scale(before: int, after: int) -> np.float32:
    """The FP32 scale by which every runtime resizes `before` to `after`: times `before` it is no less than `after`,
    also where the product is not rounded to FP32. 9 times float32(15 / 9) is 14.9999997, of which 14 would be left."""
    scale = np.float32(after / before)
    return scale if int(before * float(scale)) == after else np.nextafter(scale, np.float32(np.inf))


def _fold_channel_order(graph: GraphProto) -> None:
    """Make `image` BGR: reverse the input channels of the convolutions that read it, or flip by a 1x1 convolution."""
    (image,) = graph.input
    readers = [node for node in graph.node if image.name in node.input]
    weights = {tensor.name: tensor for tensor in graph.initializer}
    if readers and all(_takes_order(node, weights) for node in readers):
        for name in dict.fromkeys(node.input[1] for node in readers):
            _reverse(graph, weights[name], [node for node in readers if node.input[1] == name])
        return
    for node in readers:
        for index, name in enumerate(node.input):
            node.input[index] = FLIP if name == image.name else name
    kernel = np.eye(3, dtype=np.float32)[::-1].reshape(3, 3, 1, 1)
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(kernel), f"{FLIP}.weight"))
    graph.node.insert(0, helper.make_node("Conv", [image.name, f"{FLIP}.weight"], [FLIP], name=FLIP))


def _takes_order(node: NodeProto, weights: dict[str, TensorProto]) -> bool:
    return node.op_type == "Conv" and node.input[1] in weights and weights[node.input[1]].dims[1] == 3


def _reverse(graph: GraphProto, weight: TensorProto, readers: list[NodeProto]) -> None:
    reversed_weight = np.ascontiguousarray(numpy_helper.to_array(weight)[:, ::-1])
    users = sum(weight.name in node.input for node in graph.node)
    if users == len(readers):
        weight.CopyFrom(numpy_helper.from_array(reversed_weight, weight.name))
        return
    name = f"{weight.name}.bgr"  # another node reads the weights in the old order
    graph.initializer.append(numpy_helper.from_array(reversed_weight, name))
    for node in readers:
        node.input[1] = name


def _replace(graph: GraphProto, old: str, new: str) -> None:
    if any(output.name == old for output in graph.output):
        return
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new


def prune(graph: GraphProto) -> None:
    """Drop nodes and initializers that no output depends on."""
    needed = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):  # nodes are in topological order
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in needed]:
        graph.initializer.remove(tensor)


def _strip(model: ModelProto) -> None:
    """Remove what exporters write beside the computation: file paths, source lines, class names."""
    graph = model.graph
    owners: Iterable[NodeProto | TensorProto | GraphProto | ModelProto | onnx.ValueInfoProto] = (
        *(model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output),
    )
    for owner in owners:
        owner.ClearField("doc_string")
        owner.ClearField("metadata_props")
    graph.name = "edgead"
    model.producer_name, model.producer_version = "edgead", ""
    model.ir_version = IR_VERSION


def _dims(value: onnx.ValueInfoProto) -> list[int]:
    """The value's dimensions; 0 where one is not fixed."""
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]
