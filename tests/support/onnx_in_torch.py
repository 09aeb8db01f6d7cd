"""Runs a bundle's ONNX graph as a torch module, with the operators that the edge forms have.

For machines that have a GPU and PyTorch but no TensorRT: what surrounds the network then runs on the real GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

TYPES = {TensorProto.FLOAT: torch.float32, TensorProto.FLOAT16: torch.float16, TensorProto.INT64: torch.int64}
Values = list[Any]  # a tensor each, or None for an input that is left out
Attributes = dict[str, Any]


def _convolution(values: Values, attributes: Attributes) -> Tensor:
    image, weight, bias = (*values, None)[:3]
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    if (top, left) != (bottom, right):
        image, top, left = functional.pad(image, (left, right, top, bottom)), 0, 0
    return functional.conv2d(
        image,
        weight,
        bias,
        attributes.get("strides", 1),
        (top, left),
        attributes.get("dilations", 1),
        attributes.get("group", 1),
    )


def _pooled(values: Values, attributes: Attributes) -> Tensor:
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    assert (top, left) == (bottom, right)
    counts = bool(attributes.get("count_include_pad", 0))
    kernel, strides = attributes["kernel_shape"], attributes.get("strides", [1, 1])
    return functional.avg_pool2d(values[0], kernel, strides, (top, left), count_include_pad=counts)


def _resized(values: Values, attributes: Attributes) -> Tensor:
    image, _, scales, sizes = (*values, None, None)[:4]
    assert attributes.get("mode") in (b"linear", b"nearest", None)
    if sizes is not None:
        size = sizes[2:]
    else:
        size = [round(side * scale) for side, scale in zip(image.shape[2:], scales[2:], strict=True)]
    if attributes.get("mode") != b"linear":
        return functional.interpolate(image, size, mode="nearest")
    assert attributes.get("coordinate_transformation_mode", b"half_pixel") in (b"half_pixel", b"pytorch_half_pixel")
    return functional.interpolate(image, size, mode="bilinear", align_corners=False)


def _reduced(values: Values, attributes: Attributes, work: Callable[..., Tensor]) -> Tensor:
    axes = attributes.get("axes") or (values[1] if len(values) > 1 else list(range(values[0].ndim)))
    return work(values[0], dim=tuple(axes), keepdim=bool(attributes.get("keepdims", 1)))


def _axes(values: Values, attributes: Attributes) -> list[int]:
    return attributes.get("axes") or values[1]


def _unsqueezed(values: Values, attributes: Attributes) -> Tensor:
    image = values[0]
    for axis in sorted(_axes(values, attributes)):
        image = image.unsqueeze(axis)
    return image


def _reshaped(values: Values, attributes: Attributes) -> Tensor:
    shape = [values[0].shape[at] if size == 0 else size for at, size in enumerate(values[1])]
    return values[0].reshape(shape)


def _clipped(values: Values, attributes: Attributes) -> Tensor:
    image, least, most = (*values, None, None)[:3]
    return image.clamp(
        attributes.get("min") if least is None else least[0], attributes.get("max") if most is None else most[0]
    )


def _expanded(values: Values, attributes: Attributes) -> Tensor:
    return values[0].expand(torch.broadcast_shapes(values[0].shape, tuple(values[1])))


OPERATORS: dict[str, Callable[[Values, Attributes], Tensor]] = {
    "Abs": lambda values, _: values[0].abs(),
    "Add": lambda values, _: values[0] + values[1],
    "AveragePool": _pooled,
    "Cast": lambda values, attributes: values[0].to(TYPES[attributes["to"]]),
    "Clip": _clipped,
    "Concat": lambda values, attributes: torch.cat(values, attributes["axis"]),
    "Conv": _convolution,
    "Div": lambda values, _: values[0] / values[1],
    "Expand": _expanded,
    "Gather": lambda values, attributes: (
        values[0].index_select(attributes.get("axis", 0), values[1].flatten()).reshape(_gathered(values, attributes))
    ),
    "Identity": lambda values, _: values[0],
    "MatMul": lambda values, _: values[0] @ values[1],
    "Max": lambda values, _: torch.maximum(values[0], values[1]),
    "Min": lambda values, _: torch.minimum(values[0], values[1]),
    "Mul": lambda values, _: values[0] * values[1],
    "ReduceMax": lambda values, attributes: _reduced(values, attributes, torch.amax),
    "ReduceMean": lambda values, attributes: _reduced(values, attributes, torch.mean),
    "ReduceMin": lambda values, attributes: _reduced(values, attributes, torch.amin),
    "ReduceSum": lambda values, attributes: _reduced(values, attributes, torch.sum),
    "Relu": lambda values, _: values[0].relu(),
    "Reshape": _reshaped,
    "Resize": _resized,
    "Sigmoid": lambda values, _: values[0].sigmoid(),
    "Softmax": lambda values, attributes: values[0].softmax(attributes.get("axis", -1)),
    "Sqrt": lambda values, _: values[0].sqrt(),
    "Squeeze": lambda values, attributes: values[0].squeeze(tuple(_axes(values, attributes))),
    "Sub": lambda values, _: values[0] - values[1],
    "Transpose": lambda values, attributes: values[0].permute(attributes["perm"]),
    "Unsqueeze": _unsqueezed,
}


# whose inputs but the first say how, in plain numbers
REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum")
PLAIN = (*REDUCTIONS, "Clip", "Expand", "Reshape", "Resize", "Squeeze", "Unsqueeze")


def _gathered(values: Values, attributes: Attributes) -> list[int]:
    axis, shape = attributes.get("axis", 0), list(values[0].shape)
    return [*shape[:axis], *values[1].shape, *shape[axis + 1 :]]


class OnnxModule(nn.Module):
    """A graph: image (B, 3, H, W) in, its outputs in their order out. Sizes, axes and limits are plain numbers: to read
    one from the GPU would wait for it, which no capture allows."""

    def __init__(self, network: bytes) -> None:
        """Raises NotImplementedError for an operator that is not among those above."""
        super().__init__()
        graph = onnx.load_from_string(network).graph
        unknown = {node.op_type for node in graph.node} - {*OPERATORS, "Constant"}
        if unknown:
            raise NotImplementedError(f"torch is given no {', '.join(sorted(unknown))}")
        self._places: dict[str, str] = {}  # names of constants, and of their buffers
        self._numbers: dict[str, list[Any]] = {}
        constants = {tensor.name: tensor for tensor in graph.initializer}
        constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
        plain = {name for node in graph.node if node.op_type in PLAIN for name in node.input[1:]}
        for index, (name, tensor) in enumerate(constants.items()):
            values = np.array(numpy_helper.to_array(tensor))
            if name in plain:
                self._numbers[name] = values.ravel().tolist()
            else:
                self._places[name] = f"constant_{index}"
                self.register_buffer(self._places[name], torch.from_numpy(values))
        self._nodes = [_prepared(node) for node in graph.node if node.op_type != "Constant"]
        self.inputs = [_port(value) for value in graph.input if value.name not in constants]
        self.outputs = [_port(value) for value in graph.output]

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        known: dict[str, Any] = {"": None, self.inputs[0][0]: image, **self._numbers}
        known.update({name: getattr(self, place) for name, place in self._places.items()})
        for kind, names, output, attributes in self._nodes:
            known[output] = OPERATORS[kind]([known[name] for name in names], attributes)
        return tuple(known[name] for name, *_ in self.outputs)


def _prepared(node: NodeProto) -> tuple[str, list[str], str, Attributes]:
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    attributes = {name: list(value) if hasattr(value, "__iter__") and not isinstance(value, bytes) else value
                  for name, value in attributes.items()}  # fmt: skip
    return node.op_type, list(node.input), node.output[0], attributes


def _port(value: Any) -> tuple[str, torch.dtype, tuple[int, ...]]:
    """Name, type and shape, -1 where it is open."""
    kind = value.type.tensor_type
    return value.name, TYPES[kind.elem_type], tuple(dim.dim_value or -1 for dim in kind.shape.dim)
