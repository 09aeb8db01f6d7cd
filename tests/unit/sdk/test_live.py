"""Live sources: each frame has its time, nothing is lost at the end, and closing wakes who waits."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from capture import Endless, FakeCapture, gray

from edgead.errors import SourceError
from edgead.stream.sources import open_source
from edgead.stream.sources.live import LiveSource, open_camera, open_stream


def levels(source: LiveSource) -> list[int]:
    """The frames until the source is lost."""
    seen = []
    try:
        with source:
            for frame in source:
                seen.append(int(frame.image[0, 0, 0]))
    except SourceError as error:
        assert "was lost" in str(error)  # noqa: PT017 - the frames before it are what matters
        return seen
    raise AssertionError("the source ended without being lost")


@pytest.mark.parametrize("count", [1, 2, 50])
def test_every_frame_is_delivered_before_the_loss(count: int) -> None:
    capture = FakeCapture([gray(i) for i in range(count)])
    assert levels(LiveSource(capture, "camera:0")) == list(range(count))
    assert capture.released == 1


def test_frames_say_when_they_were_taken() -> None:
    frame = next(iter(LiveSource(FakeCapture([gray(7)]), "camera:0")))
    assert (frame.index, frame.name) == (0, "camera:0")
    assert abs(frame.time - time.time()) < 10
    assert 0 <= time.monotonic() - frame.clock < 10


def test_closing_in_the_middle_and_twice() -> None:
    capture = Endless([])
    source = LiveSource(capture, "camera:0")
    next(iter(source))
    source.close()
    source.close()
    assert capture.released == 1
    assert list(source) == []


def test_closing_before_the_first_frame() -> None:
    capture = Endless([])
    source = LiveSource(capture, "camera:0")
    source.close()
    assert list(source) == []
    assert capture.released == 1


def test_closing_does_not_wait_for_a_reader_that_hangs_in_another_thread() -> None:
    """That thread releases the device when its read ends: OpenCV must not release what another thread reads."""
    capture = FakeCapture([], hang=True)
    source = LiveSource(capture, "camera:0")
    seen: list[object] = []
    reader = threading.Thread(target=lambda: seen.extend(source))
    reader.start()
    assert capture.hung.wait(5)
    source.close()
    assert (reader.is_alive(), capture.released) == (True, 0)
    capture.end.set()
    reader.join(5)
    assert (reader.is_alive(), capture.released, seen) == (False, 1, [])


def test_closing_wakes_a_reader_that_can_be_woken() -> None:
    source = open_source("synthetic:64x48@0.01")  # the second frame comes after 100 s
    frames: list[object] = []
    reader = threading.Thread(target=lambda: frames.extend(source))
    reader.start()
    while not frames and reader.is_alive():
        time.sleep(0.005)
        if source._capture._index == 1:
            break
    source.close()
    reader.join(5)
    assert not reader.is_alive()


def test_a_failing_camera_is_a_source_error() -> None:
    capture = FakeCapture([gray(1)], failure=RuntimeError("cable"))
    frames = iter(LiveSource(capture, "camera:0"))
    next(frames)
    with pytest.raises(SourceError, match="camera:0 failed: RuntimeError: cable"):
        next(frames)
    assert capture.released == 1


def test_damaged_frames_are_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    source = LiveSource(FakeCapture([gray(0), None, np.zeros((4, 4, 3), np.float32), gray(3)]), "camera:0")
    assert levels(source) == [0, 3]
    assert source.unreadable == 2
    assert [record.message for record in caplog.records if "damaged frame" in record.message] == [
        "camera:0 delivered a damaged frame: it cannot be decoded; it and others like it are counted"
    ]


def test_a_camera_that_shows_nothing_is_lost() -> None:
    capture = FakeCapture([gray(1)], hang=True, timeout=0.05)
    frames = iter(LiveSource(capture, "camera:0", timeout=0.05))
    assert next(frames).index == 0
    with pytest.raises(SourceError, match=r"showed no frame for 0\.05 s"):
        next(frames)
    assert capture.released == 1


def test_a_camera_that_shows_damaged_frames_alone_is_lost() -> None:
    class Damaged(Endless):
        def retrieve(self) -> tuple[bool, None]:
            return False, None

    with pytest.raises(SourceError, match=r"showed no frame for 0\.05 s"):
        next(iter(LiveSource(Damaged([]), "camera:0", timeout=0.05)))


def test_a_recording_over_the_network_has_an_end() -> None:
    with LiveSource(FakeCapture([gray(i) for i in range(3)], count=3.0), "http://x") as source:
        assert len(list(source)) == 3


def test_cameras_are_opened_by_number_or_device() -> None:
    asked: list[object] = []

    def opener(target: int | str, timeout: float) -> FakeCapture:
        asked.append(target)
        return FakeCapture([])

    for name in ("0", "2", "/dev/video1"):
        open_camera(name, 16, 5.0, opener).close()
    assert asked == [0, 2, "/dev/video1"]
    with pytest.raises(SourceError, match="'front' is no camera"):
        open_camera("front", 16, 5.0, opener)


@pytest.mark.parametrize(
    "url", ["rtsp://user:secret@host/a", "rtsp://user:se/c@ret@host/a", "http://host/a?token=secret"]
)
def test_passwords_do_not_get_out(url: str) -> None:
    with open_stream(url, 16, 5.0, lambda *_: FakeCapture([gray(0)])) as source:
        frames = iter(source)
        name = next(frames).name
        with pytest.raises(SourceError) as caught:
            next(frames)
    for text in (name, str(caught.value)):
        assert "host/a" in text
        assert not any(secret in text for secret in ("secret", "user", "ret@"))
