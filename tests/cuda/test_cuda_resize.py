"""Frames to the network's input on the GPU, against `edgead.ops`."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import ops
from edgead.arrays import DeviceImage, Format, PixelLayout
from edgead.bundle import InputSpec, TileSpec
from edgead.cuda.buffers import HostDeviceBuffer
from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.frame_buffer import DeviceFrames, FrameBuffer
from edgead.cuda.kernels import Kernels
from edgead.cuda.resize import Resize
from edgead.errors import DataError

sizes = st.tuples(st.integers(1, 90), st.integers(1, 90))
targets = st.tuples(st.integers(8, 24), st.integers(8, 24))


def picture(size: tuple[int, ...], seed: int) -> np.ndarray:
    """Noise, the hardest case: neighbors have nothing in common."""
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def spec_of(target: tuple[int, int]) -> InputSpec:
    return InputSpec(height=target[0], width=target[1], scale=(0.017, 0.018, 0.02), offset=(-2.1, -2.0, 1.8))


class Gpu:
    """A GPU, its kernels and a stream, and what can be asked of them here."""

    def __init__(self, gpu: CudaContext, kernels: Kernels, stream: Stream) -> None:
        self.gpu, self.kernels, self.stream = gpu, kernels, stream
        self.frames = FrameBuffer(gpu, 8)

    def tensor(self, pictures: DeviceFrames, spec: InputSpec, *, half: bool = False) -> np.ndarray:
        """The network's input for uploaded pictures."""
        resize = Resize(self.gpu, self.kernels, spec, len(pictures), half=half)
        resize.launch(pictures, self.stream)
        shape = (spec.batch * len(pictures), 3, spec.height, spec.width)
        fetched = HostDeviceBuffer(self.gpu, shape, np.float16 if half else np.float32)
        self.stream.download(fetched.host, resize.tensor.address)
        self.stream.synchronize()
        return fetched.host.astype(np.float64)


@pytest.fixture(scope="module")
def device(gpu: CudaContext, kernels: Kernels, stream: Stream) -> Gpu:
    return Gpu(gpu, kernels, stream)


def assert_within_one_level(
    tensor: np.ndarray, images: list[np.ndarray], spec: InputSpec, *, slack: float = 1e-5, mean: float = 1.0
) -> None:
    """Within one gray level, frame by frame; `slack` is for rounding to the tensor's type, `mean` in gray levels."""
    level = np.array(spec.scale)[:, np.newaxis, np.newaxis]
    for got, image in zip(tensor, images, strict=True):
        apart = np.abs(got - ops.to_input(image, spec)) / level
        assert apart.max() <= 1 + slack / level.min()
        assert apart.mean() <= mean + slack / level.min()


@settings(max_examples=60, deadline=None)
@given(st.lists(sizes, min_size=1, max_size=4), targets, st.booleans(), st.integers(0, 2**32))
def test_frames_of_any_sizes_in_one_batch(
    device: Gpu, shapes: list[tuple[int, int]], target: tuple[int, int], half: bool, seed: int
) -> None:
    images = [picture((*shape, 3), seed + index) for index, shape in enumerate(shapes)]
    spec = spec_of(target)
    tensor = device.tensor(device.frames.upload(images, device.stream), spec, half=half)
    assert_within_one_level(tensor, images, spec, slack=2e-3 if half else 1e-5)


@pytest.mark.parametrize("width", [256, 255, 254, 253])
@pytest.mark.parametrize("height", [256, 131, 67])
def test_halving_is_exact_at_every_depth(device: Gpu, height: int, width: int) -> None:
    image, spec = picture((height, width, 3), 7), spec_of((8, 8))
    resize = Resize(device.gpu, device.kernels, spec, 1)
    halved = resize.launch(device.frames.upload([image], device.stream), device.stream)
    expected = image
    while min(expected.shape[:2]) >= 16:
        h, w = expected.shape[0] // 2, expected.shape[1] // 2
        expected = cv2.resize(expected[: 2 * h, : 2 * w], (w, h), interpolation=cv2.INTER_AREA)
    fetched = HostDeviceBuffer(device.gpu, expected.shape, np.uint8)
    device.stream.download(fetched.host, int(halved["pixels"][0]))
    device.stream.synchronize()
    assert (halved["height"][0], halved["width"][0]) == expected.shape[:2]
    assert np.array_equal(fetched.host, expected)


def test_a_line_camera_and_a_full_hd_frame(device: Gpu) -> None:
    images, spec = [picture((1080, 1920, 3), 1), picture((40, 4000, 3), 2)], spec_of((64, 64))
    assert_within_one_level(device.tensor(device.frames.upload(images, device.stream), spec), images, spec, mean=0.01)


def on_device(device: Gpu, memory: np.ndarray, layout: PixelLayout) -> DeviceImage:
    """What another library has put on the GPU."""
    mirror = HostDeviceBuffer(device.gpu, (layout.size,), np.uint8)
    mirror.host[...] = memory
    mirror.upload(device.stream)
    device.stream.synchronize()
    return DeviceImage(mirror.address, layout, None, mirror)


def assert_reads(device: Gpu, memory: np.ndarray, layout: PixelLayout, target: tuple[int, int]) -> None:
    """The kernel reads bytes of a layout as numpy does."""
    spec, image = spec_of(target), on_device(device, memory, layout)
    tensor = device.tensor(device.frames.upload([image], device.stream), spec)
    assert_within_one_level(tensor, [layout.read(memory)], spec)


@settings(max_examples=60, deadline=None)
@given(
    sizes,
    targets,
    st.sampled_from([(3, 1), (4, 1), (3, -1), (1, 0), (2, 0), "planar"]),
    st.integers(0, 40),
    st.integers(0, 9),
    st.booleans(),
)
def test_channels_at_any_distances(
    device: Gpu,
    size: tuple[int, int],
    target: tuple[int, int],
    kind: tuple[int, int] | str,
    gap: int,
    lead: int,
    is_upside_down: bool,
) -> None:
    """BGR, BGRA, RGB, gray, gray in pairs, and planes one after the other; rows with gaps, and from below."""
    height, width = size
    step, plane = (1, height * (width + gap)) if isinstance(kind, str) else kind
    pitch = step * width + gap
    first = lead - 2 * min(plane, 0) + (pitch * (height - 1) if is_upside_down else 0)
    whole = first + (0 if is_upside_down else pitch * (height - 1)) + step * width + 2 * max(plane, 0)
    layout = PixelLayout(height, width, first, -pitch if is_upside_down else pitch, step, plane, whole)
    assert_reads(device, picture((whole,), gap), layout, target)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 45), st.integers(1, 45)),
    targets,
    st.integers(0, 20),
    st.sampled_from(list(Format)[1:]),
)
def test_nv12_of_every_matrix_and_range(
    device: Gpu, halves: tuple[int, int], target: tuple[int, int], gap: int, format: Format
) -> None:
    height, width = 2 * halves[0], 2 * halves[1]
    pitch = width + gap
    layout = PixelLayout(height, width, 0, pitch, 1, 0, (3 * height // 2 - 1) * pitch + width, format)
    assert_reads(device, picture((layout.size,), gap), layout, target)


def test_images_of_the_host_and_of_the_gpu_in_one_batch(device: Gpu) -> None:
    spec, here, gray = spec_of((16, 16)), [picture((40, 50, 3), 1), picture((33, 47, 3), 2)], picture((30, 30), 3)
    layout = PixelLayout(30, 30, 0, 30, 1, 0, 900)
    batch = [here[0], on_device(device, gray.ravel(), layout), here[1]]
    tensor = device.tensor(device.frames.upload(batch, device.stream), spec)
    assert_within_one_level(tensor, [here[0], ops.as_image(gray), here[1]], spec)


def test_images_that_are_views(device: Gpu) -> None:
    image, spec = picture((60, 50, 3), 6), spec_of((16, 16))
    views = [image[::2], image[:, ::-1], image[5:, 7:, ::-1]]
    assert_within_one_level(
        device.tensor(device.frames.upload(views, device.stream), spec), [view.copy() for view in views], spec
    )


@pytest.mark.parametrize("image", [picture((20, 30), 0), picture((20, 30, 4), 0), np.zeros((20, 30, 3), np.float32)])
def test_what_is_no_frame(device: Gpu, image: np.ndarray) -> None:
    with pytest.raises(DataError, match="cannot have the shape"):
        device.frames.upload([image], device.stream)


def test_a_second_batch_takes_no_memory(device: Gpu) -> None:
    spec, images = spec_of((16, 16)), [picture((100, 120, 3), 0)] * 3
    frames, resize = FrameBuffer(device.gpu, 3), Resize(device.gpu, device.kernels, spec, 3)
    seen = []
    for batch in (images, images[:1], images):
        pictures = frames.upload(batch, device.stream)
        halved = resize.launch(pictures, device.stream)
        seen.append((pictures["pixels"][0], halved["pixels"][0], resize.tensor.address))
    device.stream.synchronize()
    assert len(set(seen)) == 1


@settings(max_examples=20, deadline=None)
@given(
    st.lists(sizes, min_size=1, max_size=3), targets, st.tuples(st.integers(1, 3), st.integers(2, 3)), st.integers(0, 4)
)
def test_frames_are_cut_into_tiles(
    device: Gpu, given_sizes: list[tuple[int, int]], target: tuple[int, int], grid: tuple[int, int], overlap: int
) -> None:
    tiles = TileSpec(rows=grid[0], columns=grid[1], overlap=overlap)
    spec = msgspec.structs.replace(spec_of(target), tiles=tiles)
    images = [picture((*size, 3), index) for index, size in enumerate(given_sizes)]
    tensor = device.tensor(device.frames.upload(images, device.stream), spec)
    expected = np.concatenate([ops.to_batch(image, spec) for image in images])
    level = np.array(spec.scale)[:, np.newaxis, np.newaxis]
    assert (np.abs(tensor - expected) <= 1.001 * level + 1e-5).all()
