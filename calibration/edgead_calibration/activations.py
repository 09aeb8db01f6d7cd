"""Reads any tensor that a network computes on real images, by running it in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from edgead_calibration.layers import named

Inputs = Sequence[NDArray[np.float32]]  # each (1, 3, H, W), as ops.to_input gives it


def collect_activations(
    network: bytes, tensors: Sequence[str], inputs: Inputs, *, unoptimized: bool
) -> Iterator[list[NDArray]]:  # type: ignore[type-arg]
    """The values of `tensors` for one input after the other.

    `unoptimized` runs every node for itself in floating point, which is how TensorRT's INT8 counts; otherwise as the
    runtime would on the line.
    """
    model = onnx.load_from_string(network)
    have = {output.name for output in model.graph.output}
    kinds = float_tensors(model)
    for name in dict.fromkeys(tensors):
        if name not in have:
            model.graph.output.append(helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), None))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # sums in one order: the same bytes on every machine
    if unoptimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for image in inputs:
        yield session.run(list(tensors), {"image": image})


def float_tensors(model: ModelProto) -> dict[str, int]:
    """The element type of every tensor that a node makes and that is FP32 or FP16."""
    inferred = onnx.shape_inference.infer_shapes(model)
    made = {output for node in inferred.graph.node for output in node.output}
    values = (*inferred.graph.value_info, *inferred.graph.output)
    kinds = {value.name: value.type.tensor_type.elem_type for value in values if value.name in made}
    return {name: kind for name, kind in kinds.items() if kind in (TensorProto.FLOAT, TensorProto.FLOAT16)}


def features(network: bytes, inputs: Inputs) -> NDArray[np.float32]:
    """One row an image: the mean of every channel after every convolution, (N, channels), each column standardized."""
    model = named(network)
    names = [node.output[0] for node in model.graph.node if node.op_type == "Conv"]
    rows = [
        np.concatenate([value.mean(axis=(0, 2, 3)) for value in values])
        for values in collect_activations(network, names, inputs, unoptimized=False)
    ]
    table = np.stack(rows)
    spread = table.std(axis=0)
    return np.asarray((table - table.mean(axis=0)) / np.where(spread > 0, spread, 1), np.float32)
