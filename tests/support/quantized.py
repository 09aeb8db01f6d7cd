"""An exported graph in INT8, and whether it orders cells as FP32 does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edgead_calibration.networks import int8
from edgead_calibration.recipe import Int8

Inputs = NDArray[np.float32]  # (N, 3, H, W)


def quantize(source: Path, target: Path, inputs: Inputs, kept: Sequence[str] = ()) -> int:
    """Write `source` in INT8, ranges and statistics from `inputs`; gives the number of convolutions that are INT8.

    Blocks with one of `kept` in their name stay in FP32.
    """
    maker = int8(source.read_bytes(), [one[None] for one in inputs], Int8(form="cpu", reduce_range=True))
    left = [block.name for block in maker.blocks if any(part in block.name for part in kept)]
    target.write_bytes(maker.make(left))
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
