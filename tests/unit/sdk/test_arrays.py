"""A detector takes arrays of other libraries, and says in a sentence what it does not take."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import tiny
import torch

from edgead import DataError, Detector
from edgead.arrays import read_array
from edgead.ops import as_image
from edgead.ops.nv12 import NV12, nv12_to_bgr

IMAGE = tiny.bad(3, 60, 80)
GRAY = np.ascontiguousarray(IMAGE[..., 1])


class Dlpack:
    """An array of a library that has nothing but DLPack."""

    def __init__(self, array: np.ndarray, kind: int = 1) -> None:
        self._array, self._kind = array, kind

    def __dlpack__(self, **asked: Any) -> Any:
        return self._array.__dlpack__(**asked)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._kind, 0


@pytest.mark.parametrize(
    ("array", "color", "image"),
    [
        (torch.from_numpy(IMAGE), "bgr", IMAGE),
        (torch.from_numpy(IMAGE[..., ::-1].copy()), "rgb", IMAGE),
        (torch.from_numpy(IMAGE[..., ::-1].copy()).permute(2, 0, 1), "rgb", IMAGE),  # as torchvision reads pictures
        (torch.from_numpy(IMAGE.transpose(2, 0, 1).copy()), "bgr", IMAGE),
        (torch.from_numpy(GRAY), "bgr", as_image(GRAY)),
        (torch.from_numpy(GRAY.astype(np.uint16) * 257), "bgr", as_image(GRAY)),
        (Dlpack(IMAGE), "bgr", IMAGE),
        (Dlpack(IMAGE, kind=3), "bgr", IMAGE),  # pinned memory of the host
        (Dlpack(IMAGE[::2, ::-1]), "bgr", IMAGE[::2, ::-1]),
    ],
)
def test_an_array_on_the_host_reads_as_numpy_s(detector: Detector, array: Any, color: str, image: np.ndarray) -> None:
    result = detector(array, color=color)
    assert np.array_equal(result.image, image)
    assert result.raw_score == detector(np.ascontiguousarray(image)).raw_score


def test_no_pixel_is_copied_on_the_way() -> None:
    tensor = torch.from_numpy(IMAGE)
    found = read_array(tensor, "bgr")
    assert isinstance(found, np.ndarray)
    assert np.shares_memory(found, IMAGE)


def test_several_are_judged_one_by_one_or_as_one_tensor(detector: Detector) -> None:
    tensors = torch.from_numpy(np.stack([IMAGE, tiny.good(1, 60, 80)]))
    scores = [result.raw_score for result in detector.predict(tensors)]
    assert scores == [result.raw_score for result in detector.predict(list(tensors))]
    assert scores[0] == detector(IMAGE).raw_score
    with pytest.raises(DataError, match="give a list, or call detector"):
        detector.predict(tensors[0])


class Broken:
    def __dlpack_device__(self) -> tuple[int, int]:
        raise BufferError("the device is gone")

    def __dlpack__(self) -> None:
        pass


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (torch.zeros(60, 80, 3), "must be uint8 .* not float32"),
        (torch.zeros(60, 80, 3, requires_grad=True), "the Tensor cannot be read as an image: .*requires? grad"),
        (torch.zeros(2, 60, 80, 3, dtype=torch.uint8), r"must have the shape .* not \(2, 60, 80, 3\)"),
        (torch.zeros(60, 80, 2, dtype=torch.uint8), r"must have the shape .* not \(60, 80, 2\)"),
        (Dlpack(IMAGE, kind=8), "a device of DLPack's kind 8 is read by no engine: give it as a numpy array"),
        (Broken(), "the Broken cannot be read as an image: the device is gone"),
        ([[1, 2], [3, 4]], "must be a numpy array, not list"),
    ],
)
def test_what_cannot_be_taken_is_said(detector: Detector, array: Any, match: str) -> None:
    with pytest.raises(DataError, match=match):
        detector(array)


PLANES = np.random.default_rng(0).integers(0, 256, (90, 80), dtype=np.uint8)


def test_nv12_without_more_words_is_opencv_s() -> None:
    expected = cv2.cvtColor(PLANES, cv2.COLOR_YUV2BGR_NV12)
    assert np.array_equal(nv12_to_bgr(PLANES, NV12["nv12"]), expected)
    assert np.array_equal(as_image(PLANES, color="nv12"), expected)


@pytest.mark.parametrize(
    ("color", "kr", "kb", "luma", "chroma", "black"),
    [
        ("nv12", 0.299, 0.114, 219, 224, 16),
        ("nv12-full", 0.299, 0.114, 255, 255, 0),
        ("nv12-709", 0.2126, 0.0722, 219, 224, 16),
        ("nv12-709-full", 0.2126, 0.0722, 255, 255, 0),
    ],
)
def test_nv12_is_what_its_standard_says(color: str, kr: float, kb: float, luma: int, chroma: int, black: int) -> None:
    """ITU-R BT.601 and BT.709: E = Y + the differences, scaled from luma and chroma's ranges."""
    y = np.maximum(PLANES[:60].astype(float) - black, 0) / luma
    u, v = np.repeat(np.repeat(PLANES[60:].reshape(30, 40, 2), 2, 0), 2, 1).transpose(2, 0, 1).astype(float) - 128
    blue, red = y + 2 * (1 - kb) * u / chroma, y + 2 * (1 - kr) * v / chroma
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    expected = np.clip(255 * np.stack([blue, green, red], axis=2), 0, 255)
    assert np.abs(as_image(PLANES, color=color) - expected).max() <= 1.01


@pytest.mark.parametrize(
    ("planes", "color", "match"),
    [
        (PLANES[:89], "nv12", r"must have the shape \(3 H / 2, W\) with H and W even, not \(89, 80\)"),
        (PLANES[:, :79], "nv12-709", "with H and W even"),
        (PLANES[:2], "nv12", "with H and W even"),
        (IMAGE, "nv12-full", "with H and W even"),
        (PLANES.astype(np.uint16), "nv12", "an NV12 image must be uint8, not uint16"),
        (IMAGE, "yuv", "color must be 'bgr', 'rgb' or one of nv12, nv12-full, nv12-709, nv12-709-full, not 'yuv'"),
    ],
)
def test_planes_that_are_none(planes: np.ndarray, color: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        as_image(planes, color=color)
