"""Frames to the network's input on the GPU, against `edgead.ops`."""

from __future__ import annotations

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import ops
from edgead.bundle import InputSpec, TileSpec
from edgead.cuda.buffers import HostDeviceBuffer
from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.frame_buffer import DeviceFrames, Format, FrameBuffer, region
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


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 20), st.integers(0, 20), sizes, targets)
def test_a_region_is_what_its_copy_is(
    device: Gpu, top: int, left: int, size: tuple[int, int], target: tuple[int, int]
) -> None:
    height, width = size
    image, spec = picture((top + height + 3, left + width + 2, 3), 5), spec_of(target)
    pictures = region(device.frames.upload([image], device.stream), top, left, height, width)
    assert_within_one_level(
        device.tensor(pictures, spec), [image[top : top + height, left : left + width].copy()], spec
    )


@settings(max_examples=30, deadline=None)
@given(sizes, targets)
def test_gray_becomes_three_channels(device: Gpu, size: tuple[int, int], target: tuple[int, int]) -> None:
    image, spec = picture(size, 3), spec_of(target)
    tensor = device.tensor(device.frames.upload([image], device.stream, Format.GRAY), spec)
    assert_within_one_level(tensor, [ops.as_image(image)], spec)


@settings(max_examples=30, deadline=None)
@given(st.tuples(st.integers(1, 45), st.integers(1, 45)), targets, st.integers(0, 9), st.integers(0, 9))
def test_nv12_is_converted_as_opencv_does(
    device: Gpu, halves: tuple[int, int], target: tuple[int, int], top: int, left: int
) -> None:
    image, spec = picture((3 * halves[0], 2 * halves[1]), 4), spec_of(target)
    frame = cv2.cvtColor(image, cv2.COLOR_YUV2BGR_NV12)
    pictures = device.frames.upload([image], device.stream, Format.NV12)
    assert_within_one_level(device.tensor(pictures, spec), [frame], spec)
    top, left = min(top, frame.shape[0] - 1), min(left, frame.shape[1] - 1)  # odd ones have half a chroma pixel
    part = np.ascontiguousarray(frame[top:, left:])
    assert_within_one_level(device.tensor(region(pictures, top, left, *part.shape[:2]), spec), [part], spec)


def test_images_that_are_views(device: Gpu) -> None:
    image, spec = picture((60, 50, 3), 6), spec_of((16, 16))
    views = [image[::2], image[:, ::-1], image[5:, 7:, ::-1]]
    assert_within_one_level(
        device.tensor(device.frames.upload(views, device.stream), spec), [view.copy() for view in views], spec
    )


def test_a_region_that_leaves_the_frame(device: Gpu) -> None:
    pictures = device.frames.upload([picture((20, 30, 3), 1)], device.stream)
    for box in ((0, 0, 21, 30), (0, 1, 20, 30), (-1, 0, 5, 5), (0, 0, 0, 5)):
        with pytest.raises(DataError, match="leaves the frame"):
            region(pictures, *box)


@pytest.mark.parametrize(
    ("shape", "format"),
    [((20, 30), Format.BGR), ((20, 30, 3), Format.GRAY), ((20, 30), Format.NV12), ((21, 31), Format.NV12)],
)
def test_frames_of_another_format(device: Gpu, shape: tuple[int, ...], format: Format) -> None:
    with pytest.raises(DataError, match="cannot have the shape"):
        device.frames.upload([picture(shape, 0)], device.stream, format)


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
