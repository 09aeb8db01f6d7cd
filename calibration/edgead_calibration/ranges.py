"""Quantizes to INT8 by quantize and dequantize nodes (Q/DQ) in the ONNX graph, with ONNX Runtime's quantizer.

Ranges are observed once, on representative good images, and serve every form that an engine wants:

- `cpu`: activations uint8, weights int8, biases quantized, activation functions absorbed. ONNX Runtime and OpenVINO.
- `tensorrt`: both int8 and symmetric, biases left alone, Q after the activation function. TensorRT 10.3 to 11 and
  TensorRT-RTX reject anything else (see edgead_calibration.rules).
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from edgead_calibration.layers import (
    ACTIVATIONS,
    WEIGHTED,
    LayerBlock,
    activations_of,
    blocks,
    chosen,
    named,
    searches,
)
from edgead_calibration.search import quantize_searches

Method = Literal["minmax", "entropy", "percentile"]
Form = Literal["cpu", "tensorrt"]
Inputs = Sequence[NDArray[np.float32]]  # each (1, 3, H, W), as ops.to_input gives it

METHODS: dict[Method, tuple[CalibrationMethod, dict[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "entropy": (CalibrationMethod.Entropy, {"num_bins": 128, "num_quantized_bins": 128}),
    "percentile": (CalibrationMethod.Percentile, {"num_bins": 2048, "percentile": 99.99, "symmetric": False}),
}
# TensorRT fuses a layer with its activation function and quantizes its input only; what is not fused keeps precision.
_OPEN = [*WEIGHTED, *ACTIVATIONS, "Add", "Concat", "Mul", "MaxPool", "AveragePool", "ReduceMean", "Resize", "Softmax"]
_EXTRA: dict[Form, dict[str, Any]] = {
    "cpu": {},
    "tensorrt": {
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "OpTypesToExcludeOutputQuantization": _OPEN,
    },
}


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """A network, its blocks, and the range of every tensor that may be quantized."""

    model: ModelProto
    blocks: list[LayerBlock]
    ranges: TensorsData

    def ends(self, tensor: str) -> tuple[float, float]:
        """The lowest and the highest value of a tensor."""
        lowest, highest = (float(np.min(end)) for end in self.ranges[tensor].range_value)
        return lowest, highest


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
    def __init__(self, image: NDArray[np.float32]) -> None:
        self._feeds: Iterator[dict[str, NDArray[np.float32]]] = iter([{"image": image}])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._feeds, None)


def observe(network: bytes, images: Inputs, method: Method) -> Observed:
    """The ranges that good images give, and all blocks; `entropy` and `percentile` cut off what is rare."""
    model = named(network)
    kind, options = METHODS[method]
    with tempfile.TemporaryDirectory(prefix="edgead-") as folder:
        source = Path(folder) / "network.onnx"
        onnx.save(model, source)
        calibrator = create_calibrator(
            source,
            [*WEIGHTED, *ACTIVATIONS, "Add"],
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=kind,
            extra_options=options,
        )
        with redirect_stdout(io.StringIO()):  # the calibrators print what they do
            for image in images:  # one by one: the calibrator keeps every activation until it has counted them
                calibrator.collect_data(_Reader(image))
            ranges = calibrator.compute_data()
    return Observed(model, [*blocks(model), *searches(model)], ranges)


def quantize(
    observed: Observed,
    form: Form,
    reverted: Collection[str] = (),
    *,
    depthwise: bool = True,
    reduce_range: bool = False,
) -> bytes:
    """The network in INT8 but for the blocks named in `reverted`, as ONNX bytes; the same call gives the same bytes.

    `depthwise` says whether depthwise convolutions are quantized, `reduce_range` keeps weights to 7 bits, without
    which processors that have AVX2 or AVX-512 and no VNNI add up two products beyond 16 bits and saturate.
    """
    model = ModelProto()
    model.CopyFrom(observed.model)
    sought = [block for block in observed.blocks if block.is_search and block.name not in reverted]
    names = {layer.name for block in sought for layer in block.layers}
    quantize_searches(model, names, observed.ends, reduce_range=reduce_range)
    layers = set(chosen(observed.blocks, set(reverted), depthwise=depthwise))
    if not layers:
        return bytes(model.SerializeToString(deterministic=True))
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=reduce_range,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8 if form == "cpu" else QuantType.QInt8,
        tensors_range=observed.ranges,
        nodes_to_quantize=[*layers, *(activations_of(model.graph, layers) if form == "cpu" else [])],
        nodes_to_exclude=[],
        op_types_to_quantize=[*WEIGHTED, *ACTIVATIONS, "Add"],
        extra_options=dict(_EXTRA[form]),
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    _pad_in_fp32(quantizer.model.model)
    return _clean(quantizer.model.model)


def _pad_in_fp32(model: ModelProto) -> None:
    """Average pooling that pads reads what was not quantized: OpenVINO pads quantized values in a way that
    makes the map of what surrounds a cell useless (OpenVINO 2026.4)."""
    producers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        pads = any(any(attribute.ints) for attribute in node.attribute if attribute.name == "pads")
        before = producers.get(node.input[0]) if node.op_type == "AveragePool" and pads else None
        if before is not None and before.op_type == "DequantizeLinear":
            node.input[0] = producers[before.input[0]].input[0]


def _clean(model: ModelProto) -> bytes:
    """The bytes, without the quantizer's name and its stale shapes."""
    model.producer_name, model.producer_version = "edgead", ""
    del model.metadata_props[:]
    del model.graph.value_info[:]
    return bytes(onnx.shape_inference.infer_shapes(model).SerializeToString(deterministic=True))
