"""Defines which layers of an exported graph may be quantized, and in which blocks they are reverted to FP32.

Quantized are convolutions and matrix products with constant weights, and the sums of two activations between them
(residual connections). Kept as they are, whatever a recipe says: everything that follows the first comparison (a
difference of two activations is small against both, a search for the nearest patch takes differences of products, a
sum of squares is a distance or a variance; what follows is normalization and the score), products of two activations
(attention), and all operators that are not in the list above. A search is quantized in a way of its own where a recipe
says so (edgead_calibration.search): its product with the patches alone, whose sums stay exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import takewhile

import onnx
from onnx import GraphProto, ModelProto, NodeProto

WEIGHTED = ("Conv", "Gemm", "MatMul")
ACTIVATIONS = ("Clip", "Relu")  # taken up by the quantization of the layer before them
LINEAR = ("Conv", "MatMul", "Reshape", "Transpose")  # what leads to the minimum of a search for the nearest patch
SUMS = ("ReduceMean", "ReduceSum")


@dataclass(frozen=True, slots=True)
class Layer:
    """One node that may be quantized."""

    name: str
    weights: int  # bytes in FP32; 0 of a sum
    depthwise: bool


@dataclass(frozen=True, slots=True)
class LayerBlock:
    """Layers up to the next linear one or sum, as networks are built: what is quantized or reverted together."""

    name: str
    layers: tuple[Layer, ...]
    reads_image: bool = False
    is_search: bool = False  # of the nearest patch

    @property
    def weights(self) -> int:
        return sum(layer.weights for layer in self.layers)


def named(network: bytes) -> ModelProto:
    """The parsed network with a unique name for every node."""
    model = onnx.load_from_string(network)
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
        taken.add(node.name)
    return model


def blocks(model: ModelProto) -> list[LayerBlock]:
    """The layers that may be quantized, in blocks, in the order of computation."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    tail = after_comparison(graph)
    readers = _readers(graph)
    first = {node.name for value in graph.input for node in readers.get(value.name, [])}
    found: list[LayerBlock] = []
    held: list[tuple[Layer, str]] = []
    taken: Counter[str] = Counter()

    def close() -> None:
        if held:
            label = _label([label for _, label in held])
            taken[label] += 1
            name = label if taken[label] == 1 else f"{label}#{taken[label]}"
            layers = tuple(layer for layer, _ in held)
            found.append(LayerBlock(name, layers, reads_image=not first.isdisjoint(layer.name for layer in layers)))
            held.clear()

    for node in graph.node:
        if node.name in tail:
            continue
        if _is_weighted(node, constants):
            weight = constants[node.input[1]]
            held.append((Layer(node.name, _size(weight), _is_depthwise(node, weight)), weight.name))
            if not all(r.op_type in ACTIVATIONS or _is_sum(r, constants) for r in readers.get(node.output[0], [])):
                close()  # linear, and read by more than the sum that ends a residual block
        elif _is_sum(node, constants):
            close()
            if found:
                found[-1] = replace(found[-1], layers=(*found[-1].layers, Layer(node.name, 0, False)))
        elif node.op_type in ("Concat", "Resize"):
            close()
    close()
    return found


def searches(model: ModelProto) -> list[LayerBlock]:
    """The products of searches for the nearest patch, each a block."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    found = []
    for minimum in graph.node:
        node = producers.get(minimum.input[0]) if minimum.op_type == "ReduceMin" else None
        if node is not None and node.op_type == "MatMul" and _is_weighted(node, constants):
            patches = constants[node.input[1]]
            layer = Layer(node.name, _size(patches), depthwise=False)
            found.append(LayerBlock(f"{_label([patches.name])} search", (layer,), is_search=True))
    return found


def after_comparison(graph: GraphProto) -> set[str]:
    """The names of all comparisons and of every node that one of them reaches."""
    constants = {tensor.name for tensor in graph.initializer}
    reached: set[str] = set()
    names: set[str] = set()
    producers = {output: node for node in graph.node for output in node.output}
    begun = _searches(graph, producers) | _sums_of_squares(graph)
    for node in graph.node:
        begins = node.name in begun or _is_comparison(node, constants, producers)
        if begins or not reached.isdisjoint(node.input):
            names.add(node.name)
            reached.update(node.output)
    return names


def activations_of(graph: GraphProto, layers: set[str]) -> list[str]:
    """The names of the activation functions that are the only readers of one of the layers."""
    read = _readers(graph)
    outputs = [output for node in graph.node if node.name in layers for output in node.output]
    alone = [read[name][0] for name in outputs if len(read.get(name, [])) == 1]
    return [node.name for node in alone if node.op_type in ACTIVATIONS]


def _readers(graph: GraphProto) -> dict[str, list[NodeProto]]:
    """The nodes that read each tensor."""
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            readers.setdefault(name, []).append(node)
    return readers


def _is_weighted(node: NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    return node.op_type in WEIGHTED and node.input[1] in constants and node.input[0] not in constants


def _is_sum(node: NodeProto, constants: dict[str, onnx.TensorProto]) -> bool:
    return node.op_type == "Add" and constants.keys().isdisjoint(node.input)


def _is_comparison(node: NodeProto, constants: set[str], producers: dict[str, NodeProto]) -> bool:
    """A difference of two activations, unless one is the other's mean: that is a normalization."""
    if node.op_type != "Sub" or not constants.isdisjoint(node.input):
        return False
    first, second = node.input
    mean = producers.get(second)
    return mean is None or not (mean.op_type == "ReduceMean" and mean.input[0] == first)


def _searches(graph: GraphProto, producers: dict[str, NodeProto]) -> set[str]:
    """The linear nodes that lead to a minimum: a search for the nearest patch, from the projection on."""
    found: set[str] = set()
    for node in graph.node:
        if node.op_type != "ReduceMin":
            continue
        while (before := producers.get(node.input[0])) is not None and before.op_type in LINEAR:
            found.add(before.name)
            node = before
            if node.op_type == "Conv":  # the projection; what leads to it is the network
                break
    return found


def is_searched(graph: GraphProto, tensor: str) -> bool:
    """Whether a tensor is the distance to the nearest patch, brought into the shape of a map."""
    producers = {output: node for node in graph.node for output in node.output}
    names = [tensor]
    while names:
        node = producers.get(names.pop())
        if node is not None and node.op_type == "ReduceMin":
            return True
        if node is not None and node.op_type in ("Add", "Reshape", "Transpose"):
            names.extend(node.input)
    return False


def _sums_of_squares(graph: GraphProto) -> set[str]:
    """The squares of activations that are summed at once."""
    readers = _readers(graph)
    squares = (node for node in graph.node if node.op_type == "Mul" and node.input[0] == node.input[1])
    return {node.name for node in squares if {r.op_type for r in readers.get(node.output[0], [])} & {*SUMS}}


def _is_depthwise(node: NodeProto, weight: onnx.TensorProto) -> bool:
    group = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return group > 1 and group == weight.dims[0]


def _size(weight: onnx.TensorProto) -> int:
    size = 4
    for side in weight.dims:
        size *= side
    return size


def _label(weights: list[str]) -> str:
    """The module that the weights belong to: the parts their names begin with alike, the last of one name left out."""
    paths = [weight.split(".")[:-1] for weight in weights]
    alike = takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False))
    return ".".join(parts[0] for parts in alike).removeprefix("network.") or weights[0]


def chosen(all_blocks: list[LayerBlock], reverted: set[str], *, depthwise: bool) -> Iterator[str]:
    """The names of the layers to quantize: those of blocks that are not `reverted`, depthwise ones only if asked;
    searches are none of them."""
    for block in all_blocks:
        if block.name not in reverted and not block.is_search:
            yield from (layer.name for layer in block.layers if depthwise or not layer.depthwise)
