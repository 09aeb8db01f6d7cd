"""The reader thread: nothing is lost at the end, and the thread always ends."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from capture import Endless, FakeCapture, gray

from edgead.errors import SourceError
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


def ended(source: LiveSource) -> bool:
    return not source._thread.is_alive()


@pytest.mark.parametrize("count", [1, 2, 50])
def test_the_last_frame_is_delivered_before_the_loss(count: int) -> None:
    source = LiveSource(FakeCapture([gray(i) for i in range(count)]), "camera:0")
    seen = levels(source)
    assert seen[-1] == count - 1
    assert seen == sorted(set(seen))
    assert len(seen) + source.dropped == count
    assert ended(source)


def test_every_frame_is_delivered_where_asked() -> None:
    source = LiveSource(FakeCapture([gray(i) for i in range(50)]), "camera:0", "every")
    assert levels(source) == list(range(50))
    assert source.dropped == 0


def test_the_newest_frame_wins_and_the_overtaken_are_counted() -> None:
    capture = FakeCapture([gray(i) for i in range(9)], hang=True)
    with LiveSource(capture, "camera:0") as source:
        assert capture.hung.wait(5)
        frame = next(iter(source))
        assert (frame.index, frame.name, source.dropped) == (8, "camera:0", 8)
        assert abs(frame.time - time.time()) < 10
        assert 0 <= time.monotonic() - frame.clock < 10
        capture.end.set()


@pytest.mark.parametrize("policy", ["latest", "every"])
def test_closing_ends_the_thread(policy: str) -> None:
    capture = Endless([])
    source = LiveSource(capture, "camera:0", policy)
    next(iter(source))
    source.close()
    source.close()
    assert ended(source)
    assert capture.released == 1
    assert list(source) == []


def test_closing_before_the_first_frame() -> None:
    source = LiveSource(Endless([]), "camera:0", "every")
    source.close()
    assert ended(source)
    assert list(source) == []


def test_closing_wakes_a_reader_that_waits_in_another_thread() -> None:
    capture = FakeCapture([], hang=True)
    source = LiveSource(capture, "camera:0")
    seen: list[object] = []
    reader = threading.Thread(target=lambda: seen.extend(source))
    reader.start()
    assert capture.hung.wait(5)
    threading.Timer(0.05, capture.end.set).start()
    source.close()
    reader.join(5)
    assert not reader.is_alive()
    assert seen == []


def test_a_failing_camera_is_a_source_error() -> None:
    source = LiveSource(FakeCapture([gray(1)], failure=RuntimeError("cable")), "camera:0")
    frames = iter(source)
    next(frames)
    with pytest.raises(SourceError, match="camera:0 failed: RuntimeError: cable"):
        next(frames)
    source.close()
    assert ended(source)


def test_damaged_frames_are_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    source = LiveSource(FakeCapture([gray(0), None, np.zeros((4, 4, 3), np.float32), gray(3)]), "camera:0", "every")
    assert levels(source) == [0, 3]
    assert source.unreadable == 2
    assert [record.message for record in caplog.records if "damaged frame" in record.message] == [
        "camera:0 delivered a damaged frame: it cannot be decoded; it and others like it are counted"
    ]


def test_a_camera_that_shows_nothing_is_lost() -> None:
    capture = FakeCapture([gray(1)], hang=True)
    source = LiveSource(capture, "camera:0", timeout=0.05)
    frames = iter(source)
    assert next(frames).index == 0
    with pytest.raises(SourceError, match=r"showed no frame for 0\.05 s"):
        next(frames)
    capture.end.set()
    source.close()
    assert ended(source)


def test_a_recording_over_the_network_has_an_end() -> None:
    with LiveSource(FakeCapture([gray(i) for i in range(3)], count=3.0), "http://x", "every") as source:
        assert len(list(source)) == 3


def test_cameras_are_opened_by_number_or_device() -> None:
    asked: list[object] = []

    def opener(target: int | str, timeout: float) -> FakeCapture:
        asked.append(target)
        return FakeCapture([])

    for name in ("0", "2", "/dev/video1"):
        open_camera(name, "latest", 16, 5.0, opener).close()
    assert asked == [0, 2, "/dev/video1"]
    with pytest.raises(SourceError, match="'front' is no camera"):
        open_camera("front", "latest", 16, 5.0, opener)


@pytest.mark.parametrize(
    "url", ["rtsp://user:secret@host/a", "rtsp://user:se/c@ret@host/a", "http://host/a?token=secret"]
)
def test_passwords_do_not_get_out(url: str) -> None:
    with open_stream(url, "latest", 16, 5.0, lambda *_: FakeCapture([gray(0)])) as source:
        frames = iter(source)
        name = next(frames).name
        with pytest.raises(SourceError) as caught:
            next(frames)
    for text in (name, str(caught.value)):
        assert "host/a" in text
        assert not any(secret in text for secret in ("secret", "user", "ret@"))
