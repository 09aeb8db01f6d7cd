"""A batch on its whole way, as an engine takes it: frames up, input, network, fused maps and scores down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import tiny

from edgead import Bundle
from edgead.cuda.buffers import HostDeviceBuffer, ResultBlock
from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.frame_buffer import FrameBuffer
from edgead.cuda.fuse import DeviceMap, Fuse
from edgead.cuda.kernels import Kernels
from edgead.cuda.resize import Resize
from edgead.engines import load_engine
from edgead.types import ImageU8, Reading

BATCH = 3


class Gpu:
    """An engine but for its network, which the CPU runs in between."""

    def __init__(self, gpu: CudaContext, kernels: Kernels, stream: Stream, bundle: Bundle) -> None:
        spec, fusion = bundle.manifest.input, bundle.manifest.fusion
        self.stream = stream
        self.session = ort.InferenceSession(bundle.read("fp32.onnx"), providers=["CPUExecutionProvider"])
        self.frames = FrameBuffer(gpu, BATCH)
        self.resize = Resize(gpu, kernels, spec, BATCH)
        self.tensor = HostDeviceBuffer(gpu, (BATCH, 3, spec.height, spec.width), np.float32)
        self.map = HostDeviceBuffer(gpu, (BATCH, tiny.GRID, tiny.GRID), np.float32)
        outputs = {fusion.maps[0].name: DeviceMap(self.map.address, tiny.GRID, tiny.GRID)}
        self.results = ResultBlock(gpu, Fuse.layout(fusion, BATCH))
        self.fuse = Fuse(gpu, kernels, fusion, BATCH, outputs, stream, self.results)

    def infer(self, images: Sequence[ImageU8]) -> list[Reading]:
        count = len(images)
        self.resize.launch(self.frames.upload(images, self.stream), self.stream)
        self.stream.download(self.tensor.host[:count], self.resize.tensor.address)
        self.stream.synchronize()
        for index in range(count):
            (self.map.host[index],) = self.session.run(None, {"image": self.tensor.host[index : index + 1]})[0]
        self.map.upload(self.stream, count)
        self.fuse.launch(count, self.stream)
        self.results.download(self.stream)
        self.stream.synchronize()
        return [Reading(self.fuse.maps[i].copy(), float(self.fuse.scores[i])) for i in range(count)]


@pytest.fixture(scope="module")
def device(gpu: CudaContext, kernels: Kernels, stream: Stream, tiny_bundle: Path) -> Gpu:
    return Gpu(gpu, kernels, stream, Bundle.open(tiny_bundle))


def test_batches_of_any_size_read_as_the_reference_engine_does(device: Gpu, tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    reference = load_engine(bundle, "onnx", threads=1)
    level = max(bundle.manifest.input.scale)  # one gray level at the network's input; the network takes means of them
    images = [tiny.good(1), tiny.bad(2, 120, 90), tiny.bad(3, 64, 48)]
    for batch in (images, images[1:2], images[::-1]):
        for got, expected in zip(device.infer(batch), reference.infer(batch), strict=True):
            np.testing.assert_allclose(got.anomaly_map, expected.anomaly_map, atol=level, rtol=0)
            assert got.score == pytest.approx(expected.score, abs=level)
