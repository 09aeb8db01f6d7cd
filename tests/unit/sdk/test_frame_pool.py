"""Memory of frames is used again, never while somebody knows it, and sources of every kind decode into it."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from lines import QUICK, Memory, fake_detector
from programs import need

from edgead import Frame
from edgead.frame_pool import PAGE, FramePool, block_of
from edgead.images import decode_jpeg
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline
from edgead.stream.sources import Pooled, open_source
from edgead.stream.sources.capture import OpenCvCapture, open_capture
from edgead.stream.sources.pixels import to_bgr

SHAPE = (48, 64, 3)


def numbers(images: list[np.ndarray]) -> list[int | None]:
    blocks = [block_of(image) for image in images]
    return [None if block is None else block.number for block in blocks]


def test_a_block_comes_back_when_nobody_knows_its_array() -> None:
    pool = FramePool()
    first = pool.empty(SHAPE)
    block = block_of(first)
    assert block is not None
    assert (first.shape, first.dtype, first.flags.c_contiguous) == (SHAPE, np.uint8, True)
    assert (block.memory.ctypes.data % PAGE, block.memory.size % PAGE) == (0, 0)
    assert first.ctypes.data == block.memory.ctypes.data
    view = first[10:20, ::2]
    assert block_of(view) is block
    del first
    assert block_of(pool.empty(SHAPE)) is not block  # a view holds it
    del view
    gc.collect()
    assert block in [block_of(one) for one in [pool.empty(SHAPE) for _ in range(2)]]


def test_where_all_blocks_are_out_an_array_is_an_ordinary_one() -> None:
    pool = FramePool(most=2)
    held = [pool.empty(SHAPE) for _ in range(3)]
    assert [block_of(one) is None for one in held] == [False, False, True]
    assert len({one.ctypes.data for one in held}) == 3
    assert block_of(np.zeros(SHAPE, np.uint8)) is None


def test_blocks_of_another_size_are_forgotten() -> None:
    pool = FramePool(most=2)
    small = [pool.empty(SHAPE) for _ in range(2)]
    del small
    large = [pool.empty((480, 640, 3)) for _ in range(2)]
    assert all(block is not None and block.memory.size >= 480 * 640 * 3 for block in map(block_of, large))


def test_frames_of_many_megabytes_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgead.frame_pool.MOST_BYTES", 3 * 48 * 64 * 3)
    pool = FramePool()
    assert sum(block_of(one) is not None for one in [pool.empty(SHAPE) for _ in range(5)]) == 3


def test_threads_never_get_the_same_memory() -> None:
    pool, wrong = FramePool(most=4), list[int]()

    def work(number: int) -> None:
        for _ in range(300):
            mine = pool.empty((4096,))
            mine[:] = number
            if (mine != number).any():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def write_video(path: Path, sizes: tuple[int, ...] = (0, 20, 40, 60)) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for level in sizes:
        writer.write(np.full(SHAPE, level, np.uint8))
    writer.release()
    return path


def test_opencv_decodes_into_it_from_the_second_frame_on(tmp_path: Path) -> None:
    path = str(write_video(tmp_path / "line.avi"))
    plain, pooled = open_capture(path), open_capture(path)
    assert isinstance(pooled, OpenCvCapture)
    pooled.use_pool(FramePool())
    frames = []
    while plain.grab() and pooled.grab():
        frames.append(pooled.retrieve()[1])
        assert np.array_equal(frames[-1], plain.retrieve()[1])
    assert [number is None for number in numbers(frames)] == [True, False, False, False]
    assert len(set(numbers(frames))) == 4  # while all are held


def test_jpegs_and_pixel_formats_are_decoded_into_it() -> None:
    pool, image = FramePool(), np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    raw = simplejpeg.encode_jpeg(image, colorspace="BGR")
    decoded = decode_jpeg(raw, pool.empty)
    assert block_of(decoded) is not None
    assert np.array_equal(decoded, decode_jpeg(raw))
    for name in ("Mono8", "Mono12", "BayerRG8", "RGB8", "BGR8", "YUV422_8"):
        data = np.random.default_rng(1).integers(0, 256, 64 * 48 * 3, dtype=np.uint8).tobytes()
        found = to_bgr(data, 64, 48, name, pool.empty)
        assert block_of(found) is not None, name
        assert np.array_equal(found, to_bgr(data, 64, 48, name))


def test_gstreamer_s_frames_are_read_into_it() -> None:
    need("gst-launch-1.0")
    with open_source("gst:videotestsrc num-buffers=3 ! video/x-raw,width=64,height=48") as source:
        assert isinstance(source, Pooled)
        source.use_pool(FramePool())
        frames = [frame.image for frame in source]
    assert None not in numbers(frames)
    assert len(set(numbers(frames))) == 3


def test_a_line_s_frames_are_of_few_blocks(tiny_bundle: Path, tmp_path: Path) -> None:
    """And each is judged by what it shows, though its memory is another frame's before and after."""
    seen: list[int | None] = []

    def note(frame: Frame) -> None:
        seen.extend(numbers([frame.image]))

    levels = tuple(range(0, 250, 10))
    sink = Memory(note)
    with fake_detector(tiny_bundle) as detector:
        camera = Camera("", open_source(str(write_video(tmp_path / "line.avi", levels))))
        Pipeline([camera], detector, [sink], QUICK).run()
    scores = [255 * result.raw_score for result in sink.results]
    assert scores == pytest.approx(levels, abs=2)
    assert None in seen  # the first, whose size nobody knew
    assert 0 < len(set(seen) - {None}) <= 8 < len(levels)
