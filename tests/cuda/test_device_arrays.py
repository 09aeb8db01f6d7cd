"""A detector on a GPU reads images where other libraries have put them there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import emulated
import msgspec
import numpy as np
import pytest
import tiny
from device_arrays import CodecImage, CudaArray, DlpackArray, TorchTensor, Upload

from edgead import Bundle, DataError, Detector
from edgead.cuda.context import CudaContext
from edgead.engines import load_engine
from edgead.ops import as_image

LEVEL = 1 / 255


class Board:
    """A detector on a GPU, one on the CPU, and another library's memory and stream there."""

    def __init__(self, bundle: Bundle) -> None:
        self.detector = Detector(bundle, engine=load_engine(bundle, "tensorrt"))
        self.reference = Detector(bundle, engine=load_engine(bundle, "onnx"))
        self.gpu = CudaContext()
        with self.gpu.current():
            self.stream = self.gpu.stream()

    def upload(self, memory: np.ndarray) -> Upload:
        with self.gpu.current():
            return Upload(self.gpu, self.stream, memory)

    def close(self) -> None:
        self.detector.close()
        self.reference.close()
        self.gpu.close()


@pytest.fixture
def board(gpu_machine: emulated.Emulator, tiny_bundle: Path) -> Iterator[Board]:
    bundle = Bundle.open(tiny_bundle)
    artifacts = tuple(msgspec.structs.replace(one, batches=(1, 4)) for one in bundle.manifest.artifacts)
    manifest = msgspec.structs.replace(bundle.manifest, artifacts=artifacts)
    board = Board(Bundle(manifest, bundle.members(), bundle.digest, None))
    yield board
    board.close()


IMAGE = tiny.bad(3, 60, 80)
ALPHA = np.dstack([IMAGE, np.full(IMAGE.shape[:2], 255, np.uint8)])
GRAY = np.ascontiguousarray(IMAGE[..., 1])
NV12 = np.ascontiguousarray(np.vstack([GRAY, np.random.default_rng(0).integers(100, 150, (30, 80), dtype=np.uint8)]))
PLANES = np.ascontiguousarray(IMAGE[..., ::-1].transpose(2, 0, 1))
WIDE = np.hstack([IMAGE, IMAGE])
Shown = tuple[np.ndarray, tuple[int, ...], tuple[int, ...] | None, str, np.ndarray]
SHOWN: dict[str, Shown] = {  # bytes, shape, strides, color, and the same image on the host
    "BGR": (IMAGE, IMAGE.shape, None, "bgr", IMAGE),
    "RGB": (IMAGE, IMAGE.shape, None, "rgb", IMAGE[..., ::-1]),
    "BGRA": (ALPHA, ALPHA.shape, None, "bgr", IMAGE),
    "gray": (GRAY, GRAY.shape, None, "bgr", as_image(GRAY)),
    "gray with a channel": (GRAY, (60, 80, 1), None, "rgb", as_image(GRAY)),
    "planes of RGB": (PLANES, PLANES.shape, None, "rgb", IMAGE),
    "the left half": (WIDE, IMAGE.shape, (480, 3, 1), "bgr", IMAGE),
    "every second row": (IMAGE, (30, 80, 3), (480, 3, 1), "bgr", IMAGE[::2]),
    "NV12": (NV12, NV12.shape, None, "nv12", as_image(NV12, color="nv12")),
    "NV12 of HD video": (NV12, NV12.shape, None, "nv12-709", as_image(NV12, color="nv12-709")),
}


@pytest.mark.parametrize("name", SHOWN)
def test_it_reads_as_the_same_image_on_the_host(board: Board, name: str) -> None:
    memory, shape, strides, color, image = SHOWN[name]
    expected = board.reference(np.ascontiguousarray(image))
    for make in (CudaArray, DlpackArray, TorchTensor):
        array = make(board.upload(memory), shape, strides)
        result = board.detector(array, color=color)
        assert result.raw_score == pytest.approx(expected.raw_score, abs=LEVEL)
        np.testing.assert_allclose(result.grid_map, expected.grid_map, atol=0.2)
        assert result.frame_size == image.shape[:2]
        assert np.array_equal(result.image, image)


def test_what_nvimagecodec_decodes_is_read_again_and_again(board: Board) -> None:
    array = CodecImage(board.upload(IMAGE), IMAGE.shape)
    scores = {board.detector(array).raw_score for _ in range(3)}
    assert scores == {board.detector(IMAGE).raw_score}
    assert array.asked == []


def test_torch_is_asked_to_have_the_legacy_stream_wait(board: Board) -> None:
    array = TorchTensor(board.upload(IMAGE), IMAGE.shape)
    board.detector(array)
    assert array.asked == [1]


def test_one_that_says_nothing_of_a_stream_is_waited_for_where_others_wait(board: Board) -> None:
    upload = board.upload(IMAGE)
    array = CudaArray(upload, IMAGE.shape, version=2)
    upload.finish()
    assert board.detector(array).raw_score == board.detector(IMAGE).raw_score
    there = CudaArray(upload, IMAGE.shape, stream=None)  # nothing to wait for
    assert board.detector(there).raw_score == board.detector(IMAGE).raw_score


def test_images_here_and_there_are_one_batch(board: Board, gpu_machine: emulated.Emulator) -> None:
    other = tiny.good(7, 60, 80)
    for _ in range(3):  # as it is, recorded, replayed: each time from another place
        batch = [
            other,
            CudaArray(board.upload(IMAGE), IMAGE.shape),
            other[::2],
            DlpackArray(board.upload(GRAY), (60, 80)),
        ]
        results = board.detector.predict(batch)
        expected = board.reference.predict([other, IMAGE, other[::2], as_image(GRAY)])
        for one, right in zip(results, expected, strict=True):
            assert one.raw_score == pytest.approx(right.raw_score, abs=LEVEL)
    uploads = gpu_machine.driver.emulator_counted(b"upload")
    board.detector(CudaArray(board.upload(IMAGE), IMAGE.shape))
    assert gpu_machine.driver.emulator_counted(b"upload") == uploads + 1  # this test's own


def test_images_from_ever_other_places_have_one_graph(board: Board, gpu_machine: emulated.Emulator) -> None:
    for _ in range(40):
        board.detector(CudaArray(board.upload(IMAGE), IMAGE.shape))
    before = gpu_machine.driver.emulator_launches()
    board.detector(CudaArray(board.upload(IMAGE), IMAGE.shape))
    board.detector(IMAGE)
    board.detector(IMAGE)
    board.detector(IMAGE)
    assert gpu_machine.driver.emulator_launches() == before + 3  # the first of the host is not recorded


def test_an_integrated_gpu_reads_them_too(
    gpu_machine: emulated.Emulator, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMULATOR_INTEGRATED", "1")
    board = Board(Bundle.open(tiny_bundle))
    score = board.detector(CudaArray(board.upload(IMAGE), IMAGE.shape)).raw_score
    assert score == board.detector(IMAGE).raw_score
    board.close()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda up: CudaArray(up, IMAGE.shape, typestr="<f4"), "must be uint8, not float32: convert it there"),
        (lambda up: DlpackArray(up, IMAGE.shape, dtype="float16"), "must be uint8, not float16"),
        (lambda up: CudaArray(up, (60, 80, 2)), r"must have the shape .* not \(60, 80, 2\)"),
        (lambda up: CudaArray(up, (1, 60, 80, 3)), r"must have the shape .* not \(1, 60, 80, 3\)"),
        (lambda up: CudaArray(up, (0, 80, 3)), "must have the shape"),
        (lambda up: CudaArray(up, IMAGE.shape, mask=np.zeros(1)), "cannot have a mask"),
        (lambda up: CudaArray(up, IMAGE.shape, (2**31, 3, 1)), "give a copy of the part"),
        (lambda up: CudaArray(up, IMAGE.shape, data=(4096, False)), "is not there, or not all of it"),
        (lambda up: CudaArray(up, (6000, 80, 3)), "is not there, or not all of it"),
        (lambda up: DlpackArray(up, IMAGE.shape, kind=8), "DLPack's kind 8 is read by no engine"),
    ],
)
def test_what_cannot_be_read_is_said_in_words(board: Board, make: Callable[[Upload], Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        board.detector(make(board.upload(IMAGE)))
    assert board.detector(IMAGE).raw_score == pytest.approx(board.reference(IMAGE).raw_score, abs=LEVEL)


def test_an_image_on_another_gpu(
    gpu_machine: emulated.Emulator, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMULATOR_DEVICES", "2")
    board, other = Board(Bundle.open(tiny_bundle)), CudaContext(1)
    with other.current():
        upload = Upload(other, other.stream(), IMAGE)
    with pytest.raises(DataError, match=r"lies on GPU 1 and GPU 0 judges: copy it there, or .* device=1"):
        board.detector(CudaArray(upload, IMAGE.shape))
    other.close()
    board.close()


def test_an_engine_on_the_cpu_says_what_to_do(board: Board) -> None:
    array = CudaArray(board.upload(IMAGE), IMAGE.shape)
    with pytest.raises(DataError, match="the engine onnx does not read it there: give it as a numpy array"):
        board.reference(array)
    with pytest.raises(DataError, match="the engine onnx does not read it there"):
        board.reference.engine.fetch(object())  # type: ignore[arg-type]
