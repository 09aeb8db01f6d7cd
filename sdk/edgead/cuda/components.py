"""Runs `ops.components` on the GPU: class logits to labels, histograms and distances, frame by frame."""

from __future__ import annotations

import math

import numpy as np

from edgead.bundle import ComponentSpec
from edgead.cuda.buffers import Buffer, HostDeviceBuffer, Layout, ResultBlock
from edgead.cuda.context import CudaContext, Stream, kernel_args
from edgead.cuda.fuse import DeviceMap
from edgead.cuda.kernels import Kernels
from edgead.errors import EngineError
from edgead.ops import Components
from edgead.ops.components import ComponentStatistics

HISTOGRAMS = 8  # as in components.cu
THREADS = (256, 1, 1)
BLOCKS = 512  # of a batch, about: enough for every GPU, and few enough to add up
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
COUNTING = np.dtype(  # struct Counting
    [
        ("histograms", _HISTOGRAM, HISTOGRAMS),
        ("logits", "u8"),
        ("labels", "u8"),
        ("distances", "u8"),
        ("faults", "u8"),
        ("finished", "u8"),
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


class ComponentHistograms:
    """Gives `labels` (batch, height, width) uint8, `distances` (batch, histograms) float32, `counts`, and `faults`.

    `counts` holds one array for each histogram, (batch, rows, columns, K) uint32 with the background first; divided by
    a cell's labels they are `ops.count_components`. `faults` (batch,) uint32 are a frame's logits that are no number.
    Scales and words are the host's.
    """

    @staticmethod
    def layout(components: Components, batch: int) -> Layout:
        """What it needs of a `ResultBlock`."""
        spec, classes = components.spec, len(components.spec.names)
        return {
            "labels": ((batch, spec.height, spec.width), np.uint8),
            "distances": ((batch, len(spec.histograms)), np.float32),
            "faults": ((batch,), np.uint32),
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
        self._count = kernels.get("components", "count", COUNTING)
        self.labels, self.distances, self.faults = (results.host[name] for name in ("labels", "distances", "faults"))
        self.counts = [results.host[f"counts{index}"] for index in range(len(spec.histograms))]
        self._zeroed = results.span("faults", f"counts{len(spec.histograms) - 1}")
        finished = Buffer(gpu, 4 * len(self.labels))
        stream.zero(finished.address, len(self.labels))
        self._args = kernel_args(COUNTING)
        for index, (one, fitted) in enumerate(zip(spec.histograms, components.statistics, strict=True)):
            addresses = results.address(f"counts{index}"), _sent(gpu, fitted, stream)
            self._args["histograms"][index] = (*addresses, one.rows, one.columns, len(fitted.factor), 0)
        stream.synchronize()
        rows, columns, slices = _grid(spec, len(self.labels))
        values = {name: results.address(name) for name in ("labels", "distances", "faults")} | {
            "logits": logits.address,
            "finished": finished.address,
            "histogram_count": len(spec.histograms),
            "classes": classes,
            "source_height": logits.height,
            "source_width": logits.width,
            "height": spec.height,
            "width": spec.width,
            "rows": rows,
            "columns": columns,
            "slices": slices,
            "is_half": logits.half,
        }
        for name, value in values.items():
            self._args[name] = value
        self._grid = rows * columns, slices

    def launch(self, count: int, stream: Stream) -> None:
        """Count the first `count` frames; all of it stays on the device."""
        assert 1 <= count <= len(self.labels)
        stream.zero(*self._zeroed)
        stream.launch(self._count, (*self._grid, count), THREADS, self._args)


def _sent(gpu: CudaContext, fitted: ComponentStatistics, stream: Stream) -> int:
    """The address of a histogram's mean and factor on the device."""
    statistics = HostDeviceBuffer(gpu, (1 + len(fitted.factor), fitted.mean.size), np.float32)
    statistics.host[0], statistics.host[1:] = fitted.mean, fitted.factor
    statistics.upload(stream)
    return statistics.address


def _grid(spec: ComponentSpec, batch: int) -> tuple[int, int, int]:
    """Rows and columns of the grid that all histograms' grids divide, and the slices of each of its cells."""
    rows = math.lcm(*(one.rows for one in spec.histograms))  # both divide the labels, as every histogram's do
    columns = math.lcm(*(one.columns for one in spec.histograms))
    each, most = BLOCKS / (rows * columns * batch), spec.height * spec.width / (rows * columns * THREADS[0])
    return rows, columns, max(1, math.ceil(min(each, most)))
