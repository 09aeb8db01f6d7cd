"""Reads back in which precision an engine's layers run, and compares that with what its network asks for.

The network is strongly typed, so that each convolution and matrix product of the ONNX asks for one precision: INT8
where both its factors are dequantized, else its tensors' own. What TensorRT made of it is read from the engine
inspector where there is a GPU, and from the builder's detailed log where there is none. Both name the ONNX
nodes that a layer carries out ("[ONNX Layer: NAME]" in its metadata).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

WEIGHTED = ("CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY")  # layers of a network that ask for a precision
_MOVING = ("CAST", "IDENTITY", "PADDING", "SHUFFLE", "SLICE")  # TensorRT takes a dequantization past them
_PLAIN = ("kgen", "reformat", "noop", "constant", "shape", "signal", "wait", "pointwise")  # that compute no product
_TYPES = {"int8": "int8", "half": "fp16", "fp16": "fp16", "float": "fp32", "fp32": "fp32"}
_TYPE = re.compile(rf"\b(?:{'|'.join(_TYPES)})\b", re.IGNORECASE)
_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_SIDES = ("Inputs", "Constants", "Outputs")
_TENSOR = re.compile(r"Dimensions: \[([-\d,]*)\].*?Datatype: (\w+)")
_FIELD = re.compile(r"(Name|LayerType|Inputs|Constants|Outputs|TacticName|StreamId|EventId|Metadata): ")


class Layer(msgspec.Struct, frozen=True):
    """One layer of an engine. A type is int8, fp16 or fp32; others (indices, booleans) are left out."""

    name: str
    kind: str
    inputs: tuple[str, ...]  # their types
    weights: str  # the type of its weights; empty where it has none, or does not tell
    outputs: tuple[str, ...]
    nodes: tuple[str, ...]  # the ONNX nodes it carries out, in part or whole

    @property
    def precision(self) -> str:
        """What it multiplies: its weights' type, where an input has it too; else that of its first input."""
        if self.weights in self.inputs or not self.inputs:
            return self.weights
        return self.inputs[0]


class LayerPrecision(NamedTuple):
    """A product in the network and the precision it asks for."""

    node: str
    precision: str


def requested_precisions(network: Any) -> list[LayerPrecision]:
    """The precision that each product of a parsed INetworkDefinition asks for."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    producers = {layer.get_output(index).name: layer for layer in layers for index in range(layer.num_outputs)}
    return [
        LayerPrecision(
            layer.name, "int8" if _is_dequantized(layer, producers) else type_name(layer.get_input(0).dtype.name)
        )
        for layer in layers
        if layer.type.name in WEIGHTED
    ]


def _is_dequantized(layer: Any, producers: dict[str, Any]) -> bool:
    """Whether both factors of a product come from dequantizations."""
    return layer.num_inputs > 1 and all(_source(layer.get_input(index), producers) == "DEQUANTIZE" for index in (0, 1))


def _source(tensor: Any, producers: dict[str, Any]) -> str:
    """What kind of layer makes a tensor's values, not counting those that only move them."""
    producer = producers.get(tensor.name) if tensor is not None else None
    while producer is not None and producer.type.name in _MOVING:
        producer = producers.get(producer.get_input(0).name)
    return "" if producer is None else str(producer.type.name)


def precision_mismatches(wanted: Sequence[LayerPrecision], layers: Sequence[Layer]) -> list[str]:
    """What an engine does not do as asked, a clause for each product; none: the engine is what the network says.

    A product that runs in more bits than asked is named too, and one that cannot be found: it may run in any. What
    runs on a deep-learning accelerator is one node without names: its products run in what that node reports.
    """
    carrying: dict[str, list[Layer]] = {}
    for layer in layers:
        for node in layer.nodes:
            carrying.setdefault(node, []).append(layer)
    on_dla = [layer for layer in layers if layer.kind.upper() == "DLA"]
    faults = []
    for one in wanted:
        products = [layer for layer in carrying.get(one.node, []) if not layer.kind.lower().startswith(_PLAIN)]
        found = dict.fromkeys(layer.precision for layer in products or carrying.get(one.node) or on_dla)
        if one.precision not in found:
            faults.append(f"{one.node} runs in {' and '.join(found) or 'a way unknown'}, not {one.precision}")
    return faults


def count(wanted: Sequence[LayerPrecision]) -> dict[str, int]:
    """How many products ask for each precision."""
    return {name: sum(one.precision == name for one in wanted) for name in ("int8", "fp16", "fp32")}


def from_log(lines: Sequence[str]) -> list[Layer]:
    """The layers in a builder's messages: those after `Layers:`, printed with detailed profiling verbosity."""
    text = "\n".join(line for line in lines if line.startswith("Layers:"))
    found = []
    for line in text.splitlines():
        fields = dict(_fields(line))
        if "LayerType" in fields:
            inputs, constants, outputs = (_TENSOR.findall(fields.get(side, "")) for side in _SIDES)
            largest = max(constants, key=lambda one: math.prod(map(int, filter(None, one[0].split(",")))), default=None)
            found.append(
                Layer(
                    name=fields["Name"],
                    kind=fields["LayerType"],
                    inputs=_types([one for _, one in inputs]),
                    weights=type_name(largest[1]) if largest else "",
                    outputs=_types([one for _, one in outputs]),
                    nodes=tuple(_NODE.findall(fields.get("Metadata", ""))),
                )
            )
    return found


def _fields(line: str) -> Iterator[tuple[str, str]]:
    """The fields of a layer's line; those of the tensors inside brackets belong to the field that holds them."""
    depth, start, name = 0, 0, ""
    for index, sign in enumerate(line):
        depth += (sign in "[{") - (sign in "]}")
        match = _FIELD.match(line, index) if depth == 0 and (index == 0 or line[index - 1] == " ") else None
        if match:
            if name:
                yield name, line[start:index].rstrip(", ")
            name, start = match.group(1), match.end()
    if name:
        yield name, line[start:].rstrip(", ")


def from_inspector(information: str) -> list[Layer]:
    """The layers in what IEngineInspector.get_engine_information gives as JSON with detailed profiling verbosity."""
    found = []
    for entry in json.loads(information).get("Layers", []):
        if not isinstance(entry, dict):  # a name alone: the engine was built without details
            continue
        name, metadata = str(entry.get("Name", "")), str(entry.get("Metadata", ""))
        inputs, outputs = (_types(_formats(entry.get(side, []))) for side in ("Inputs", "Outputs"))
        nodes = tuple(_NODE.findall(metadata)) or tuple(name.split(" + "))
        weights = entry.get("Weights", {})
        kind = type_name(str(weights.get("Type", ""))) if isinstance(weights, dict) else ""
        found.append(Layer(name, str(entry.get("LayerType", "")), inputs, kind, outputs, nodes))
    return found


def _formats(tensors: Sequence[dict[str, Any]]) -> list[str]:
    return [str(tensor.get("Format/Datatype") or tensor.get("Datatype") or "") for tensor in tensors]


def _types(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(filter(None, map(type_name, texts)))


def type_name(text: str) -> str:
    """int8, fp16 or fp32 as some word of TensorRT's says it; empty for another type."""
    found = _TYPE.search(text)
    return _TYPES[found.group().lower()] if found else ""
