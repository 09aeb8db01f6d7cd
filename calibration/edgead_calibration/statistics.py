"""Refits the normalizing statistics of a quantized network on good images.

Our methods end by comparing two activations, whitening the difference by its covariance on good parts, and
standardizing the distance by its usual value and spread. Quantization adds noise of its own to the difference, most
of all where good parts hardly vary, and that is where whitening magnifies it. So the statistics must be those of the
quantized network:

- a whitening (a square 1x1 convolution after the comparison) is followed by the optimal map between the Gaussians of
  what it gave before and after quantization, T = C1^-1/2 (C1^1/2 C0 C1^1/2)^1/2 C1^-1/2 (Olkin and Pukelsheim 1982),
  folded into its weights;
- a standardization (`(x - usual) / spread` at an output, or before its cells are weighted) is moved by the mean
  difference in each cell, and scaled by the ratio of spreads, one number a map; of a distance to the nearest patch it
  is moved alone: the memory may hold the very images, whose distances then have no spread.

Differences are paired, image by image, so that few images are enough.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, numpy_helper

from edgead_calibration.activations import Inputs, collect_activations
from edgead_calibration.fp16 import in_fp32
from edgead_calibration.layers import after_comparison, is_searched

SAMPLES = 10  # cells times images for each dimension of a covariance; with fewer it is left alone
Array = NDArray[np.float64]


class FeatureStatistics:
    """The statistics of one network on good inputs, to which those of its quantized forms are fitted."""

    def __init__(self, network: bytes, inputs: Inputs, *, unoptimized: bool) -> None:
        """`inputs` are of good images; see `collect_activations` for `unoptimized`."""
        graph = onnx.load_from_string(network).graph
        self._inputs, self._unoptimized = inputs, unoptimized
        self._whitenings, self._ends = _whitenings(graph), _standardizations(graph)
        tensors = [*self._whitened(), *self._distances()]
        values = self._values(network, tensors)
        self._before = dict(zip(tensors, values, strict=True))

    def refit(self, quantized: bytes) -> bytes:
        """`quantized` with statistics that on the inputs give what the network gives."""
        model = onnx.load_from_string(quantized)
        constants = {tensor.name: tensor for tensor in model.graph.initializer}

        def change(name: str, values: Array) -> None:
            constants[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))

        def value(name: str) -> Array:
            return numpy_helper.to_array(constants[name]).astype(np.float64)

        for node, after in zip(self._whitenings, self._values(quantized, self._whitened()), strict=True):
            first, second = (_rows(each) for each in (self._before[node.output[0]], after))
            if len(first) < SAMPLES * first.shape[1] or not np.isfinite(second).all():
                continue
            turn = gaussian_map(np.cov(second.T), np.cov(first.T))
            shift = first.mean(axis=0) - turn @ second.mean(axis=0)
            change(node.input[1], (turn @ value(node.input[1])[:, :, 0, 0])[:, :, None, None])
            change(node.input[2], turn @ value(node.input[2]) + shift)
        whitened = model.SerializeToString()
        for (usual, spread), after in zip(self._ends, self._values(whitened, self._distances()), strict=True):
            before = self._before[usual.input[0]]
            searched = is_searched(model.graph, usual.input[0])
            ratio = 1.0 if searched else _ratio(after.std(axis=0).mean(), before.std(axis=0).mean())
            change(usual.input[1], after.mean(axis=0) + ratio * (value(usual.input[1]) - before.mean(axis=0)))
            change(spread.input[1], ratio * value(spread.input[1]))
        return bytes(model.SerializeToString(deterministic=True))

    def _whitened(self) -> list[str]:
        return [node.output[0] for node in self._whitenings]

    def _distances(self) -> list[str]:
        return [usual.input[0] for usual, _ in self._ends]

    def _values(self, network: bytes, tensors: Sequence[str]) -> list[Array]:
        """The tensors' values on all inputs, one below the other."""
        if not tensors:
            return []
        network = in_fp32(network) if self._unoptimized else network
        rows = list(collect_activations(network, tensors, self._inputs, unoptimized=self._unoptimized))
        return [np.concatenate([row[index] for row in rows]).astype(np.float64) for index in range(len(tensors))]


def gaussian_map(source: Array, target: Array) -> Array:
    """The symmetric T with T source T = target, for covariances (n, n); `source` is made regular first."""
    n = len(np.atleast_2d(source))
    regular = np.atleast_2d(source) + 1e-6 * max(np.trace(np.atleast_2d(source)) / n, 1e-30) * np.eye(n)
    half = _root(regular)
    inverse = np.linalg.inv(half)
    return np.asarray(inverse @ _root(half @ np.atleast_2d(target) @ half) @ inverse)


def _root(matrix: Array) -> Array:
    """The symmetric square root of a symmetric matrix without negative eigenvalues but for rounding."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)


def _rows(values: Array) -> Array:
    """(N, C, h, w) as one row a cell."""
    return np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])


def _ratio(after: float, before: float) -> float:
    """The ratio of two spreads, or 1 where one image or a dead map gives none."""
    return float(after / before) if before > 0 and after > 0 else 1.0


def _whitenings(graph: GraphProto) -> list[NodeProto]:
    """Square 1x1 convolutions with a bias after the comparison."""
    tail, shapes = after_comparison(graph), {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    found = []
    for node in graph.node:
        shape = shapes.get(node.input[1], []) if node.op_type == "Conv" and len(node.input) == 3 else []
        if node.name in tail and len(shape) == 4 and shape[2:] == [1, 1] and shape[0] == shape[1]:
            found.append(node)
    return found


def _standardizations(graph: GraphProto) -> list[tuple[NodeProto, NodeProto]]:
    """Pairs of `x - constant` and `x / constant` that end in an output, or in what an output is a share of."""
    constants = {tensor.name for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    found = []
    for output in graph.output:
        spread = producers[output.name]
        if spread.op_type == "Mul":  # a map, and how much each of its cells counts
            factors = [producers[name] for name in spread.input if name in producers]
            spread = next((node for node in factors if node.op_type == "Div"), spread)
        usual = producers.get(spread.input[0])
        if usual is None or (usual.op_type, spread.op_type) != ("Sub", "Div"):
            continue
        if {usual.input[1], spread.input[1]} <= constants:
            found.append((usual, spread))
    return found
