"""An exported graph in INT8: what shows that a method's convolutions quantize, without a tool that ships it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

Inputs = NDArray[np.float32]  # (N, 3, H, W)


class Reader(CalibrationDataReader):
    """Inputs one by one."""

    def __init__(self, inputs: Inputs) -> None:
        self._feeds: Iterator[dict[str, Inputs]] = iter([{"image": one[None]} for one in inputs])

    def get_next(self) -> dict[str, Inputs] | None:  # type: ignore[override]
        return next(self._feeds, None)


def quantize(source: Path, target: Path, inputs: Inputs, kept: Sequence[str] = ()) -> int:
    """Write `source` with Q/DQ around its convolutions, ranges from `inputs`; gives their number.

    Those whose weights have one of `kept` in their name stay in FP32.
    """
    nodes = [node for node in onnx.load(source).graph.node if node.op_type == "Conv"]
    excluded = [node.name for node in nodes if any(part in node.input[1] for part in kept)]
    quantize_static(
        source,
        target,
        Reader(inputs),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=excluded,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
    )
    written = onnx.load(target).graph.node
    made = {output for node in written if node.op_type == "DequantizeLinear" for output in node.output}
    return sum(node.op_type == "Conv" and set(node.input[:2]) <= made for node in written)


def correlations(exact_file: Path, coarse_file: Path, inputs: Inputs) -> dict[str, float]:
    """Spearman's rank correlation over all cells of all images between two graphs, for every map."""
    sessions = [ort.InferenceSession(file, providers=["CPUExecutionProvider"]) for file in (exact_file, coarse_file)]
    names = [output.name for output in sessions[0].get_outputs()]
    exact, coarse = (session.run(names, {"image": inputs}) for session in sessions)
    return {
        name: float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])
        for name, one, other in zip(names, exact, coarse, strict=True)
    }


def _ranks(values: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.argsort(np.argsort(values, axis=None))
