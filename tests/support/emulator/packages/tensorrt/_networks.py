"""A network: the ONNX graph that was parsed, seen as layers and tensors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import TensorProto, shape_inference

from tensorrt._basics import DataType, Dims, ILogger, LayerType, NetworkDefinitionCreationFlag, checked

TYPES = {
    TensorProto.FLOAT: DataType.FLOAT,
    TensorProto.FLOAT16: DataType.HALF,
    TensorProto.INT8: DataType.INT8,
    TensorProto.UINT8: DataType.UINT8,
    TensorProto.INT32: DataType.INT32,
    TensorProto.INT64: DataType.INT64,
    TensorProto.BOOL: DataType.BOOL,
}
LAYERS = {
    "Conv": LayerType.CONVOLUTION,
    "ConvTranspose": LayerType.DECONVOLUTION,
    "Gemm": LayerType.MATRIX_MULTIPLY,
    "MatMul": LayerType.MATRIX_MULTIPLY,
    "QuantizeLinear": LayerType.QUANTIZE,
    "DequantizeLinear": LayerType.DEQUANTIZE,
    "Relu": LayerType.ACTIVATION,
    "Clip": LayerType.ACTIVATION,
    "Sigmoid": LayerType.ACTIVATION,
    "MaxPool": LayerType.POOLING,
    "AveragePool": LayerType.POOLING,
    "Pad": LayerType.PADDING,
    "Resize": LayerType.RESIZE,
    "Cast": LayerType.CAST,
    "Identity": LayerType.IDENTITY,
    "Concat": LayerType.CONCATENATION,
    "Softmax": LayerType.SOFTMAX,
    "Reshape": LayerType.SHUFFLE,
    "Transpose": LayerType.SHUFFLE,
    "Squeeze": LayerType.SHUFFLE,
    "Unsqueeze": LayerType.SHUFFLE,
    "Flatten": LayerType.SHUFFLE,
    "Constant": LayerType.CONSTANT,
    "Gather": LayerType.GATHER,
    "Slice": LayerType.SLICE,
    "Shape": LayerType.SHAPE,
}
ON_DLA = {LayerType.CONVOLUTION, LayerType.DECONVOLUTION, LayerType.ACTIVATION, LayerType.POOLING}


@dataclass(frozen=True)
class ITensor:
    name: str
    dtype: DataType
    shape: Dims


@dataclass(frozen=True)
class ILayer:
    name: str
    type: LayerType
    inputs: tuple[ITensor, ...]
    outputs: tuple[ITensor, ...]
    metadata: str

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_input(self, index: int) -> ITensor:
        return self.inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self.outputs[index]


@dataclass
class INetworkDefinition:
    """Empty until a parser fills it."""

    flags: int
    raw: bytes = b""
    layers: list[ILayer] = field(default_factory=list)
    inputs: list[ITensor] = field(default_factory=list)
    outputs: list[ITensor] = field(default_factory=list)
    name: str = ""

    def __post_init__(self) -> None:
        if not self.flags >> NetworkDefinitionCreationFlag.STRONGLY_TYPED & 1:
            raise RuntimeError("a network that is not strongly typed: version 11 has none")

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_layer(self, index: int) -> ILayer:
        return self.layers[index]

    def get_input(self, index: int) -> ITensor:
        return self.inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self.outputs[index]


@dataclass(frozen=True)
class ParserError:
    text: str

    def desc(self) -> str:
        return self.text

    def __str__(self) -> str:
        return f"In node -1 with name:  and operator:  (parse): INVALID_GRAPH: {self.text}"


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self._network, self._logger = network, checked(logger)
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def clear_errors(self) -> None:
        self._errors.clear()

    def parse(self, model: Any, path: str | None = None) -> bool:
        raw = bytes(model)
        try:
            graph = shape_inference.infer_shapes(onnx.load_from_string(raw)).graph
            if not graph.output:
                raise ValueError("the network has no outputs")
            self._fill(graph)
        except Exception as error:  # protobuf's and onnx's are of many classes
            text = str(error).replace("\n", " ")
            self._errors.append(ParserError(text))
            self._logger.log(ILogger.ERROR, text)
            return False
        self._network.raw = raw
        return True

    def _fill(self, graph: onnx.GraphProto) -> None:
        weights = {one.name: one for one in graph.initializer}
        known = {value.name: _tensor(value) for value in (*graph.input, *graph.value_info, *graph.output)}
        known |= {name: ITensor(name, TYPES[one.data_type], Dims(one.dims)) for name, one in weights.items()}
        network = self._network
        network.name = graph.name
        network.inputs = [known[one.name] for one in graph.input if one.name not in weights]
        network.outputs = [known[one.name] for one in graph.output]
        for node in graph.node:
            if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
                zeros = weights.get(node.input[2])
                if zeros and (onnx.numpy_helper.to_array(zeros).any() or zeros.data_type != TensorProto.INT8):
                    raise ValueError(f"{node.name}: Non-zero zero point is not supported")
            unknown = ITensor("", DataType.FLOAT, Dims())
            network.layers.append(
                ILayer(
                    node.name or node.output[0],
                    LAYERS.get(node.op_type, LayerType.ELEMENTWISE),
                    tuple(known.get(name, unknown) for name in node.input if name and name not in weights),
                    tuple(known.get(name, unknown) for name in node.output),
                    f"[ONNX Layer: {node.name or node.output[0]}]",
                )
            )


def _tensor(value: onnx.ValueInfoProto) -> ITensor:
    kind = value.type.tensor_type
    sizes = (size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim)
    return ITensor(value.name, TYPES[kind.elem_type], Dims(sizes))
