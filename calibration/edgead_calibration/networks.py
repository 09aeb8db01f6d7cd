"""Makes networks of lower precision from an FP32 one, with any of its blocks reverted to FP32."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime as ort

from edgead_calibration.activations import Inputs
from edgead_calibration.fp16 import fp32_nodes, to_fp16
from edgead_calibration.layers import LayerBlock, activations_of, blocks, chosen, named
from edgead_calibration.ranges import observe, quantize
from edgead_calibration.recipe import Int8
from edgead_calibration.rules import violations
from edgead_calibration.statistics import FeatureStatistics

SMALL = 0.1  # of the weights: a block that reads the image and has fewer can be left in FP32
STATISTICS = 16  # images to which the statistics of a quantized network are refitted


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedModelFactory:
    """Makes networks of one precision. Both functions take the names of the blocks that stay as they are."""

    blocks: list[LayerBlock]
    make: Callable[[Collection[str]], bytes]  # what may be shipped
    draft: Callable[[Collection[str]], bytes]  # the same without refitted statistics, in a fraction of the time
    fp32_nodes: dict[str, str]  # nodes that stay FP32 for their values' sake, and why
    is_tensorrt: bool

    def share(self, reverted: Collection[str]) -> float:
        """The share of the weights, in bytes of FP32, that is not in a reverted block."""
        total = sum(block.weights for block in self.blocks)
        return sum(block.weights for block in self.blocks if block.name not in reverted) / total if total else 0.0


def int8(network: bytes, inputs: Inputs, settings: Int8) -> QuantizedModelFactory:
    """INT8 in the form the settings say, ranges from `inputs`. What is not INT8 is FP16 for TensorRT, else FP32."""
    observed = observe(network, inputs, settings.method)
    observed = replace(observed, blocks=list(_wanted(observed.blocks, settings)))
    is_tensorrt = settings.form == "tensorrt"
    found = fp32_nodes(network, inputs) if is_tensorrt else {}
    statistics = FeatureStatistics(network, inputs[:STATISTICS], unoptimized=is_tensorrt)

    def draft(reverted: Collection[str]) -> bytes:
        made = quantize(
            observed, settings.form, reverted, depthwise=settings.depthwise, reduce_range=settings.reduce_range
        )
        return to_fp16(made, found) if is_tensorrt else made

    def make(reverted: Collection[str]) -> bytes:
        return statistics.refit(draft(reverted))

    return QuantizedModelFactory(observed.blocks, make, draft, found, is_tensorrt)


def _wanted(all_blocks: Sequence[LayerBlock], settings: Int8) -> Iterator[LayerBlock]:
    """The blocks that the settings have in INT8."""
    total = sum(block.weights for block in all_blocks if not block.is_search)
    for block in all_blocks:
        is_small = block.weights < SMALL * total
        if (settings.first or not block.reads_image or not is_small) and (settings.searches or not block.is_search):
            yield block


def fp16(network: bytes, inputs: Inputs) -> QuantizedModelFactory:
    """FP16 with the FP32 nodes that `inputs` show to need it; excluded blocks are FP32 too."""
    found = fp32_nodes(network, inputs)
    model = named(network)
    parts = blocks(model)

    def make(reverted: Collection[str]) -> bytes:
        held = set(chosen([part for part in parts if part.name in reverted], set(), depthwise=True))
        return to_fp16(network, found.keys() | held | set(activations_of(model.graph, held)))

    return QuantizedModelFactory(parts, make, make, found, is_tensorrt=True)


def broken(factory: QuantizedModelFactory, network: bytes, inputs: Inputs, batches: Collection[int]) -> list[str]:
    """What keeps a network from being run at all, in words: TensorRT's rules, and batches that give other maps."""
    faults = (
        [f"TensorRT would reject it: {violation}" for violation in violations(network)] if factory.is_tensorrt else []
    )
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session: Any = ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    for batch in batches:
        several = [inputs[index % len(inputs)] for index in range(batch)]
        alone = [session.run(None, {"image": one}) for one in several]
        together = session.run(None, {"image": np.concatenate(several)})
        for output, values in zip(session.get_outputs(), zip(together, *alone, strict=True), strict=True):
            one, *others = values
            expected = np.concatenate(others)
            if one.shape != expected.shape or not np.allclose(one, expected, rtol=1e-3, atol=1e-3 * np.abs(one).max()):
                faults.append(f"it gives other '{output.name}' maps in a batch of {batch}")
    return faults
