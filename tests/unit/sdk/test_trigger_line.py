"""A line with triggers: one part, one trigger, one answer, whatever becomes of its frames."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lines import QUICK, Memory, Scripted, background, fake_detector, images, paced
from programs import until

from edgead import Detector, Frame, Result, Verdict
from edgead.errors import UsageError
from edgead.stream.capture import Camera
from edgead.stream.pipeline import Pipeline
from edgead.stream.plc.line import PartSettings
from edgead.stream.roi import read_roi_masks
from edgead.stream.trigger.line import TriggerSettings
from edgead.stream.trigger.matching import TriggerWindow


@contextmanager
def line_of(
    detector: Detector, *frames: Iterator[np.ndarray], sink: Memory | None = None, within: float = 1.0, **window: float
) -> Iterator[Pipeline]:
    settings = replace(QUICK, parts=PartSettings(TriggerSettings(TriggerWindow(**window), within)))
    names = ["left", "right"] if len(frames) > 1 else [""]
    cameras = [Camera(name, Scripted(one)) for name, one in zip(names, frames, strict=True)]
    line = Pipeline(cameras, detector, [sink or Memory()], settings)
    thread = background(line)
    until(lambda: all(one.state == "connected" for one in line.status().cameras.values()))
    try:
        yield line
    finally:
        line.stop()
        thread.join(10)


def test_a_trigger_gets_the_verdict_of_the_frame_after_it(quick: Detector, no_thread_left: None) -> None:
    sink = Memory()
    with line_of(quick, paced(100), sink=sink) as line:
        tickets = [line.fire("test", f"A-{number}") for number in range(1)]
        first = tickets[0].answer.result(5)
        second = line.fire("test", "B").answer.result(5)
        assert [(one.verdict, one.part, one.trigger) for one in (first, second)] == [
            (Verdict.OK, "A-0", 1),
            (Verdict.OK, "B", 2),
        ]
        assert 0 < first.answer < 1000
        assert first.to_dict()["part"] == "A-0"
        until(lambda: line.status().triggers.answered == 2)
        assert line.status().triggers.unclaimed > 0
    assert [one.trigger for one in sink.results] == [1, 2]


def test_frames_of_one_part_are_judged_together(quick: Detector) -> None:
    with line_of(quick, paced(200), paced(200, level=250), frames=2) as line:
        result = line.fire("test").answer.result(5)
    assert result.verdict is Verdict.NG
    assert result.camera == "right"
    assert result.extra["votes"] == {"OK": 2, "NG": 2}


def stopping(fps: float, go: threading.Event) -> Iterator[np.ndarray]:
    """A camera that shows nothing while `go` is not set."""
    for image in paced(fps):
        go.wait()
        yield image


def test_a_part_of_one_frame_keeps_the_areas_it_was_judged_in(quick: Detector) -> None:
    """`edgead explain` and a shadow judge it in the same ones."""
    with line_of(quick, paced(100)) as line:
        line.set_roi_masks(read_roi_masks([], ["2,2,4,4"], [""]))
        result = line.fire("test").answer.result(5)
    assert result.extra == {"areas": {"judge": [], "ignore": ["2,2,4,4"]}}


def test_no_frame_in_time_is_invalid_and_said(quick: Detector) -> None:
    go = threading.Event()
    go.set()
    with line_of(quick, stopping(100, go), within=0.3, length=0.1) as line:
        go.clear()
        time.sleep(0.05)
        result = line.fire("test", "A").answer.result(5)
        go.set()
        assert result.verdict is Verdict.INVALID
        assert result.reasons[0].startswith("no picture")
        assert (result.part, result.frame_size) == ("A", (8, 8))
        assert line.fire("test", "B").answer.result(5).verdict is Verdict.OK
        assert line.status().triggers.no_picture == 1


def test_a_hung_engine_keeps_no_trigger_waiting(tiny_bundle: Path) -> None:
    """The thread that judges is inside the network: the answer comes from another, in time, and comes once."""
    with fake_detector(tiny_bundle, seconds=1.0) as detector, line_of(detector, paced(100), within=0.2) as line:
        tickets = [line.fire("test", name) for name in "AB"]
        results = [ticket.answer.result(0.6) for ticket in tickets]
        assert [(one.verdict, one.part, one.late) for one in results][1:] == [(Verdict.LATE, "B", True)]
        until(lambda: line.status().triggers.overdue >= 1)
        assert line.status().triggers.answered == 2
    assert all(one.answer < 500 for one in results)


def test_a_caller_s_function_that_raises_costs_no_answer_and_ends_the_line(tiny_bundle: Path) -> None:
    """It is called by the thread that answers what is late: the controller has its answer all the same."""

    def refuse(result: Result) -> None:
        raise ValueError("bug")

    settings = replace(QUICK, parts=PartSettings(TriggerSettings(TriggerWindow(length=0.1), 0.3)))
    raised: list[BaseException] = []
    with fake_detector(tiny_bundle, seconds=1.5) as detector:
        line = Pipeline([Camera("", Scripted(paced(100)))], detector, [], settings, on_result=refuse)

        def run() -> None:
            try:
                line.run()
            except ValueError as error:
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        until(lambda: line.status().cameras[""].state == "connected")
        assert line.fire("test", "A").answer.result(5).verdict is Verdict.LATE
        thread.join(10)
    assert [str(error) for error in raised] == ["bug"]


def test_bad_frames_that_are_late_stay_ng(tiny_bundle: Path) -> None:
    bad = paced(100, level=250)
    with fake_detector(tiny_bundle, seconds=0.15) as detector, line_of(detector, bad, within=0.2, frames=3) as line:
        result = line.fire("test").answer.result(2)
    assert (result.verdict, result.late) == (Verdict.NG, True)


def test_two_triggers_closer_than_the_window_are_said(quick: Detector, caplog: pytest.LogCaptureFixture) -> None:
    with line_of(quick, paced(20), length=0.5) as line:
        first, second = line.fire("test", "A"), line.fire("test", "B")
        results = first.answer.result(5), second.answer.result(5)
        assert results[0].verdict is Verdict.INVALID  # no frame was captured before the second
        assert results[1].verdict is Verdict.OK
        assert "inside that one's window" in results[1].reasons[-1]
        assert line.status().triggers.close == 1
    assert "inside that one's window" in caplog.text


def test_a_frame_that_came_before_its_trigger_is_found_again(quick: Detector) -> None:
    """A camera's own trigger is faster than the network that tells of it."""
    go = threading.Event()
    go.set()
    with line_of(quick, stopping(100, go), before=0.5, length=0.1, within=0.8) as line:
        time.sleep(0.1)
        go.clear()
        time.sleep(0.1)
        result = line.fire("test").answer.result(5)
        go.set()
    assert result.verdict is Verdict.OK


def test_every_trigger_has_one_answer_also_at_the_end(quick: Detector) -> None:
    sink = Memory()
    with line_of(quick, paced(100), sink=sink, length=0.01) as line:
        threads = [threading.Thread(target=lambda: [line.fire("test") for _ in range(40)]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        last = line.fire("test")
    assert last.answer.done()
    late = line.fire("test")
    assert "the line is at its end" in late.answer.result(0).reasons[0]
    counts = line.status().triggers
    assert counts.triggers == counts.answered == 122
    assert sorted(one.trigger for one in sink.results) == list(range(1, 122))


def test_files_have_no_triggers(quick: Detector) -> None:
    settings = replace(QUICK, parts=PartSettings())
    with pytest.raises(UsageError, match="live sources"):
        Pipeline([Camera("", Scripted(images(2), live=False))], quick, [], settings)
    with pytest.raises(UsageError, match="without triggers"):
        Pipeline([Camera("", Scripted(images(2)))], quick, [], QUICK).fire("test")


def test_a_sink_that_fails_costs_no_answer(quick: Detector) -> None:
    def failing(frame: Frame) -> None:
        raise OSError("full")

    with line_of(quick, paced(100), sink=Memory(failing)) as line:
        result: Result = line.fire("test").answer.result(5)
        assert result.verdict is Verdict.OK
