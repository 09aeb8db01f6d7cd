"""Runs `ops.components` on the GPU: class logits to labels, histograms and distances, frame by frame."""

from __future__ import annotations

import math

import numpy as np

from edgead.cuda.buffers import HostDeviceBuffer, Layout, ResultBlock
from edgead.cuda.context import CudaContext, Stream, kernel_args
from edgead.cuda.fuse import DeviceMap
from edgead.cuda.kernels import Kernels
from edgead.errors import EngineError
from edgead.ops import Components

HISTOGRAMS = 8  # as in components.cu
THREADS = (256, 1, 1)
SLICE = 4096  # labels of a block, about
_HISTOGRAM = np.dtype(  # struct Histogram of components.cu
    [
        ("counts", "u8"),
        ("statistics", "u8"),
        ("rows", "i4"),
        ("columns", "i4"),
        ("factors", "i4"),
        ("unused", "i4"),
    ]
)
LABELING = np.dtype(  # struct Labeling
    [
        ("histograms", _HISTOGRAM, HISTOGRAMS),
        ("logits", "u8"),
        ("labels", "u8"),
        ("histogram_count", "i4"),
        ("classes", "i4"),
        ("source_height", "i4"),
        ("source_width", "i4"),
        ("height", "i4"),
        ("width", "i4"),
        ("rows", "i4"),
        ("columns", "i4"),
        ("slices", "i4"),
        ("is_half", "i4"),
    ]
)
MEASURING = np.dtype(  # struct Measuring
    [
        ("histograms", _HISTOGRAM, HISTOGRAMS),
        ("distances", "u8"),
        ("histogram_count", "i4"),
        ("classes", "i4"),
        ("cells", "i4"),
        ("unused", "i4"),
    ]
)


class ComponentHistograms:
    """Gives `labels` (batch, height, width) uint8, `distances` (batch, histograms) float32 and `counts` in a block.

    `counts` holds one array for each histogram, (batch, rows, columns, K) uint32 with the background first; divided by
    a cell's labels they are `ops.count_components`. Scales and words are the host's.
    """

    @staticmethod
    def layout(components: Components, batch: int) -> Layout:
        """What it needs of a `ResultBlock`."""
        spec, classes = components.spec, len(components.spec.names)
        return {
            "labels": ((batch, spec.height, spec.width), np.uint8),
            "distances": ((batch, len(spec.histograms)), np.float32),
            **{
                f"counts{index}": ((batch, one.rows, one.columns, classes), np.uint32)
                for index, one in enumerate(spec.histograms)
            },
        }

    def __init__(
        self,
        gpu: CudaContext,
        kernels: Kernels,
        components: Components,
        logits: DeviceMap,
        stream: Stream,
        results: ResultBlock,
    ) -> None:
        """`logits` is the network's output, (batch, K, h, w); `results` has what `layout` asks for.

        The stream is waited for.
        """
        spec, classes = components.spec, len(components.spec.names)
        if len(spec.histograms) > HISTOGRAMS:
            raise EngineError(
                f"the CUDA kernels count {HISTOGRAMS} histograms, not {len(spec.histograms)}: use --engine onnx"
            )
        self._label = kernels.get("components", "label", LABELING)
        self._distance = kernels.get("components", "distance", MEASURING)
        self.labels, self.distances = results.host["labels"], results.host["distances"]
        self.counts = [results.host[f"counts{index}"] for index in range(len(spec.histograms))]
        self._addresses = [results.address(f"counts{index}") for index in range(len(spec.histograms))]
        self._labeling, self._measuring = kernel_args(LABELING), kernel_args(MEASURING)
        for index, (one, fitted) in enumerate(zip(spec.histograms, components.statistics, strict=True)):
            statistics = HostDeviceBuffer(gpu, (1 + len(fitted.factor), fitted.mean.size), np.float32)
            statistics.host[0], statistics.host[1:] = fitted.mean, fitted.factor
            statistics.upload(stream)
            entry = (self._addresses[index], statistics.address, one.rows, one.columns, len(fitted.factor), 0)
            self._labeling["histograms"][index] = self._measuring["histograms"][index] = entry
        stream.synchronize()
        rows = math.lcm(*(one.rows for one in spec.histograms))  # both divide the labels, as every histogram's do
        columns = math.lcm(*(one.columns for one in spec.histograms))
        cells = spec.height * spec.width
        slices = math.ceil(cells / (rows * columns) / SLICE)
        for task in (self._labeling, self._measuring):
            task["histogram_count"], task["classes"] = len(spec.histograms), classes
        self._labeling["logits"], self._labeling["labels"] = logits.address, results.address("labels")
        self._labeling["source_height"], self._labeling["source_width"] = logits.height, logits.width
        self._labeling["height"], self._labeling["width"] = spec.height, spec.width
        self._labeling["rows"], self._labeling["columns"] = rows, columns
        self._labeling["slices"], self._labeling["is_half"] = slices, logits.half
        self._measuring["distances"], self._measuring["cells"] = results.address("distances"), cells
        self._grid = rows * columns, slices

    def launch(self, count: int, stream: Stream) -> None:
        """Count the first `count` frames; all three stay on the device."""
        assert 1 <= count <= len(self.labels)
        for address, counts in zip(self._addresses, self.counts, strict=True):
            stream.zero(address, counts[:count].size)
        stream.launch(self._label, (*self._grid, count), THREADS, self._labeling)
        stream.launch(self._distance, (len(self.counts), 1, count), THREADS, self._measuring)
