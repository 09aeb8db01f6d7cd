"""The line: everything is closed on every way out, and a full disk does not stop it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
import tiny
from capture import Endless, FakeCapture
from lines import threads

from edgead import Detector, Frame, Result
from edgead.closing import Closing
from edgead.errors import SourceError
from edgead.stream.pipeline import run
from edgead.stream.sinks.base import Sink
from edgead.stream.sinks.jsonl import SinkGone
from edgead.stream.sources import open_source
from edgead.stream.sources.live import LiveSource


class Listing(Sink):
    """A sink that remembers."""

    def __init__(self, failure: Callable[[int], BaseException | None] = lambda index: None) -> None:
        self.names: list[str] = []
        self.closed = 0
        self._failure = failure

    def emit(self, frame: Frame, result: Result) -> None:
        error = self._failure(frame.index)
        if error is not None:
            raise error
        self.names.append(Path(frame.name).stem)

    def close(self) -> None:
        self.closed += 1


class Broken(Closing):
    """A source that fails after one frame."""

    live = False
    fps = 0.0
    timeout = 0.0
    unreadable = 0

    def __init__(self, error: BaseException | None) -> None:
        self.closed = 0
        self._error = error

    def __iter__(self) -> Iterator[Frame]:
        yield Frame(tiny.good())
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self.closed += 1


def test_a_folder_from_end_to_end(detector: Detector, parts: Path) -> None:
    sinks = [Listing(), Listing()]
    seen: list[Result] = []
    status = run(open_source(str(parts)), detector, sinks, on_result=seen.append)
    assert (status.frames, status.verdicts["NG"], status.dropped, status.unreadable) == (3, 1, 0, 0)
    assert status.uptime > 0
    assert [result.index for result in seen] == [0, 1, 2]
    assert [sink.names for sink in sinks] == [["part_1", "part_2", "part_10"]] * 2
    assert [sink.closed for sink in sinks] == [1, 1]


def test_a_broken_image_does_not_stop_the_line(
    detector: Detector, parts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (parts / "part_3.png").write_bytes(b"")
    (parts / "part_4.jpg").write_bytes(cv2.imencode(".jpg", tiny.good())[1].tobytes()[:-40])
    stats = run(open_source(str(parts)), detector, [])
    assert (stats.frames, stats.unreadable) == (3, 2)
    assert [record.message.split()[1:3] for record in caplog.records] == [["is", "empty;"], ["is", "cut"]]


@pytest.mark.parametrize("error", [SourceError("lost"), KeyboardInterrupt(), SystemExit(143), ValueError("bug")])
def test_everything_is_closed_whatever_happens(detector: Detector, error: BaseException) -> None:
    source, sink = Broken(error), Listing()
    with pytest.raises(type(error)):
        run(source, detector, [sink])
    assert (source.closed, sink.closed, len(sink.names)) == (1, 1, 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SinkGone(32, "Broken pipe")])
def test_everything_is_closed_when_a_sink_ends_the_line(detector: Detector, error: BaseException) -> None:
    source, sinks = Broken(None), [Listing(), Listing(lambda index: error), Listing()]
    with pytest.raises(type(error)):
        run(source, detector, sinks)
    assert [source.closed, *(sink.closed for sink in sinks)] == [1, 1, 1, 1]


def test_everything_is_closed_when_the_caller_s_function_ends_the_line(detector: Detector, parts: Path) -> None:
    def refuse(result: Result) -> None:
        raise ValueError("bug")

    sink = Listing()
    with pytest.raises(ValueError, match="bug"):
        run(open_source(str(parts)), detector, [sink], on_result=refuse)
    assert sink.closed == 1


@pytest.mark.parametrize("error", [ValueError("bug"), BrokenPipeError(32, "Broken pipe")])
def test_a_sink_that_raises_degrades_alone(detector: Detector, parts: Path, error: Exception) -> None:
    sinks = [Listing(), Listing(lambda index: error if index == 1 else None)]
    status = run(open_source(str(parts)), detector, sinks)
    assert [len(sink.names) for sink in sinks] == [3, 2]
    assert status.unwritten == {"Listing": 0, "Listing-2": 1}


def test_a_full_disk_is_reported_once_and_the_line_goes_on(
    detector: Detector, parts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for number in range(20, 24):
        cv2.imwrite(str(parts / f"part_{number}.png"), tiny.good(number))
    full, other = Listing(lambda index: OSError(28, "No space left on device") if 1 <= index <= 4 else None), Listing()
    status = run(open_source(str(parts)), detector, [full, other])
    assert (status.frames, len(full.names), len(other.names)) == (7, 3, 7)
    assert status.unwritten == {"Listing": 4, "Listing-2": 0}
    assert ["No space left" in r.message for r in caplog.records] == [True, False]
    assert "writes again" in caplog.records[1].message


def test_a_sink_that_cannot_finish_does_not_keep_others_open(
    detector: Detector, parts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck(Listing):
        def close(self) -> None:
            raise OSError(28, "No space left on device")

    sink = Listing()
    run(open_source(str(parts)), detector, [sink, Stuck()])
    assert sink.closed == 1
    assert "could not finish" in caplog.text


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_the_limit_ends_a_live_source(detector: Detector, limit: int) -> None:
    capture = Endless([])
    source = LiveSource(capture, "camera:0")
    assert run(source, detector, [], limit).frames == limit
    assert capture.released == 1
    assert threads() == []


def test_the_limit_is_reached_without_asking_for_another_frame(detector: Detector) -> None:
    source = LiveSource(FakeCapture([tiny.good()]), "camera:0")
    assert run(source, detector, [], limit=1).frames == 1  # the camera is lost, but nobody asked


def test_a_lost_camera_closes_the_sinks(detector: Detector) -> None:
    sink = Listing()
    source = LiveSource(FakeCapture([tiny.good(), tiny.bad()]), "camera:0")
    with pytest.raises(SourceError, match="was lost after 2 frames"):
        run(source, detector, [sink])
    assert (sink.names[-1], sink.closed) == ("camera:0", 1)
