"""The line at work for a long time: cameras that go and come back, sinks and engines that fail or are slow."""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from capture import FakeCapture, gray
from lines import QUICK, Memory, Scripted, background, fake_detector, flapping, images, paced, threads
from programs import until

from edgead import Detector
from edgead.errors import SourceError
from edgead.stream import capture
from edgead.stream import sink_worker as outlets
from edgead.stream.backoff import Backoff
from edgead.stream.capture import Camera, FrameGrabber
from edgead.stream.pipeline import Pipeline, run
from edgead.stream.sources.live import LiveSource
from edgead.stream.status import PipelineStatus

pytestmark = pytest.mark.usefixtures("no_thread_left")


def test_a_stream_killed_and_restarted_twenty_times(quick: Detector, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    sink = Memory()
    camera = Camera("left", None, flapping(20, frames=3), "rtsp://***@cam/1", policy="every")
    status = Pipeline([camera], quick, [sink], QUICK).run()
    one = status.cameras["left"]
    assert (one.source, one.state, one.reconnects) == ("rtsp://***@cam/1", "ended", 20)
    assert (status.frames, status.reconnects, len(sink.results)) == (63, 20, 63)
    assert {result.camera for result in sink.results} == {"left"}
    lost = [record.message for record in caplog.records if "trying again" in record.message]
    back = [record.message for record in caplog.records if "is back after" in record.message]
    assert (len(lost), len(back)) == (20, 20)  # one line a change, none for the tries in between
    assert lost[0] == "cam was lost; trying again until it is back"


def test_a_lost_camera_is_said_to_be_lost_while_the_others_go_on(quick: Detector) -> None:
    def never() -> Scripted:
        raise SourceError("right cannot be opened")

    cameras = [Camera("left", Scripted(paced(200))), Camera("right", None, never, "rtsp://right")]
    line = Pipeline(cameras, quick, [], QUICK)
    thread = background(line)
    until(lambda: line.status().cameras["left"].frames > 20)
    left, right = line.status().cameras.values()
    assert (left.state, right.state, right.error, right.frames) == (
        "connected", "lost", "right cannot be opened", 0,
    )  # fmt: skip
    assert time.time() - right.since < 10
    line.stop()
    thread.join(30)
    assert not thread.is_alive()


def test_a_machine_that_is_full_for_a_while_costs_no_camera(quick: Detector, caplog: pytest.LogCaptureFixture) -> None:
    tries = iter([OSError(24, "Too many open files"), Scripted(images(2))])

    def reopen() -> Scripted:
        found = next(tries)
        if isinstance(found, OSError):
            raise found
        return found

    status = Pipeline([Camera("a", None, reopen, "rtsp://a", policy="every")], quick, [], QUICK).run()
    assert (status.frames, status.reconnects) == (2, 1)
    assert "rtsp://a failed: OSError: [Errno 24] Too many open files; trying again" in caplog.text


def test_a_camera_that_stays_away_too_long_is_given_up(quick: Detector) -> None:
    def never() -> Scripted:
        raise SourceError("cam cannot be opened")

    camera = Camera("", Scripted(images(2), SourceError("cam was lost")), never, give_up=0.02)
    with pytest.raises(SourceError, match="cam cannot be opened"):
        Pipeline([camera], quick, [], QUICK).run()


@pytest.mark.parametrize("timeout", [0.05, 10.0])
def test_a_hung_stream_is_a_lost_one(
    quick: Detector, timeout: float, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the device keeps its deadline or hangs beyond it: then another thread takes the camera over."""
    monkeypatch.setattr(capture, "GRACE_S", 0.2)
    hung = FakeCapture([gray(1)], hang=True, timeout=timeout)
    source = LiveSource(hung, "camera:0", timeout=0.05)
    camera = Camera("", source, lambda: Scripted(images(2)), policy="every")
    start = time.monotonic()
    status = Pipeline([camera], quick, [], QUICK).run()
    assert time.monotonic() - start < 5
    assert (status.frames, status.reconnects) == (3, 1)
    assert "was lost: it showed no frame for 0.05 s; trying again" in caplog.text
    hung.end.set()
    until(lambda: threads() == [])
    assert hung.released == 1  # by the thread that hung
    assert status.cameras[""].state == "ended"


def test_a_hung_camera_that_cannot_be_opened_again_is_lost(quick: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "GRACE_S", 0.0)
    hung = FakeCapture([gray(1)], hang=True)
    with pytest.raises(SourceError, match=r"was lost: it showed no frame for 0\.05 s"):
        run(LiveSource(hung, "camera:0", timeout=0.05), quick, [])
    hung.end.set()
    until(lambda: threads() == [])


def test_cameras_that_hang_are_waited_for_together(quick: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "JOIN_S", 0.5)
    hung = [FakeCapture([gray(1)], hang=True) for _ in range(4)]
    cameras = [Camera(f"{number}", LiveSource(one, f"camera:{number}")) for number, one in enumerate(hung)]
    line = Pipeline(cameras, quick, [], QUICK)
    thread = background(line)
    until(lambda: line.status().frames == 4)
    start = time.monotonic()
    line.stop()
    thread.join(5)
    assert time.monotonic() - start < 2
    for one in hung:
        one.end.set()
    until(lambda: threads() == [])


def test_the_newest_frame_wins_and_the_dropped_are_counted(tiny_bundle: Path) -> None:
    """One queue serves the line and `Detector.stream`: what is judged after a pause is the newest frame."""
    hung = FakeCapture([gray(level) for level in range(9)], hang=True)
    with FrameGrabber([Camera("", LiveSource(hung, "camera:0"))]) as grabber:
        grabber.start()
        assert hung.hung.wait(5)
        ((_, frame),) = grabber.take(1)
        assert (frame.index, frame.name, grabber.captures[0].status().dropped) == (8, "camera:0", 8)
        assert abs(frame.time - time.time()) < 10
        assert 0 <= time.monotonic() - frame.clock < 10
        hung.end.set()


@pytest.mark.parametrize("batch", [1, 4])
def test_results_are_in_order_for_each_camera_and_batched_across_them(tiny_bundle: Path, batch: int) -> None:
    sink = Memory()
    with fake_detector(tiny_bundle, batch=batch) as detector:
        cameras = [Camera(name, Scripted(images(30), live=False)) for name in ("a", "b", "c")]
        status = Pipeline(cameras, detector, [sink], QUICK).run()
        calls = detector.engine.calls
    for name in ("a", "b", "c"):
        assert [r.index for r in sink.results if r.camera == name] == list(range(30))
    assert (status.frames, status.dropped) == (90, 0)
    assert max(calls) == (1 if batch == 1 else 3)


def test_a_slow_engine_judges_fresh_frames(tiny_bundle: Path) -> None:
    """With 30 frames a second and an engine slower than that a frame's age stays below two engine times."""
    sink = Memory()
    with fake_detector(tiny_bundle, seconds=0.1) as detector:
        status = Pipeline([Camera("", Scripted(paced(30)))], detector, [sink], replace(QUICK, limit=12)).run()
        engine_time = float(np.median(detector.engine.took))
    ages = [result.age for result in sink.results]
    assert min(ages) >= 100
    assert np.median(ages) < 2 * engine_time
    assert np.median(ages[6:]) < 2 * engine_time  # and does not grow; one frame alone may suffer a busy machine
    assert status.dropped >= 12
    assert 100 <= status.age_ms.p50 <= status.age_ms.p95 <= status.age_ms.p99


@pytest.fixture
def room_for_16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlets, "PIXELS", 16 * 8 * 8 * 3)


@pytest.mark.usefixtures("room_for_16")
def test_a_slow_sink_loses_its_own_results_and_says_so(quick: Detector, caplog: pytest.LogCaptureFixture) -> None:
    hold = threading.Event()
    slow, other = Memory(lambda frame: hold.wait(30) and None), Memory()
    line = Pipeline([Camera("", Scripted(paced(400, 100)), policy="every")], quick, [slow, other], QUICK)
    thread = background(line)
    until(lambda: len(other.results) == 100)
    status = line.status()
    assert status.unwritten["Memory-2"] == 0
    assert status.unwritten["Memory"] in (83, 84)  # 16 wait, and one may be in its hands
    hold.set()
    thread.join(30)
    assert len(slow.results) + line.status().unwritten["Memory"] == 100
    assert [slow.closed, other.closed] == [1, 1]
    assert caplog.messages.count("Memory is too slow for this line: results are left out") == 1


def test_a_sink_of_words_may_fall_behind_further_and_gets_no_pixels(quick: Detector) -> None:
    hold, shapes = threading.Event(), set()

    class Words(Memory):
        needs_pixels = False

    def act(frame: object) -> None:
        shapes.add(frame.image.shape)  # type: ignore[attr-defined]
        hold.wait(30)

    sink, count = Words(act), outlets.RESULTS // 2
    line = Pipeline([Camera("", Scripted(images(count)), policy="every")], quick, [sink], QUICK)
    thread = background(line)
    until(lambda: line.status().frames == count)
    hold.set()
    thread.join(30)
    assert (len(sink.results), shapes) == (count, {(0, 0, 3)})


def test_files_wait_for_a_slow_sink(quick: Detector) -> None:
    sink = Memory(lambda frame: time.sleep(0.002))
    status = run(Scripted(images(100), live=False), quick, [sink])
    assert (len(sink.results), status.unwritten) == (100, {"Memory": 0})


@pytest.mark.usefixtures("room_for_16")
def test_a_hung_sink_does_not_keep_the_line_from_ending(quick: Detector, caplog: pytest.LogCaptureFixture) -> None:
    hold = threading.Event()
    hung = Memory(lambda frame: hold.wait(30) and None)
    line = Pipeline([Camera("", Scripted(images(50), live=False))], quick, [hung], QUICK)
    thread = background(line)  # it waits for the sink, as it does for files
    until(lambda: line.status().frames > 16)
    line.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert sum(line.status().unwritten.values()) == line.status().frames
    live = Pipeline([Camera("", Scripted(images(3)), policy="every")], quick, [hung], QUICK).run()
    assert (live.frames, live.unwritten) == (3, {"Memory": 3})
    assert "does not answer: 3 results are not written" in caplog.text
    hold.set()
    until(lambda: threads() == [])


def test_a_failing_sink_is_tried_again_and_what_waits_is_not_lost(
    quick: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    calls = []

    def act(frame: object) -> None:
        calls.append(frame)
        if len(calls) <= 3:
            raise ConnectionError("broker is away")

    sink = Memory(act)
    status = Pipeline([Camera("", Scripted(images(10)), policy="every")], quick, [sink], QUICK).run()
    assert (len(sink.results), status.unwritten) == (7, {"Memory": 3})
    assert caplog.messages == ["Memory cannot write: broker is away; the line goes on", "Memory writes again"]


def test_sinks_that_want_the_line_get_it(quick: Detector) -> None:
    class Page(Memory):
        def attach(self, line: Pipeline) -> None:
            self.line = line

    page = Page()
    line = Pipeline([Camera("", Scripted(images(3), live=False))], quick, [page], QUICK)
    status = line.run()
    assert page.line is line
    assert isinstance(status, PipelineStatus)
    plain = msgspec.json.decode(msgspec.json.encode(status))
    assert plain == json.loads(json.dumps(status.to_dict()))
    assert plain["counts"] == {"": {"OK": 3}}
    assert plain["cameras"][""]["state"] == "ended"
    assert (plain["engine"], plain["precision"], plain["model"]) == ("fake", "fp32", "tiny")


def test_the_line_says_that_it_is_alive_only_when_it_is(quick: Detector) -> None:
    beats: list[float] = []
    silent = FakeCapture([gray(1)], hang=True)
    source = LiveSource(silent, "camera:0", timeout=30)
    line = Pipeline([Camera("", source)], quick, [], QUICK, on_alive=lambda: beats.append(time.monotonic()))
    thread = background(line)
    until(lambda: line.status().frames == 1)
    count = len(beats)
    time.sleep(0.5)
    assert len(beats) == count  # connected, and no frame comes: that is not well
    line.stop()
    silent.end.set()
    thread.join(30)
    quiet = Pipeline(
        [Camera("", Scripted(paced(0.2), timeout=0.0))], quick, [], QUICK, on_alive=lambda: beats.append(0.0)
    )
    thread = background(quiet)
    until(lambda: quiet.status().frames == 1)
    count = len(beats)
    until(lambda: len(beats) > count + 1, 5)  # one that may show nothing for any time is well
    quiet.stop()
    thread.join(30)
    until(lambda: threads() == [])  # its camera sleeps for longer than the line waits


def test_pauses_grow_to_the_longest_and_are_never_the_same_for_all() -> None:
    pauses = Backoff(0.5, 8.0).pauses()
    taken = [next(pauses) for _ in range(50)]
    for number, pause in enumerate(taken):
        full = min(0.5 * 2**number, 8.0)
        assert full / 2 <= pause <= full
    assert len(set(taken)) == len(taken)
