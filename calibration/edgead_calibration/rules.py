"""Checks a Q/DQ graph against TensorRT's rules without TensorRT: 10.3 to 11 on devices, and TensorRT-RTX.

TensorRT has no switches for precision any more: it runs what the graph says, and a graph outside these rules is
rejected on the device, or runs slower than FP16 without a word.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, numpy_helper

Q, DQ = "QuantizeLinear", "DequantizeLinear"
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def violations(network: bytes) -> list[str]:
    """Each place where the graph breaks a rule, in words that name the node; none for a graph TensorRT takes."""
    return list(_Walk(network))


class _Walk:
    def __init__(self, network: bytes) -> None:
        self._model = onnx.load_from_string(network)
        graph = self._model.graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._producers = {output: node for node in graph.node for output in node.output}
        self._readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def __iter__(self) -> Iterator[str]:
        for node in self._model.graph.node:
            if node.op_type not in (Q, DQ):
                continue
            if node.domain not in ("", "ai.onnx"):
                yield f"{node.name}: {node.op_type} of the domain {node.domain}, which only ONNX Runtime knows"
            yield from self._numbers(node)
            yield from self._quantize(node) if node.op_type == Q else self._dequantize(node)

    def _numbers(self, node: NodeProto) -> Iterator[str]:
        """Scale and zero point must be constants, symmetric and of a type TensorRT has."""
        scale = self._constants.get(node.input[1])
        if scale is None:
            yield f"{node.name}: its scale is computed, not constant"
        elif scale.data_type == TensorProto.FLOAT16:
            yield f"{node.name}: its scale is FP16, by which TensorRT 10.16 does not dequantize on Orin"
        elif scale.data_type != TensorProto.FLOAT or not (numpy_helper.to_array(scale) > 0).all():
            yield f"{node.name}: its scale is not a positive FP32 number"
        zero = self._constants.get(node.input[2]) if len(node.input) > 2 else None
        if zero is not None and zero.data_type == TensorProto.UINT8:
            yield f"{node.name}: uint8 activations, where TensorRT has int8 alone"
        elif zero is not None and numpy_helper.to_array(zero).any():
            yield f"{node.name}: its zero point is not 0"

    def _quantize(self, node: NodeProto) -> Iterator[str]:
        if node.input[0] in self._constants:
            yield f"{node.name}: a constant is quantized at run time"
        if self._is_per_channel(node):
            yield f"{node.name}: an activation has a scale per channel"
        if any(reader.op_type != DQ for reader in self._readers.get(node.output[0], [])):
            yield f"{node.name}: quantized values are read by something else than {DQ}"
        producer = self._producers.get(node.input[0])
        if producer is not None and producer.op_type in WEIGHTED and self._feeds_activation(node):
            yield f"{node.name}: stands between {producer.name} and its activation function, so that they are not fused"

    def _dequantize(self, node: NodeProto) -> Iterator[str]:
        constant = self._constants.get(node.input[0])
        if constant is None:
            producer = self._producers.get(node.input[0])
            if producer is None or producer.op_type != Q:
                yield f"{node.name}: dequantizes what no {Q} made"
            return
        if constant.data_type == TensorProto.INT32:
            yield f"{node.name}: a bias is quantized"
            return
        if constant.data_type != TensorProto.INT8:
            yield f"{node.name}: a weight is {TensorProto.DataType.Name(constant.data_type)}, where TensorRT takes int8"
        for reader in self._readers.get(node.output[0], []):
            if reader.op_type not in WEIGHTED or reader.input[1] != node.output[0]:
                yield f"{node.name}: a quantized constant that is no layer's weight is read by {reader.name}"
            elif reader.op_type == "Conv" and self._is_per_channel(node) and _axis(node) != 0:
                yield f"{node.name}: a convolution's weight has its scales along axis {_axis(node)}, not 0"

    def _feeds_activation(self, node: NodeProto) -> bool:
        following = [r for dq in self._readers.get(node.output[0], []) for r in self._readers.get(dq.output[0], [])]
        return any(reader.op_type in ("Clip", "Relu") for reader in following)

    def _is_per_channel(self, node: NodeProto) -> bool:
        scale = self._constants.get(node.input[1])
        return scale is not None and int(np.prod(scale.dims)) > 1


def _axis(node: NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), 1)
