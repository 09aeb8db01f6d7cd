"""Runs a batch on the GPU: frames are uploaded, resized, inferred, fused and counted; only results are downloaded.

Everything is made once, for the largest batch; memory for frames grows with the first ones that need more.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgead import ops
from edgead.arrays import AnyImage
from edgead.bundle import Bundle
from edgead.cuda.buffers import ResultBlock
from edgead.cuda.components import ComponentHistograms
from edgead.cuda.context import CudaContext
from edgead.cuda.frame_buffer import DeviceFrames, FrameBuffer, StagedFrames
from edgead.cuda.fuse import Fuse
from edgead.cuda.graph import GraphCache
from edgead.cuda.kernels import Kernels
from edgead.cuda.pinned_blocks import PinnedBlocks
from edgead.cuda.resize import Resize
from edgead.engines.contract import output_names
from edgead.errors import EngineError
from edgead.tensorrt.executor import INPUT, Session
from edgead.tensorrt.library import Library
from edgead.tensorrt.metadata import Prepared
from edgead.types import Reading

SLOTS = 2  # batches under way at the same time: one is staged while the other is on the GPU
GRAPHS = 32  # recorded: a size of batch and sizes of frames have one in each slot, and one for a batch alone
MOST_RESERVED = 1000


class _Slot:
    """What a batch needs to itself while another is under way: its frames, and its results."""

    def __init__(self, gpu: CudaContext, most: int, blocks: PinnedBlocks, results: ResultBlock, fuse: Fuse) -> None:
        self.frames = FrameBuffer(gpu, most, blocks)
        self.results, self.fuse = results, fuse
        self.counter: ComponentHistograms | None = None
        self.arrived, self.done = gpu.event(), gpu.event()


@dataclass(frozen=True, slots=True)
class _Pending:
    """A batch under way."""

    slot: _Slot
    count: int
    start: float  # seconds, when it was begun
    staged: float


class Batches:
    """Readings of up to `most` frames at a time. The GPU's context must be current, here and in `read`.

    While a batch is on the GPU the next one is copied and uploaded (`read_all`).
    """

    def __init__(
        self, gpu: CudaContext, library: Library, bundle: Bundle, prepared: Prepared, compiled: bytes = b""
    ) -> None:
        """`compiled` is what an earlier start gave (`compiled`).

        Raises EngineError where the GPU or TensorRT cannot, BundleError where a member does not fit.
        """
        spec, metadata = bundle.manifest.input, prepared.metadata
        self.sizes = tuple(size // spec.batch for size in metadata.batches)  # in frames
        self.most = max(self.sizes)
        half = next(port.dtype == "fp16" for port in metadata.ports if port.name == INPUT)
        self._stream, self._uploads = gpu.stream(), gpu.stream()
        stream = self._stream
        kernels = Kernels(gpu)
        self._resize = Resize(gpu, kernels, spec, self.most, half=half)
        stream.zero(self._resize.tensor.address, self._resize.tensor.size // 4)  # what a batch leaves free is computed
        self._session = Session(gpu, library, prepared, stream, self._resize.tensor.address, compiled)
        self._components = ops.load_components(bundle)
        self._blocks = PinnedBlocks(gpu)
        self._slots = [self._slot(gpu, kernels, bundle) for _ in range(SLOTS)]
        self._graphs = GraphCache(gpu, stream, library.title, most=GRAPHS)
        self._reserved: set[int] = set()  # numbers of the staged frames that the scratch memory is large enough for
        for index in range(len(self.sizes)):  # no frame is the first: the library allocates then
            self._session.enqueue(index)
        stream.synchronize()

    def _slot(self, gpu: CudaContext, kernels: Kernels, bundle: Bundle) -> _Slot:
        fusion, stream = bundle.manifest.fusion, self._stream
        outputs = {name: self._session.output(name) for name in output_names(fusion)}
        layout = Fuse.layout(fusion, self.most)
        if self._components is not None:
            layout |= ComponentHistograms.layout(self._components, self.most)
        results = ResultBlock(gpu, layout)
        mask, spec = ops.load_mask(bundle), bundle.manifest.input
        fuse = Fuse(gpu, kernels, fusion, self.most, outputs, stream, results, mask, spec)
        slot = _Slot(gpu, self.most, self._blocks, results, fuse)
        if self._components is not None:
            logits = outputs[ops.COMPONENTS]
            slot.counter = ComponentHistograms(gpu, kernels, self._components, logits, stream, results)
        return slot

    def compiled(self) -> bytes:
        """See `Session.compiled`."""
        return self._session.compiled()

    def fitting(self, count: int) -> int:
        """The index of the smallest size that holds so many frames, or of the largest."""
        holding = [index for index, size in enumerate(self.sizes) if size >= count]
        return min(holding, key=self.sizes.__getitem__) if holding else self.sizes.index(self.most)

    def read(self, images: Sequence[AnyImage], index: int) -> list[Reading]:
        """One reading a frame, at most `sizes[index]` of them; their times are shares of the batch's.

        All of the GPU's work is one CUDA graph for each size of batch and sizes of frames: launched, waited for, and
        the results are there. `preprocess_ms` is the copy into pinned memory, `infer_ms` the GPU's work.
        """
        pending = self._begin(self._slots[0], images, index)
        self._stream.synchronize()
        return self._readings(pending)

    def read_all(self, images: Sequence[AnyImage]) -> list[Reading]:
        """One reading a frame, of any number: the next batch is staged and uploaded while one is on the GPU.

        Where there are several, a frame's `infer_ms` is its share of the time from its batch's launch to its results,
        in which others may be under way.
        """
        if len(images) <= self.most:
            return self.read(images, self.fitting(len(images))) if images else []
        readings: list[Reading] = []
        pending: deque[_Pending] = deque()
        try:
            for number, first in enumerate(range(0, len(images), self.most)):
                if len(pending) == SLOTS:
                    readings += self._finish(pending.popleft())
                batch = images[first : first + self.most]
                slot = self._slots[number % SLOTS]
                pending.append(self._begin(slot, batch, self.fitting(len(batch)), is_overlapped=True))
            while pending:
                readings += self._finish(pending.popleft())
        except BaseException:
            with suppress(Exception):  # what the next call writes to must not be in use; the first error is the one
                self._uploads.synchronize()
                self._stream.synchronize()
            raise
        return readings

    def _begin(self, slot: _Slot, images: Sequence[AnyImage], index: int, *, is_overlapped: bool = False) -> _Pending:
        """Stage a batch and put its whole way into the stream; the upload into another where it overlaps, and before
        the graph where it comes from ever other places."""
        start = time.perf_counter()
        staged = slot.frames.stage(images)
        if staged.number not in self._reserved:
            self._reserve(staged)
        ready = time.perf_counter()
        if is_overlapped:
            slot.frames.send(self._uploads)
            slot.arrived.record(self._uploads)
            self._stream.wait_for(slot.arrived)
        elif staged.is_apart:
            slot.frames.send(self._stream)
        is_sent = is_overlapped or staged.is_apart
        key = (index, staged.number, self._resize.scratch, is_sent)
        self._graphs.run(key, partial(self._put, slot, index, staged.frames, is_sent))
        if is_overlapped:
            slot.done.record(self._stream)
        return _Pending(slot, len(images), start, ready)

    def _reserve(self, staged: StagedFrames) -> None:
        if len(self._reserved) > MOST_RESERVED:
            self._reserved.clear()
        self._stream.synchronize()  # the scratch memory may be in use
        self._resize.reserve(staged.frames)
        self._reserved.add(staged.number)

    def _finish(self, pending: _Pending) -> list[Reading]:
        pending.slot.done.synchronize()
        return self._readings(pending)

    def _put(self, slot: _Slot, index: int, frames: DeviceFrames, is_uploaded: bool) -> None:
        """Put the whole way of a batch into the stream, from the upload to the download."""
        stream, count = self._stream, len(frames)
        if not is_uploaded:
            slot.frames.send(stream)
        self._resize.launch(frames, stream)
        self._session.enqueue(index)
        slot.fuse.launch(count, stream)
        if slot.counter is not None:
            slot.counter.launch(count, stream)
        slot.results.download(stream)

    def _readings(self, pending: _Pending) -> list[Reading]:
        done, count = time.perf_counter(), pending.count
        times = 1e3 * (pending.staged - pending.start) / count, 1e3 * (done - pending.staged) / count
        return [self._reading(pending.slot, place, *times) for place in range(count)]

    def _reading(self, slot: _Slot, place: int, preprocess_ms: float, infer_ms: float) -> Reading:
        start = time.perf_counter()
        anomaly_map, score, branches = slot.fuse.maps[place].copy(), float(slot.fuse.scores[place]), None
        if self._components is not None and slot.counter is not None:
            if slot.counter.faults[place]:
                raise EngineError(ops.NO_NUMBER)
            spec, labels = self._components.spec, slot.counter.labels[place].copy()
            histograms = [
                counts[place, :, :, 1:].astype(np.float32) / np.float32(labels.size // (one.rows * one.columns))
                for counts, one in zip(slot.counter.counts, spec.histograms, strict=True)
            ]
            distances = [float(far) for far in slot.counter.distances[place]]
            score, branches = ops.judge_histograms(labels, histograms, distances, score, self._components)
        return Reading(anomaly_map, score, preprocess_ms, infer_ms, 1e3 * (time.perf_counter() - start), branches)
