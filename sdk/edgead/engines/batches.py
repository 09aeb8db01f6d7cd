"""Runs a batch on the GPU: frames are uploaded, resized, inferred, fused and counted; only results are downloaded.

Everything is made once, for the largest batch; memory for frames grows with the first ones that need more.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from edgead import ops
from edgead.bundle import Bundle
from edgead.cuda.buffers import ResultBlock
from edgead.cuda.components import ComponentHistograms
from edgead.cuda.context import CudaContext
from edgead.cuda.frame_buffer import DeviceFrames, FrameBuffer
from edgead.cuda.fuse import Fuse
from edgead.cuda.graph import GraphCache
from edgead.cuda.kernels import Kernels
from edgead.cuda.resize import Resize
from edgead.engines.contract import output_names
from edgead.errors import EngineError
from edgead.tensorrt.executor import INPUT, Session
from edgead.tensorrt.library import Library
from edgead.tensorrt.metadata import Prepared
from edgead.types import ImageU8, Reading


class Batches:
    """Readings of up to `most` frames at a time. The GPU's context must be current, here and in `read`."""

    def __init__(
        self, gpu: CudaContext, library: Library, bundle: Bundle, prepared: Prepared, compiled: bytes = b""
    ) -> None:
        """`compiled` is what an earlier start gave (`compiled`).

        Raises EngineError where the GPU or TensorRT cannot, BundleError where a member does not fit.
        """
        spec, fusion, metadata = bundle.manifest.input, bundle.manifest.fusion, prepared.metadata
        self.sizes = tuple(size // spec.batch for size in metadata.batches)  # in frames
        self.most = max(self.sizes)
        half = next(port.dtype == "fp16" for port in metadata.ports if port.name == INPUT)
        self._stream = stream = gpu.stream()
        kernels = Kernels(gpu)
        self._frames = FrameBuffer(gpu, self.most)
        self._resize = Resize(gpu, kernels, spec, self.most, half=half)
        stream.zero(self._resize.tensor.address, self._resize.tensor.size // 4)  # what a batch leaves free is computed
        self._session = Session(gpu, library, prepared, stream, self._resize.tensor.address, compiled)
        outputs = {name: self._session.output(name) for name in output_names(fusion)}
        self._components, self._counter = ops.load_components(bundle), None
        layout = Fuse.layout(fusion, self.most)
        if self._components is not None:
            layout |= ComponentHistograms.layout(self._components, self.most)
        self._results = results = ResultBlock(gpu, layout)
        self._fuse = Fuse(gpu, kernels, fusion, self.most, outputs, stream, results, ops.load_mask(bundle), spec)
        if self._components is not None:
            logits = outputs[ops.COMPONENTS]
            self._counter = ComponentHistograms(gpu, kernels, self._components, logits, stream, results)
        self._graphs = GraphCache(gpu, stream, library.title)
        for index in range(len(self.sizes)):  # no frame is the first: the library allocates then
            self._session.enqueue(index)
        stream.synchronize()

    def compiled(self) -> bytes:
        """See `Session.compiled`."""
        return self._session.compiled()

    def fitting(self, count: int) -> int:
        """The index of the smallest size that holds so many frames, or of the largest."""
        holding = [index for index, size in enumerate(self.sizes) if size >= count]
        return min(holding, key=self.sizes.__getitem__) if holding else self.sizes.index(self.most)

    def read(self, images: Sequence[ImageU8], index: int) -> list[Reading]:
        """One reading a frame, at most `sizes[index]` of them; their times are shares of the batch's.

        All of the GPU's work is one CUDA graph for each size of batch and sizes of frames: launched, waited for, and
        the results are there. `preprocess_ms` is the copy into pinned memory, `infer_ms` the GPU's work.
        """
        count, stream = len(images), self._stream
        start = time.perf_counter()
        frames = self._frames.stage(images)
        memory = (self._frames.generation, self._resize.reserve(frames))
        staged = time.perf_counter()
        key = (index, memory, tuple(image.shape for image in images))
        self._graphs.run(key, partial(self._put, index, frames))
        stream.synchronize()
        done = time.perf_counter()
        times = 1e3 * (staged - start) / count, 1e3 * (done - staged) / count
        return [self._reading(slot, *times) for slot in range(count)]

    def _put(self, index: int, frames: DeviceFrames) -> None:
        """Put the whole way of a batch into the stream, from the upload to the download."""
        stream, count = self._stream, len(frames)
        self._frames.send(stream)
        self._resize.launch(frames, stream)
        self._session.enqueue(index)
        self._fuse.launch(count, stream)
        if self._counter is not None:
            self._counter.launch(count, stream)
        self._results.download(stream)

    def _reading(self, slot: int, preprocess_ms: float, infer_ms: float) -> Reading:
        start = time.perf_counter()
        anomaly_map, score, branches = self._fuse.maps[slot].copy(), float(self._fuse.scores[slot]), None
        if self._components is not None and self._counter is not None:
            if self._counter.faults[slot]:
                raise EngineError(ops.NO_NUMBER)
            spec, labels = self._components.spec, self._counter.labels[slot].copy()
            histograms = [
                counts[slot, :, :, 1:].astype(np.float32) / np.float32(labels.size // (one.rows * one.columns))
                for counts, one in zip(self._counter.counts, spec.histograms, strict=True)
            ]
            distances = [float(far) for far in self._counter.distances[slot]]
            score, branches = ops.judge_histograms(labels, histograms, distances, score, self._components)
        return Reading(anomaly_map, score, preprocess_ms, infer_ms, 1e3 * (time.perf_counter() - start), branches)
