"""The preview drawn on the GPU, against `edgead.overlay`."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from edgead import Detector
from edgead.bundle import InputSpec
from edgead.cuda.buffers import HostDeviceBuffer
from edgead.cuda.context import CudaContext, Stream
from edgead.cuda.frame_buffer import FrameBuffer
from edgead.cuda.kernels import Kernels
from edgead.cuda.overlay import Overlay
from edgead.cuda.resize import Resize
from edgead.ops import resize
from edgead.overlay import OPACITY, tint
from edgead.result import Result

PALETTE = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, np.newaxis], cv2.COLORMAP_INFERNO)[:, 0].astype(int)
NEXT_COLOR = int(np.ceil(OPACITY * np.abs(np.diff(PALETTE, axis=0)).max()))
CENTER, SPAN = tiny.THRESHOLDS.pixel_center, tiny.THRESHOLDS.pixel - tiny.THRESHOLDS.pixel_center
cells = st.floats(-2, 4, width=32) | st.sampled_from([np.nan, np.inf, -np.inf, np.float32(CENTER)])


@pytest.fixture(scope="module")
def result(tiny_bundle) -> Result:
    with Detector(tiny_bundle, threads=1) as detector:
        return dataclasses.replace(detector(tiny.good()), regions=())


def expected(image: np.ndarray, raw: np.ndarray, result: Result) -> np.ndarray:
    """What the host draws, without boxes."""
    calibrated = (raw - CENTER) / SPAN
    return tint(image, dataclasses.replace(result, grid_map=calibrated, frame_size=image.shape[:2]))


def check(drawn: np.ndarray, image: np.ndarray, raw: np.ndarray, result: Result) -> np.ndarray:
    """The same, but where OpenCV rounds a level of the map the other way: there the next color of the map shows.

    Gives the differences. A map with few values may be on the edge of a level everywhere.
    """
    apart = np.abs(drawn.astype(int) - expected(image, raw, result))
    assert apart.max() <= NEXT_COLOR
    return apart


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.data(),
    st.integers(0, 2**32),
)
def test_any_frame_and_map(
    gpu: CudaContext,
    kernels: Kernels,
    stream: Stream,
    result: Result,
    size: tuple[int, int],
    grid: tuple[int, int],
    data: st.DataObject,
    seed: int,
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    count = grid[0] * grid[1]
    raw = np.array(data.draw(st.lists(cells, min_size=count, max_size=count)), np.float32).reshape(grid)
    sent = HostDeviceBuffer(gpu, grid, np.float32)
    sent.host[...] = raw
    sent.upload(stream)
    pictures = FrameBuffer(gpu, 1).upload([image], stream)
    drawn = Overlay(gpu, kernels, *size, grid, tiny.THRESHOLDS).draw(pictures[0], sent.address, stream)
    check(drawn, image, raw, result)


def test_a_small_preview_of_a_large_frame(gpu: CudaContext, kernels: Kernels, stream: Stream, result: Result) -> None:
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    raw = np.random.default_rng(1).random((16, 16), np.float32)
    sent = HostDeviceBuffer(gpu, raw.shape, np.float32)
    sent.host[...] = raw
    sent.upload(stream)
    pictures = FrameBuffer(gpu, 1).upload([image], stream)
    halved = Resize(gpu, kernels, InputSpec(height=64, width=64, scale=(1, 1, 1), offset=(0, 0, 0)), 1).launch(
        pictures, stream
    )
    overlay = Overlay(gpu, kernels, 120, 160, raw.shape, tiny.THRESHOLDS)
    first = overlay.draw(halved[0], sent.address, stream)
    apart = check(first, resize(image, 120, 160), raw, result)
    assert (apart > 0).mean() <= 0.05
    kept = first.copy()
    overlay.draw(halved[0], int(sent.address), stream)
    assert np.array_equal(first, kept)
